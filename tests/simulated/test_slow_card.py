"""A card that takes long for a write: rings are told all the same, and no picture is missing."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from structlog.testing import capture_logs

from doorstep_device import agent as agent_module
from doorstep_device.adapters import capture
from doorstep_device.adapters.handover import Handover
from doorstep_device.ports.camera import CameraFailedError, Frame, Packet
from doorstep_device.rules.backoff import Backoff
from doorstep_shared.manifest import Manifest
from doorstep_shared.topics import Leaf
from doorstep_simulator.disk import SimulatedDisk, Step
from tests.far_end import PATIENCE_S, until
from tests.recording import FRAME_US, VIDEO, picture
from tests.simulated_doorbell import STILL, SimulatedDoorbell, running_doorbell

CLIPS = "outbox/0"  # events are beside them
EVERYTHING = ""


class SlowDisk(SimulatedDisk):
    """A disk whose syncs take as long as a test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.is_busy = threading.Event()  # with a clip
        self._goes_on = threading.Event()
        self._goes_on.set()
        self._slow_below = EVERYTHING
        self._do = self._files.do
        self._files.do = self._do_slowly  # type: ignore[method-assign]  # every step passes here

    @contextmanager
    def held(self, below: str) -> Iterator[None]:
        """Let no sync of what lies below a path end before the block does."""
        self._slow_below = below
        self.is_busy.clear()
        self._goes_on.clear()
        try:
            yield
        finally:
            self._goes_on.set()

    def _do_slowly(self, step: Step) -> None:
        if step.do == "sync_file" and step.path.startswith(self._slow_below):
            if step.path.startswith(CLIPS):
                self.is_busy.set()
            assert self._goes_on.wait(PATIENCE_S)
        self._do(step)


@pytest.fixture
def disk() -> SlowDisk:
    return SlowDisk()


@pytest.fixture
async def bell(disk: SlowDisk, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SimulatedDoorbell]:
    """A doorbell on that card, on and listed; a camera that failed is tried again at once."""
    monkeypatch.setattr(agent_module, "CAMERA_TRIES", Backoff(first_us=1000, longest_us=2000))
    async with running_doorbell(SimulatedDoorbell(disk=disk)) as running:
        await running.belong()
        yield running


def give(bell: SimulatedDoorbell, seconds: float) -> None:
    """Let the camera take pictures for so long, whether or not the doorbell keeps up."""
    for _ in range(round(seconds * VIDEO.fps)):
        bell.clock.at_us = bell.number * FRAME_US
        frame = Frame(STILL, bell.clock.at_us)
        bell.cameras[-1].taken.put_nowait((picture(bell.number), frame))
        bell.number += 1


async def fall_behind(bell: SimulatedDoorbell, disk: SlowDisk) -> None:
    """Let the camera take pictures until one of them waits for the card."""
    while not disk.is_busy.is_set():
        give(bell, FRAME_US / 1e6)
        await until(lambda: disk.is_busy.is_set() or keeps_up(bell), "a picture taken in")
    give(bell, FRAME_US / 1e6)
    await until(lambda: bell.agent._taking_us is not None, "a picture that waits")


def keeps_up(bell: SimulatedDoorbell) -> bool:
    return bell.cameras[-1].taken.empty() and bell.agent._taking_us is None


async def recorded(bell: SimulatedDoorbell, count: int) -> list[Manifest]:
    await until(lambda: len(bell.service.clips) >= count, f"{count} clips")
    await until(lambda: all(map(bell.service.has_all_of, bell.service.clips)), "their bytes")
    return [kept.manifest for kept in bell.service.clips.values()]


def rings_told(bell: SimulatedDoorbell) -> int:
    return len({event for leaf, event in bell.service.events if leaf is Leaf.RING})


async def is_awake(bell: SimulatedDoorbell) -> None:
    """See the doorbell do what needs no card: greet the service anew, and all else that is due."""
    hellos = len(bell.control.bodies(Leaf.HELLO))
    bell.control.connect()
    await until(lambda: len(bell.control.bodies(Leaf.HELLO)) > hellos, "a hello")
    for _ in range(50):  # long enough for whatever else would go wrong meanwhile
        await asyncio.sleep(0.001)


