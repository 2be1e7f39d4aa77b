"""A whole doorbell that is told to delete, while it rings, records and delivers."""

from collections.abc import AsyncIterator

import pytest

from doorstep_device import agent as agent_module
from doorstep_device.ports.disk import DiskReadOnlyError
from doorstep_shared.signing import Signed
from doorstep_shared.topics import DeviceTopic, Leaf
from doorstep_shared.wire import Answer, decode_body
from tests.far_end import until
from tests.orders import delete_order
from tests.people import FRONT_DOOR, NOW_MS
from tests.simulated_doorbell import SimulatedDoorbell, running_doorbell

DONE = Answer(counter=1, is_done=True)


@pytest.fixture
async def bell() -> AsyncIterator[SimulatedDoorbell]:
    """A doorbell that is on and belongs to a household."""
    async with running_doorbell(SimulatedDoorbell()) as running:
        await running.belong()
        yield running


def tell(bell: SimulatedDoorbell, order: Signed) -> None:
    """Let the service bring a command."""
    bell.control.say(str(DeviceTopic(FRONT_DOOR.device.id, Leaf.DELETE)), order.encode())


def answers(bell: SimulatedDoorbell) -> list[Answer]:
    """Return what the doorbell answered to commands."""
    return [decode_body(Answer, body) for body in bell.control.bodies(Leaf.DELETE_ANSWER)]


async def test_a_clip_under_way_is_deleted_when_it_ends_and_its_ring_is_told(
    bell: SimulatedDoorbell,
) -> None:
    await bell.film(4)
    await bell.press()
    await bell.film(2)
    tell(bell, delete_order(until=NOW_MS + 60_000))
    await until(lambda: bell.disk.exists("commands.json"), "the command on the card")
    assert answers(bell) == []
    await bell.film(12)
    await until(lambda: answers(bell) == [DONE], "the answer")
    assert bell.service.clips == {}
    assert len(bell.rings()) == 1
    await bell.press()
    await bell.film(12)
    await until(lambda: len(bell.service.clips) == 1, "the next clip")
    (kept,) = bell.service.clips.values()
    # The deleted one had a number, which is not used again.
    assert kept.manifest.seq == 2


async def test_a_clip_that_is_being_delivered_is_deleted_and_its_transfer_ends(
    bell: SimulatedDoorbell,
) -> None:
    bell.service.credit = 0
    await bell.film(4)
    await bell.press()
    await bell.film(12)
    await until(lambda: any("/init" in message.topic for message in bell.bulk.sent), "a transfer")
    (clip,) = bell.service.clips
    tell(bell, delete_order([clip]))
    await until(lambda: answers(bell) == [DONE], "the answer")
    await until(lambda: any("/abort" in message.topic for message in bell.bulk.sent), "its end")
    assert bell.outbox.pending_clips() == ()


async def test_what_the_card_did_not_let_go_goes_with_a_later_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agent_module, "TIDY_S", 0.01)
    async with running_doorbell(SimulatedDoorbell()) as bell:
        await bell.belong()
        bell.service.credit = 0
        await bell.film(4)
        await bell.press()
        await bell.film(12)
        await until(lambda: len(bell.service.clips) == 1, "the clip")
        (clip,) = bell.service.clips
        rename = bell.disk.rename
        is_worn = True

        def fails(old: str, new: str) -> None:
            if is_worn and clip in old:
                raise DiskReadOnlyError("worn")
            rename(old, new)

        monkeypatch.setattr(bell.disk, "rename", fails)
        tell(bell, delete_order([clip]))
        await until(lambda: bell.disk.exists("commands.json"), "the command on the card")
        assert answers(bell) == []
        is_worn = False
        await until(lambda: answers(bell) == [DONE], "the answer")
