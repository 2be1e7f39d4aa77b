"""The doorbell as a whole: what a visitor does, and what comes of it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from doorstep_device import agent as agent_module
from doorstep_device.agent import CAMERA_TRIES
from doorstep_device.outbox import Problem
from doorstep_device.ports.camera import (
    CameraChangedError,
    CameraFailedError,
    CameraStalledError,
    Frame,
)
from doorstep_device.ports.disk import DiskFullError
from doorstep_device.ports.panel import Light
from doorstep_device.recorder import Recorder
from doorstep_device.rules.backoff import Backoff
from doorstep_shared.ids import ClipId
from doorstep_shared.manifest import ClipKind, Manifest
from doorstep_shared.topics import Leaf
from doorstep_shared.wire import CameraState, Event, Health, decode_body
from doorstep_simulator.disk import SimulatedDisk
from tests.far_end import PATIENCE_S, until
from tests.people import NOW_MS
from tests.recording import FRAME_US, picture
from tests.simulated_doorbell import MOVING, SimulatedDoorbell, running_doorbell


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that fail are started again at once, and a minute is short."""
    monkeypatch.setattr(agent_module, "RESTART_S", 0.001)
    monkeypatch.setattr(agent_module, "TIDY_S", 0.01)
    monkeypatch.setattr(agent_module, "CAMERA_TRIES", Backoff(first_us=1000, longest_us=2000))


@pytest.fixture
async def bell() -> AsyncIterator[SimulatedDoorbell]:
    """A doorbell that is on and belongs to a household."""
    async with running_doorbell(SimulatedDoorbell()) as running:
        await running.belong()
        yield running


def manifests(bell: SimulatedDoorbell) -> list[Manifest]:
    """Return the manifests of the clips the service has heard of, oldest first."""
    return [kept.manifest for kept in bell.service.clips.values()]


async def recorded(bell: SimulatedDoorbell, count: int = 1) -> list[Manifest]:
    """Return the manifests of that many clips, once the service has all of each."""
    await until(lambda: len(bell.service.clips) >= count, f"{count} clips")
    await until(lambda: all(map(bell.service.has_all_of, bell.service.clips)), "their bytes")
    return manifests(bell)


def cameras_told(bell: SimulatedDoorbell) -> list[CameraState]:
    """Return what health said of the camera, without repetitions."""
    told = [decode_body(Health, body).camera for body in bell.control.bodies(Leaf.HEALTH)]
    return [now for before, now in zip([None, *told], told, strict=False) if now is not before]


def names_of(facts: list[EventDict]) -> list[str]:
    """Return the names of what was logged."""
    return [fact["event"] for fact in facts]


async def tidied_again(bell: SimulatedDoorbell) -> None:
    """Return after some more of the doorbell's minutes."""
    times, tidy = 0, bell.outbox.tidy

    def count(now_ms: int) -> None:
        nonlocal times
        times += 1
        tidy(now_ms)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bell.outbox, "tidy", count)
        await until(lambda: times > 2, "the minutes")


async def test_a_ring_is_one_event_and_one_clip_with_what_came_before(
    bell: SimulatedDoorbell,
) -> None:
    await bell.film(4)
    await bell.press()
    await bell.film(10)
    (manifest,) = await recorded(bell)
    assert (manifest.kind, list(manifest.events)) == (ClipKind.RING, bell.rings())
    assert manifest.pre_roll_ms >= 2000
    assert not manifest.truncated
    assert bell.panel.lights == [Light.RECORDING, Light.OFF]
    assert cameras_told(bell)[-1] is CameraState.WATCHING
    assert CameraState.RECORDING in cameras_told(bell)


async def test_motion_is_one_event_and_one_clip_until_after_it_ends(
    bell: SimulatedDoorbell,
) -> None:
    await bell.film(3)
    await bell.film(4, MOVING)
    await bell.film(2)
    await bell.film(2, MOVING)  # the same visitor, back within the post-roll
    await bell.film(10)
    (manifest,) = await recorded(bell)
    assert manifest.kind is ClipKind.MOTION
    assert list(manifest.events) == bell.motions()
    assert len(bell.motions()) == 1


