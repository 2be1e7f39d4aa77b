"""From a commit to those who listen."""

import asyncio
import threading

import pytest

from doorstep_cloud.events.hub import QUEUE_ITEMS, Hub, Listener, TooManyListenersError
from doorstep_cloud.events.rules import MISSED_AFTER_MS, EventItem
from doorstep_shared.ids import HouseholdId, draw_event_id
from doorstep_shared.manifest import ClipKind
from doorstep_shared.wire import Alert
from tests.people import HOUSEHOLD, NOW_MS, doorbell, random_from

OTHER = HouseholdId("x" * 26)


def item(seed: int = 0, *, kind: ClipKind = ClipKind.RING, late_ms: int = 0) -> EventItem:
    return EventItem(
        id=draw_event_id(NOW_MS, random_from(f"event/{seed}")),
        kind=kind,
        device=doorbell("front").device.id,
        at_ms=NOW_MS,
        received_at_ms=NOW_MS + late_ms,
        clock_synced=True,
        alert=Alert.NOW,
        clip=None,
    )


async def test_a_listener_hears_its_household_and_no_other() -> None:
    hub = Hub()
    ours, theirs = hub.listen(HOUSEHOLD), hub.listen(OTHER)
    hub.tell(HOUSEHOLD, item())
    assert await ours.next(5) == item()
    with pytest.raises(TimeoutError):
        await theirs.next(0.01)


async def test_an_event_from_another_thread_wakes_the_listener() -> None:
    hub = Hub()
    listener = hub.listen(HOUSEHOLD)
    waiting = asyncio.create_task(listener.next(5))
    await asyncio.sleep(0)
    thread = threading.Thread(target=hub.tell, args=(HOUSEHOLD, item()))
    thread.start()
    assert await waiting == item()
    thread.join()


async def test_a_listener_too_slow_is_cut_off_after_what_it_has() -> None:
    hub = Hub()
    listener = hub.listen(HOUSEHOLD)
    for seed in range(QUEUE_ITEMS + 5):
        hub.tell(HOUSEHOLD, item(seed))
    heard = [await listener.next(5) for _ in range(QUEUE_ITEMS + 1)]
    assert heard == [*(item(seed) for seed in range(QUEUE_ITEMS)), None]
    assert await listener.next(5) is None


async def test_a_household_has_only_so_many_listeners() -> None:
    hub = Hub(listeners_per_household=2)
    first = hub.listen(HOUSEHOLD)
    hub.listen(HOUSEHOLD)
    with pytest.raises(TooManyListenersError):
        hub.listen(HOUSEHOLD)
    hub.listen(OTHER)
    first.close()
    hub.listen(HOUSEHOLD)


async def test_closing_twice_is_closing_once() -> None:
    hub = Hub(listeners_per_household=1)
    listener = hub.listen(HOUSEHOLD)
    listener.close()
    listener.close()
    hub.listen(HOUSEHOLD)


async def test_when_the_hub_closes_everybody_is_told() -> None:
    hub = Hub()
    listeners = [hub.listen(HOUSEHOLD), hub.listen(OTHER)]
    hub.close()
    assert [await listener.next(5) for listener in listeners] == [None, None]


def test_a_listener_whose_loop_has_ended_is_forgotten() -> None:
    hub = Hub(listeners_per_household=1)

    async def listen() -> Listener:
        return hub.listen(HOUSEHOLD)

    asyncio.run(listen())
    hub.tell(HOUSEHOLD, item())
    asyncio.run(listen())


def test_a_ring_older_than_a_minute_was_missed() -> None:
    assert not item(late_ms=MISSED_AFTER_MS).is_missed
    assert item(late_ms=MISSED_AFTER_MS + 1).is_missed


def test_motion_is_never_missed() -> None:
    assert not item(kind=ClipKind.MOTION, late_ms=10 * MISSED_AFTER_MS).is_missed
