import asyncio
import threading
from collections.abc import Callable

import pytest

from doorstep_device.adapters.handover import Handover
from doorstep_shared.errors import TryLaterError


def from_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


async def read_all(queue: Handover[int]) -> list[int]:
    return [item async for item in queue]


def test_items_arrive_in_order_while_the_thread_goes_on() -> None:
    async def scenario() -> list[int]:
        queue = Handover[int](asyncio.get_running_loop(), 1000)

        def produce() -> None:
            for item in range(500):
                queue.put(item)
            queue.end()

        thread = threading.Thread(target=produce)
        thread.start()
        read = await asyncio.wait_for(read_all(queue), 10)
        thread.join()
        return read

    assert asyncio.run(scenario()) == list(range(500))


def test_without_an_error_for_it_a_full_queue_drops_the_oldest() -> None:
    async def scenario() -> list[int]:
        queue = Handover[int](asyncio.get_running_loop(), 2)

        def produce() -> None:
            for item in range(5):
                queue.put(item)
            queue.end()

        from_thread(produce)
        return await read_all(queue)

    assert asyncio.run(scenario()) == [3, 4]


def test_a_full_queue_that_loses_nothing_delivers_what_it_has_and_then_fails() -> None:
    async def scenario() -> None:
        queue = Handover[int](asyncio.get_running_loop(), 2, lambda: TryLaterError("too slow"))
        queue.put(0)
        queue.put(1)
        with pytest.raises(TryLaterError, match="too slow"):
            queue.put(2)
        queue.put(3)
        queue.end()
        assert [await anext(queue), await anext(queue)] == [0, 1]
        with pytest.raises(TryLaterError, match="too slow"):
            await anext(queue)

    asyncio.run(scenario())


def test_a_reader_who_waits_learns_of_the_end() -> None:
    async def scenario() -> list[int]:
        queue = Handover[int](asyncio.get_running_loop(), 2)
        reader = asyncio.create_task(read_all(queue))
        await asyncio.sleep(0)
        from_thread(queue.end)
        return await asyncio.wait_for(reader, 10)

    assert asyncio.run(scenario()) == []


def test_a_thread_that_outlives_the_loop_is_not_harmed() -> None:
    async def scenario() -> Handover[int]:
        return Handover[int](asyncio.get_running_loop(), 2)

    queue = asyncio.run(scenario())
    queue.put(1)
    queue.end()


def test_what_is_offered_to_a_full_queue_is_turned_away() -> None:
    async def scenario() -> None:
        queue = Handover[int](asyncio.get_running_loop(), 2)
        assert [queue.offer(item) for item in range(4)] == [True, True, False, False]
        assert await anext(queue) == 0
        assert queue.offer(4)
        queue.end()
        assert await read_all(queue) == [1, 4]

    asyncio.run(scenario())


def test_a_queue_that_starts_afresh_goes_on_with_that_one_item() -> None:
    async def scenario() -> None:
        queue = Handover[int](asyncio.get_running_loop(), 2)
        queue.put(0)
        queue.put(1)
        from_thread(lambda: queue.start_afresh(2))
        queue.put(3)
        queue.end()
        assert await read_all(queue) == [2, 3]

    asyncio.run(scenario())