async def test_motion_and_a_ring_are_one_clip_of_kind_ring(bell: SimulatedDoorbell) -> None:
    await bell.film(3)
    await bell.film(2, MOVING)
    await bell.press()
    await bell.film(10)
    (manifest,) = await recorded(bell)
    assert manifest.kind is ClipKind.RING
    assert set(manifest.events) == {*bell.rings(), *bell.motions()}


async def test_motion_within_a_later_rings_clip_is_an_event_of_its_own(
    bell: SimulatedDoorbell,
) -> None:
    await bell.film(3)
    await bell.film(2, MOVING)
    await bell.film(10)
    await recorded(bell)
    await bell.press()
    await bell.film(1)
    await bell.film(2, MOVING)
    await bell.film(10)
    first, second = await recorded(bell, 2)
    assert len(bell.motions()) == 2
    assert list(first.events) == bell.motions()[:1]
    assert set(second.events) == {*bell.rings(), bell.motions()[1]}


async def test_a_visitor_who_presses_three_times_in_two_seconds_rings_once(
    bell: SimulatedDoorbell,
) -> None:
    await bell.film(3)
    await bell.press()
    for _ in range(2):
        await bell.film(1)
        bell.touch()
    assert len(bell.rings()) == 1
    await bell.film(2.2)
    await bell.press()
    assert len(bell.rings()) == 2


async def test_without_a_line_rings_and_clips_wait_and_then_arrive(
    bell: SimulatedDoorbell,
) -> None:
    bell.control.disconnect()
    bell.bulk.disconnect()
    await bell.film(3)
    await bell.press()
    await bell.film(10)
    await until(lambda: len(bell.outbox.pending_clips()) == 1)
    assert manifests(bell) == []
    bell.service.connect()
    (manifest,) = await recorded(bell)
    assert list(manifest.events) == bell.rings()
    await until(lambda: not bell.outbox.pending_events())


async def test_a_doorbell_nobody_has_listed_rings_and_records_nothing() -> None:
    bell = SimulatedDoorbell()
    bell.service.statements = []
    async with running_doorbell(bell):
        bell.service.connect()
        await bell.film(4, MOVING)
        await bell.press()
        await bell.film(10)
        assert len(bell.rings()) == 1
        assert bell.motions() == []
        assert bell.outbox.pending_clips() == ()
        assert bell.panel.lights == []
        assert cameras_told(bell) == [CameraState.NOT_ALLOWED]


async def test_a_doorbell_without_a_camera_rings() -> None:
    async with running_doorbell(SimulatedDoorbell(has_camera=False)) as bell:
        bell.service.connect()
        await bell.press()
        await until(lambda: not bell.outbox.pending_events())
        assert len(bell.rings()) == 1


async def test_a_camera_that_fails_is_started_again_and_its_clip_kept(
    bell: SimulatedDoorbell,
) -> None:
    await bell.film(3)
    await bell.press()
    await bell.film(3)
    bell.fail_camera()
    await until(lambda: len(bell.cameras) == 2)
    (manifest,) = await recorded(bell)
    assert list(manifest.events) == bell.rings()
    assert bell.cameras[0].is_closed
    assert CameraState.FAILED in cameras_told(bell)
    assert bell.panel.lights[-1] is Light.OFF
    await until(lambda: bell.agent._recorder is not None)
    await bell.film(4)
    await bell.press()
    await bell.film(10)
    assert len(await recorded(bell, 2)) == 2


@pytest.mark.parametrize(
    ("error", "fact"),
    [
        (CameraStalledError("it gives nothing", do="look at it"), "camera_stalled"),
        (CameraChangedError("it is larger now", do="look at it"), "camera_changed"),
        (CameraFailedError("the cable came off", do="look at it"), "camera_failed"),
    ],
)
async def test_a_lost_camera_is_told_once_and_again_when_it_is_back(
    bell: SimulatedDoorbell, error: CameraFailedError, fact: str
) -> None:
    await bell.film(3)
    bell.tries_without = 5
    with capture_logs() as facts:
        bell.cameras[-1].taken.put_nowait(error)
        await until(lambda: len(bell.cameras) == 7, "five tries and a camera")
        await until(lambda: cameras_told(bell)[-1] is CameraState.WATCHING, "the camera's return")
    told = [one for one in facts if one["event"].startswith("camera_")]
    assert [one["event"] for one in told] == [fact, "camera_failed", "camera_back"]
    assert told[0]["reason"] == error.fact
    assert told[0]["do"] == "look at it"
    assert CameraState.FAILED in cameras_told(bell)