async def test_rings_are_stored_and_told_while_a_clip_waits_for_the_card(
    bell: SimulatedDoorbell, disk: SlowDisk
) -> None:
    """Whoever rings while pictures wait is recorded behind them, and cuts nobody's clip short."""
    await bell.film(4)
    with disk.held(CLIPS):
        for visit in (1, 2, 3):
            bell.touch()
            await until(lambda: rings_told(bell) == visit, f"ring {visit}")  # noqa: B023  # awaited here
            await until(lambda: bell.outbox.pending_events() == (), "its ack")
            await fall_behind(bell, disk)
            give(bell, 9)
        assert disk.is_busy.is_set()
        assert bell.service.clips == {}
    await bell.film(1)
    clips = await recorded(bell, 3)
    assert [event for clip in clips for event in clip.events] == bell.rings()
    # Each from two seconds before its ring until eight after, but for a picture: none ends early.
    assert min(clip.end - clip.start for clip in clips) > 9_500


@pytest.mark.parametrize("below", [CLIPS, EVERYTHING])
async def test_no_picture_is_missing_that_came_while_the_card_was_slow(
    bell: SimulatedDoorbell, disk: SlowDisk, below: str
) -> None:
    """Twelve seconds are longer than a ring's clip goes on: its end waits for its pictures."""
    await bell.film(4)
    await bell.press()
    await bell.film(20)
    (quick,) = await recorded(bell, 1)
    await bell.film(4)
    await bell.press()
    await bell.film(1)
    with capture_logs() as facts, disk.held(below):
        await fall_behind(bell, disk)
        give(bell, 12)
        await is_awake(bell)
    give(bell, 7)
    _, slow = await recorded(bell, 2)
    assert (slow.end - slow.start, slow.truncated) == (quick.end - quick.start, False)
    assert "recording_failed" not in [fact["event"] for fact in facts]


async def test_rings_that_the_card_was_slow_to_take_are_told_in_order(
    bell: SimulatedDoorbell, disk: SlowDisk
) -> None:
    await bell.film(4)
    with disk.held(EVERYTHING):
        for _ in range(3):
            bell.touch()
            give(bell, 6)
            await is_awake(bell)
    await until(lambda: rings_told(bell) == 3, "all rings")
    await until(lambda: bell.outbox.pending_events() == (), "their acks")
    assert len(set(bell.rings())) == 3
    assert bell.rings() == sorted(bell.rings())


async def test_pictures_that_a_slow_card_costs_are_told(
    bell: SimulatedDoorbell, disk: SlowDisk
) -> None:
    """Twenty seconds wait in memory; what would come after them ends the camera's stream."""
    await bell.film(4)
    await bell.press()
    await bell.film(1)
    camera = bell.cameras[-1]
    limit = round(capture.PACKETS_WAIT_S * VIDEO.fps)
    waiting: Handover[Packet] = Handover(asyncio.get_running_loop(), limit, capture.reader_too_slow)
    with capture_logs() as facts:
        with disk.held(CLIPS):
            give(bell, 2)
            await until(disk.is_busy.is_set, "a slow sync")
            for number in range(bell.number, bell.number + limit):
                waiting.put(picture(number))
            with pytest.raises(CameraFailedError) as failed:
                waiting.put(picture(bell.number + limit))
            bell.clock.at_us += 20_000_000
            camera.taken.put_nowait(failed.value)
            bell.touch()
            await until(lambda: rings_told(bell) == 2, "a ring meanwhile")
        await until(lambda: len(bell.cameras) > 1, "another try of the camera")
        await recorded(bell, 1)
    told = {fact["event"]: fact for fact in facts}
    assert told["camera_failed"]["reason"] == "the camera's packets were not read for 20 s"
    assert "camera_back" in told