async def test_the_button_rings_while_there_is_no_camera_and_never_was() -> None:
    bell = SimulatedDoorbell()
    bell.tries_without = 1_000_000
    running = asyncio.create_task(bell.agent.run())
    await bell.belong()
    await until(lambda: len(bell.cameras) > 3, "some tries")
    await bell.press()
    assert len(bell.rings()) == 1
    assert bell.panel.lights == []
    assert cameras_told(bell)[-1] is CameraState.FAILED
    running.cancel()
    await asyncio.wait([running], timeout=PATIENCE_S)


async def test_a_visitor_who_is_there_when_the_camera_is_back_is_recorded_on(
    bell: SimulatedDoorbell,
) -> None:
    await bell.film(3)
    await bell.press()
    await bell.film(2)
    bell.fail_camera()
    await until(lambda: len(bell.cameras) == 2, "another camera")
    await until(lambda: cameras_told(bell)[-1] is CameraState.WATCHING, "the camera's return")
    assert bell.panel.lights == [Light.RECORDING, Light.OFF]
    await bell.film(12)
    first, second = await recorded(bell, 2)
    assert (list(first.events), list(second.events)) == (bell.rings(), bell.rings())
    assert (first.part, second.part) == (1, 2)
    assert not first.truncated


async def test_tries_for_a_camera_become_rare_and_one_that_filmed_is_tried_soon(
    bell: SimulatedDoorbell, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    real = asyncio.sleep

    async def note(seconds: float) -> None:
        if seconds > 0.2:
            pauses.append(round(seconds, 2))
            seconds = 0
        await real(seconds)

    monkeypatch.setattr(agent_module, "CAMERA_TRIES", CAMERA_TRIES)
    bell.agent._camera_tries = CAMERA_TRIES
    monkeypatch.setattr(asyncio, "sleep", note)
    bell.tries_without = 9
    await bell.film(11)
    bell.fail_camera()
    await until(lambda: len(bell.cameras) == 11, "nine tries and a camera")
    assert pauses == [0.5, 0.75, 1.5, 3.0, 6.0, 12.0, 22.5, 22.5, 22.5, 22.5]
    pauses.clear()
    await until(lambda: bell.agent._is_filming, "the camera")
    await bell.film(11)
    bell.cameras[-1].taken.put_nowait(CameraChangedError("it is larger now"))
    await until(lambda: len(bell.cameras) == 12, "it, anew")
    assert pauses == [], "it was there all the while"
    await until(lambda: bell.agent._is_filming, "the camera")
    await bell.film(1)
    bell.cameras[-1].taken.put_nowait(CameraChangedError("it is larger now"))
    await until(lambda: len(bell.cameras) == 13, "it, anew")
    assert pauses == [0.5], "it changes all the time"


async def test_a_ring_is_told_though_the_disk_is_full(
    bell: SimulatedDoorbell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise DiskFullError("this disk has no room left")

    monkeypatch.setattr(bell.outbox, "put_event", full)
    await bell.film(1)
    await bell.press()
    assert len(bell.rings()) == 1


async def test_what_was_given_up_for_want_of_room_is_told(
    bell: SimulatedDoorbell, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = replace(bell.outbox.usage(), dropped_clips=2, dropped_events=3)
    monkeypatch.setattr(bell.outbox, "usage", lambda: usage)
    bell.agent._uplink.health_changed()

    def told() -> list[tuple[int, int]]:
        healths = (decode_body(Health, body) for body in bell.control.bodies(Leaf.HEALTH))
        return [(health.dropped_clips, health.dropped_events) for health in healths]

    # One that was under way may come first.
    await until(lambda: told()[-1:] == [(2, 3)], "health")


async def test_a_part_that_fails_is_started_again_alone(
    bell: SimulatedDoorbell, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, failures = bell.outbox.pending_events, 2

    def fail_twice() -> object:
        nonlocal failures
        if failures:
            failures -= 1
            raise DiskFullError("not now")
        return read()

    monkeypatch.setattr(bell.outbox, "pending_events", fail_twice)
    bell.agent._uplink.nudge()
    await until(lambda: failures == 0)
    monkeypatch.undo()
    await bell.press()
    await until(lambda: not bell.outbox.pending_events())


async def test_it_says_goodbye_and_ends_its_clip() -> None:
    bell = SimulatedDoorbell()
    async with running_doorbell(bell):
        await bell.belong()
        await bell.film(3)
        await bell.press()
        await bell.film(2)
        assert bell.panel.lights == [Light.RECORDING]
    assert bell.panel.lights == [Light.RECORDING, Light.OFF]
    assert bell.panel.is_closed
    assert bell.control.is_closed
    assert bell.bulk.is_closed
    (clip,) = bell.outbox.pending_clips()
    assert not clip.manifest.truncated
    assert list(clip.manifest.events) == bell.rings()


# ── what is damaged on the card ──


async def test_a_damaged_chain_of_statements_does_not_silence_the_button() -> None:
    disk = SimulatedDisk()
    disk.write_whole("statements.json", b"{")
    bell = SimulatedDoorbell(disk)
    with capture_logs() as facts:
        async with running_doorbell(bell):
            await bell.film(1)
            await bell.press()
            assert bell.outbox.usage().waiting_clips == 0
            await bell.belong()
            await bell.film(6)
            await bell.press()
            await bell.film(10)
            await recorded(bell)
    assert len(bell.rings()) == 2
    told = [fact["path"] for fact in facts if fact["event"] == "unreadable_kept"]
    assert told == ["statements.json.kept-1"]


async def test_a_recording_found_damaged_on_the_way_is_told_within_the_minute(
    bell: SimulatedDoorbell,
) -> None:
    with capture_logs() as facts:
        bell.outbox._problems.append(Problem("outbox/a clip", "it is damaged"))
        await tidied_again(bell)
    assert names_of(facts).count("unreadable_kept") == 1


# ── time ──


async def test_an_epoch_past_its_time_is_warned_of_and_recording_goes_on(
    bell: SimulatedDoorbell,
) -> None:
    await bell.film(3)
    with capture_logs() as facts:
        bell.clock.wrong_by = timedelta(days=46)
        await tidied_again(bell)
    assert names_of(facts).count("epoch_is_old") == 1
    await bell.press()
    await bell.film(10)
    assert len(await recorded(bell)) == 1


@pytest.mark.parametrize("step", [timedelta(days=-5000), timedelta(days=5000)])
async def test_a_clock_that_steps_by_years_changes_no_duration_and_no_order(
    bell: SimulatedDoorbell, step: timedelta
) -> None:
    await bell.film(4)
    await bell.press()
    await bell.film(1)
    bell.clock.wrong_by = step
    await bell.film(10)
    (first,) = await recorded(bell)
    await bell.press()
    await bell.film(10)
    first, second = await recorded(bell, 2)
    # By the clock as it was when the visitor came.
    assert abs(first.start - NOW_MS) < 5000
    for manifest in (first, second):
        assert 1500 <= manifest.pre_roll_ms <= 3000
        assert 9500 <= manifest.end - manifest.start <= 11_000
    assert second.start - first.start == pytest.approx(
        step / timedelta(milliseconds=1) + 11_000, abs=1500
    )
    assert second.seq == first.seq + 1
    assert [first.events[0], second.events[0]] == bell.rings()


# ── what happens at once ──


async def test_a_packet_that_passes_by_does_not_take_the_event_from_its_motion(
    bell: SimulatedDoorbell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorder hears of a motion some awaits after it was named."""
    await bell.film(3)
    recorder = bell.agent._recorder
    assert recorder is not None
    store, camera = bell.agent._store, bell.cameras[-1]

    async def store_while_a_packet_passes(kind: ClipKind, event: Event) -> None:
        await store(kind, event)
        bell.clock.at_us = bell.number * FRAME_US
        camera.taken.put_nowait((picture(bell.number), Frame(MOVING, bell.clock.at_us)))
        bell.number += 1
        await camera.taken.join()

    monkeypatch.setattr(bell.agent, "_store", store_while_a_packet_passes)
    await bell.film(1, MOVING)
    monkeypatch.undo()
    await bell.film(1, MOVING)
    await bell.film(2)
    await bell.film(2, MOVING)
    await bell.film(10)
    (manifest,) = await recorded(bell)
    assert list(manifest.events) == bell.motions()
    assert len(bell.motions()) == 1


async def test_motion_that_comes_back_just_after_the_clip_ended_is_another_event(
    bell: SimulatedDoorbell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorder ends a clip on a thread of its own, before the agent hears of it."""
    await bell.film(3)
    await bell.film(2, MOVING)
    await bell.film(2)
    tell = bell.agent._tell
    ends = ["motion_came_back", "motion_began"]

    async def tell_when_the_clip_has_ended(
        recorder: Recorder, call: Callable[..., None], *args: object
    ) -> None:
        if ends and call.__name__ in ends:
            ends.clear()
            await tell(recorder, recorder.pass_time, bell.clock.at_us + 60_000_000)
        await tell(recorder, call, *args)

    monkeypatch.setattr(bell.agent, "_tell", tell_when_the_clip_has_ended)
    await bell.film(2, MOVING)
    monkeypatch.undo()
    await bell.film(10)
    first, second = await recorded(bell, 2)
    assert len(bell.motions()) == 2
    assert [*first.events, *second.events] == bell.motions()


async def test_rings_are_kept_and_told_while_a_clip_is_being_ended(
    bell: SimulatedDoorbell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow card, or a picture being drawn: the recorder's thread is busy until told."""
    await bell.film(3)
    recorder, is_busy, go_on = bell.agent._recorder, threading.Event(), threading.Event()
    assert recorder is not None
    end = recorder.pass_time

    def end_slowly(now_us: int) -> None:
        is_busy.set()
        go_on.wait(PATIENCE_S)
        end(now_us)

    monkeypatch.setattr(recorder, "pass_time", end_slowly)
    bell.clock.at_us += 2_000_000
    await until(is_busy.is_set, "the recorder's long work")
    for visit in (1, 2):
        bell.touch()
        await until(lambda: len(bell.service.events) == visit, f"ring {visit}")  # noqa: B023  # awaited here
        bell.clock.at_us += 10_000_000
    await until(lambda: bell.outbox.pending_events() == (), "their acks")
    assert not go_on.is_set()
    go_on.set()
    assert [leaf for leaf, _ in bell.service.events] == [Leaf.RING, Leaf.RING]


async def test_the_light_stays_on_until_the_clip_that_ended_is_told(
    bell: SimulatedDoorbell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sees the light out may look for the clip."""
    await bell.film(3)
    await bell.press()
    await until(lambda: bell.panel.lights == [Light.RECORDING], "the recording")
    recorder, has_ended, go_on = bell.agent._recorder, threading.Event(), threading.Event()
    assert recorder is not None
    take = recorder.take_finished

    def take_slowly() -> tuple[ClipId, ...]:
        if finished := take():
            has_ended.set()
            go_on.wait(PATIENCE_S)
        return finished

    monkeypatch.setattr(recorder, "take_finished", take_slowly)
    bell.clock.at_us += 20_000_000
    await until(has_ended.is_set, "the end of the clip")
    assert not recorder.is_recording
    bell.agent._recording_changed()
    assert bell.panel.lights == [Light.RECORDING]
    go_on.set()
    await until(lambda: bell.panel.lights == [Light.RECORDING, Light.OFF], "the light to go out")


async def test_a_camera_that_fails_even_in_closing_does_not_keep_it_from_stopping(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bell = SimulatedDoorbell()
    async with running_doorbell(bell):
        await bell.belong()
        await bell.film(3)
        await bell.press()
        await until(lambda: bell.panel.lights == [Light.RECORDING], "the recording")

        async def fail() -> None:
            raise CameraFailedError("it does not let go")

        monkeypatch.setattr(bell.cameras[-1], "close", fail)
    assert bell.panel.is_closed
    assert len(bell.cameras) == 1
    assert len(bell.outbox.pending_clips()) == 1


async def test_a_full_card_takes_no_clip_and_a_ring_is_told_all_the_same() -> None:
    bell = SimulatedDoorbell(SimulatedDisk(capacity_bytes=9 * 1024 * 1024))
    async with running_doorbell(bell):
        await bell.belong()
        await bell.film(3)
        with capture_logs() as facts:
            await bell.press()
            await bell.film(2)
        assert "recording_failed" in names_of(facts)
        assert len(bell.rings()) == 1
        await bell.film(10)
        assert bell.outbox.pending_clips() == ()
        assert bell.panel.lights == []
