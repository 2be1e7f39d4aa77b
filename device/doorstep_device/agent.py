"""The agent: button, camera and uplink side by side, each restarted alone.

What touches the disk runs on two worker threads, each in order: events on one,
everything else on the other. So a ring is stored and sent while a clip is being
ended; of the camera's work it waits for what the card itself does one after the
other, and for no more.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, ParamSpec

import structlog

from doorstep_device.commands import Commands
from doorstep_device.delivery import Delivery
from doorstep_device.household import Membership
from doorstep_device.outbox import Outbox, PendingEvent, Problem
from doorstep_device.ports.broker import Broker
from doorstep_device.ports.camera import (
    Camera,
    CameraChangedError,
    CameraFailedError,
    CameraStalledError,
    Packet,
)
from doorstep_device.ports.clock import Clock
from doorstep_device.ports.panel import Light, Panel
from doorstep_device.recorder import Recorder, RecordingFailed, RecordingRules, Stamp
from doorstep_device.rules.backoff import Backoff
from doorstep_device.rules.motion import MotionRule
from doorstep_device.rules.press import Visit
from doorstep_device.uplink import Boot, Uplink
from doorstep_device.watcher import Seen, Watcher
from doorstep_device.worker import Worker
from doorstep_shared.errors import DoorstepError
from doorstep_shared.ids import ClipId, EventId, Random, draw_event_id
from doorstep_shared.manifest import ClipKind
from doorstep_shared.statements import Head
from doorstep_shared.wire import Alert, CameraState, Event, Health

RESTART_S: Final = 2.0
TICK_S: Final = 1.0
TIDY_S: Final = 60.0
# A camera that is away is asked for ever: often at first, as it may have been a cable.
CAMERA_TRIES: Final = Backoff(first_us=500_000, longest_us=30_000_000)
# One that has filmed for so long has proved itself: its next failure is a new one.
CAMERA_STEADY_US: Final = 10_000_000

log = structlog.get_logger()

P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Brokers:
    """The two connections: a ring never waits behind a clip."""

    control: Broker
    bulk: Broker


@dataclass(frozen=True, slots=True)
class Parts:
    """What an agent is made of; `bootstrap` builds it.

    Attributes:
        events_worker: Keeps events, and nothing else.
        worker: Does everything else that touches the disk.
        make_camera: Returns a camera not started yet; None for a doorbell
            without one.
        chance: Returns a random number from 0 to 1.
    """

    boot: Boot
    clock: Clock
    network_clock: Clock
    events_worker: Worker
    worker: Worker
    outbox: Outbox
    membership: Membership
    commands: Commands
    brokers: Brokers
    panel: Panel
    make_camera: Callable[[], Camera] | None
    rule: MotionRule
    pre_roll_s: float
    random: Random
    chance: Callable[[], float]


class Agent:
    """The doorbell, running."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._recorder: Recorder | None = None
        self._camera_state = CameraState.NOT_ALLOWED
        self._camera_tries = CAMERA_TRIES
        self._is_filming = False
        # Why there is no camera, as it was last told; None while there is one.
        self._camera_trouble: str | None = None
        self._sealing_allowed = False
        self._is_recording = False
        self._light = Light.OFF
        # The stamp of the packet that the recorder is taking in; None while it waits for one.
        self._taking_us: int | None = None
        self._taken = asyncio.Event()
        # The motion event of the episode under way: motion that comes and goes is one event.
        self._motion_event: EventId | None = None
        self._is_stopping = False
        self._told: set[Problem] = set()
        self._warned_of: int | None = None
        self._started_us = parts.network_clock.monotonic_us()
        self._uplink = Uplink(
            parts.brokers.control,
            parts.boot,
            events_worker=parts.events_worker,
            worker=parts.worker,
            outbox=parts.outbox,
            membership=parts.membership,
            commands=parts.commands,
            now_us=parts.network_clock.monotonic_us,
            now_ms=self._now_ms,
            is_synced=parts.clock.is_synced,
            chance=parts.chance,
            read_health=self._read_health,
            on_head=self._on_head,
            on_announced=self._on_announced,
            on_service_back=self._on_service_back,
            on_deleted=self._on_deleted,
        )
        self._delivery = Delivery(
            parts.brokers.bulk,
            parts.boot.device,
            worker=parts.worker,
            outbox=parts.outbox,
            now_us=parts.network_clock.monotonic_us,
            announce_again=self._uplink.announce_again,
        )

    async def run(self) -> None:
        """Run every part until cancelled; a part that fails is started again alone."""
        log.info("agent_started", device=self._parts.boot.device, boot=self._parts.boot.boot)
        self._tell_problems()
        try:
            async with asyncio.TaskGroup() as parts:
                for name, part in (
                    ("button", self._watch_button),
                    ("camera", self._run_camera),
                    ("uplink", self._uplink.run),
                    ("delivery", self._delivery.run),
                    ("tidy", self._tidy),
                ):
                    parts.create_task(self._keep_running(name, part), name=name)
                try:
                    await asyncio.Event().wait()
                finally:
                    self._is_stopping = True
        finally:
            await self._close()

    async def _keep_running(self, name: str, part: Callable[[], Awaitable[None]]) -> None:
        """Run ``part``; again after a pause if it fails, and no more when it ends."""
        while True:
            try:
                await part()
            except* DoorstepError as failed:
                for error in _each(failed):
                    log.error("part_failed", part=name, reason=error.fact, do=error.do)  # noqa: TRY400  # expected; the fact says it all
            except* Exception:  # a task boundary: one part's bug must not stop the bell
                log.exception("part_crashed", part=name)
            else:
                return
            # A part may fail in ending: what told it to end was lost on the way.
            if self._is_stopping:
                return
            await asyncio.sleep(RESTART_S)

    def _tell_problems(self) -> None:
        """Tell what nobody can read on the card, each once."""
        parts = self._parts
        problems = (
            *parts.outbox.problems,
            *parts.membership.problems,
            *parts.commands.problems,
        )
        for problem in problems:
            if problem not in self._told:
                log.error("unreadable_kept", path=problem.path, reason=problem.fact)
        self._told.update(problems)

    async def _close(self) -> None:
        """Say goodbye; the camera's own end has finished the clip under way."""
        self._parts.panel.close()
        await self._parts.brokers.control.close()
        await self._parts.brokers.bulk.close()
        self._parts.events_worker.close()
        self._parts.worker.close()
        log.info("agent_stopped")

    # ── the button ──────────────────────────────────────────────────────────────────────

    async def _watch_button(self) -> None:
        """Store and send one ring for every visit; the next waits for no recording."""
        visit = Visit()
        async with asyncio.TaskGroup() as recordings:
            async for edge in self._parts.panel.edges():
                visit, rings = visit.feed(edge)
                if rings:
                    stamp = self._stamp(edge.at_us)
                    event = await self._ring(stamp)
                    recordings.create_task(self._record_ring(event, stamp), name="ring")

    async def _ring(self, stamp: Stamp) -> EventId:
        event = self._event(stamp)
        log.info("ring_pressed", event_id=event.event)
        await self._store(ClipKind.RING, event)
        return event.event

    async def _record_ring(self, event: EventId, stamp: Stamp) -> None:
        await self._catch_up(stamp.at_us)
        if self._recorder is not None:
            await self._tell(self._recorder, self._recorder.ring, event, stamp)

    async def _store(self, kind: ClipKind, event: Event) -> None:
        """Make ``event`` durable and send it; a full disk loses the record, not the ring."""
        try:
            await self._parts.events_worker.run(self._parts.outbox.put_event, kind, event)
        except DoorstepError as error:
            log.error("event_not_stored", event_id=event.event, reason=error.fact)  # noqa: TRY400  # expected; the fact says it all
        else:
            log.info("event_stored", event_id=event.event, kind=kind.value)
        self._uplink.send_event(PendingEvent(kind, event))

    # ── the camera ──────────────────────────────────────────────────────────────────────

    async def _run_camera(self) -> None:
        """Film until the camera ends; one that fails is tried again for ever."""
        if self._parts.make_camera is None:
            return
        try:
            while not await self._film(self._parts.make_camera):
                # A camera may fail in ending: what told it to end was lost on the way.
                if self._is_stopping:
                    return
                pause_us = self._camera_tries.due_us - self._parts.network_clock.monotonic_us()
                await asyncio.sleep(pause_us / 1e6)
            log.info("camera_ended")
        finally:
            await self._end_recording()

    async def _film(self, make_camera: Callable[[], Camera]) -> bool:
        """Capture, watch and record; return whether the camera ended in order."""
        began_us: int | None = None
        try:
            async with make_camera() as camera:
                began_us = self._parts.network_clock.monotonic_us()
                await self._camera_began(camera)
                await self._capture(camera)
        except CameraFailedError as error:
            await self._camera_lost(error, began_us)
            return False
        return True

    async def _camera_began(self, camera: Camera) -> None:
        """Record what it films; a recording that it had to leave goes on."""
        if self._recorder is None:
            self._recorder = self._new_recorder(camera)
        else:
            await self._parts.worker.run(self._recorder.begin_camera, camera.format)
        self._is_filming = True
        if self._camera_trouble is not None:
            self._camera_trouble = None
            log.info("camera_back")
        await self._allow()

    async def _camera_lost(self, error: CameraFailedError, began_us: int | None) -> None:
        """End the clip under way, tell, and say when to try again."""
        now_us = self._parts.network_clock.monotonic_us()
        if began_us is not None and now_us - began_us >= CAMERA_STEADY_US:
            self._camera_tries = CAMERA_TRIES
        if isinstance(error, CameraChangedError) and self._camera_tries == CAMERA_TRIES:
            # It is there and films: what comes next is only of another kind.
            self._camera_tries = replace(CAMERA_TRIES, due_us=now_us)
        else:
            self._camera_tries = self._camera_tries.tried(now_us, self._parts.chance())
        self._is_filming = False
        if self._recorder is not None:
            at_us = self._parts.clock.monotonic_us()
            await self._tell(self._recorder, self._recorder.lose_camera, at_us)
        self._set_camera(CameraState.FAILED)
        if error.fact != self._camera_trouble:
            self._camera_trouble = error.fact
            _tell_trouble(error)

    async def _capture(self, camera: Camera) -> None:
        """Read both streams to their end; the first failure ends both."""
        streams = {
            asyncio.create_task(self._record(camera), name="packets"),
            asyncio.create_task(self._watch(camera), name="frames"),
        }
        ticking = asyncio.create_task(self._tick(), name="tick")
        try:
            done, _ = await asyncio.wait(streams, return_when=asyncio.FIRST_EXCEPTION)
            for stream in done:
                stream.result()
        finally:
            for task in (*streams, ticking):
                task.cancel()
            await asyncio.gather(*streams, ticking, return_exceptions=True)

    async def _record(self, camera: Camera) -> None:
        async for packet in camera.packets():
            if self._recorder is not None:
                await self._take(self._recorder, packet)

    async def _take(self, recorder: Recorder, packet: Packet) -> None:
        self._taking_us = packet.at_us
        try:
            await self._tell(recorder, recorder.feed, packet)
        finally:
            self._taking_us = None
            self._taken.set()

    async def _catch_up(self, at_us: int) -> None:
        """Wait until the recorder has the pictures from before ``at_us``.

        On a slow card they wait, and what it hears of later would end its clip without them.
        """
        while self._taking_us is not None and self._taking_us < at_us:
            self._taken.clear()
            await self._taken.wait()

    async def _watch(self, camera: Camera) -> None:
        watcher = Watcher(self._parts.rule)
        async for frame in camera.frames():
            # Off the loop: on a small processor a look takes longer than a ring may wait.
            seen = await asyncio.to_thread(watcher.look, frame)
            await self._catch_up(frame.at_us)
            if self._recorder is not None and self._sealing_allowed:
                await self._saw(self._recorder, seen, frame.at_us)

    async def _saw(self, recorder: Recorder, seen: Seen, at_us: int) -> None:
        await self._parts.worker.run(recorder.saw, seen.motion, at_us)
        if seen.began:
            await self._motion_began(recorder, at_us)
        elif seen.ended:
            log.info("motion_ended", event_id=self._motion_event)
            await self._tell(recorder, recorder.motion_ended, at_us)

    async def _motion_began(self, recorder: Recorder, at_us: int) -> None:
        """Record; motion that comes back within one recording is the same event."""
        stamp = self._stamp(at_us)
        if self._motion_event is not None:
            # The recorder decides: its clip may end before it hears of this.
            await self._tell(recorder, recorder.motion_came_back, self._motion_event, stamp)
            if self._motion_event is not None:
                return
        event = self._event(stamp)
        log.info("motion_began", event_id=event.event)
        await self._store(ClipKind.MOTION, event)
        # Until the recorder was told, each packet that passes by forgets the event.
        await self._tell(recorder, recorder.motion_began, event.event, stamp)
        if recorder.is_recording:
            self._motion_event = event.event

    async def _tick(self) -> None:
        """Let the recorder end a clip even when packets have stopped, but not while they wait."""
        while True:
            await self._parts.clock.sleep(TICK_S)
            if self._recorder is not None and self._taking_us is None:
                now_us = self._parts.clock.monotonic_us()
                await self._tell(self._recorder, self._recorder.pass_time, now_us)

    def _new_recorder(self, camera: Camera) -> Recorder:
        rules = RecordingRules(pre_roll_us=int(self._parts.pre_roll_s * 1e6))
        return Recorder(self._parts.outbox, camera.format, rules)

    async def _end_recording(self) -> None:
        recorder, self._recorder = self._recorder, None
        self._is_filming = False
        if recorder is not None:
            await self._tell(recorder, recorder.stop)
        self._show(Light.OFF)

    async def _tell(
        self, recorder: Recorder, call: Callable[P, None], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Call the recorder on the worker; then send, tell and show what came of it."""

        def call_and_take() -> tuple[tuple[ClipId, ...], tuple[RecordingFailed, ...], bool]:
            call(*args, **kwargs)
            return recorder.take_finished(), recorder.take_failures(), recorder.is_recording

        # As it was when the call was done: a clip that ends meanwhile is told of before the
        # light goes out.
        finished, failures, is_recording = await self._parts.worker.run(call_and_take)
        for clip in finished:
            log.info("clip_finished", clip_id=clip)
        for failure in failures:
            log.error("recording_failed", clip_id=failure.clip, reason=failure.error.fact)
        if finished or failures:
            self._uplink.nudge()
            self._uplink.look_at_commands()
        self._is_recording = is_recording
        if not is_recording:
            # What moves next belongs to another recording, a ring's perhaps.
            self._motion_event = None
        self._recording_changed()

    # ── whose it is ─────────────────────────────────────────────────────────────────────

    async def _on_head(self, _head: Head) -> None:
        await self._allow()
        # The service may have turned down what it now accepts.
        self._uplink.nudge()

    async def _allow(self) -> None:
        """Record only while a verified statement lists this doorbell."""
        sealing = self._parts.membership.sealing()
        self._sealing_allowed = sealing is not None
        if self._recorder is not None:
            await self._tell(self._recorder, self._recorder.allow, sealing)
        self._warn_of_age()

    def _warn_of_age(self) -> None:
        """Warn once of an epoch past its time; recording goes on."""
        head = self._parts.membership.head
        if head is None or head.statement.epoch.not_after >= self._now_ms():
            return
        if self._warned_of != head.statement.epoch.n:
            self._warned_of = head.statement.epoch.n
            log.warning("epoch_is_old", epoch=self._warned_of)

    # ── what others are told ────────────────────────────────────────────────────────────

    def _on_announced(self) -> None:
        self._delivery.nudge()

    def _on_service_back(self) -> None:
        self._delivery.service_is_back()

    def _on_deleted(self) -> None:
        self._delivery.clips_deleted()

    def _recording_changed(self) -> None:
        """Show on the light, and tell the service, what the camera is doing."""
        recorder = self._recorder
        is_recording = recorder is not None and self._is_recording
        self._show(Light.RECORDING if is_recording else Light.OFF)
        if recorder is None or not self._is_filming:
            return
        if not self._sealing_allowed:
            self._set_camera(CameraState.NOT_ALLOWED)
        else:
            self._set_camera(CameraState.RECORDING if is_recording else CameraState.WATCHING)

    def _show(self, light: Light) -> None:
        if light is not self._light:
            self._light = light
            self._parts.panel.show(light)
            log.info("light", state=light.value)

    def _set_camera(self, state: CameraState) -> None:
        if state is not self._camera_state:
            self._camera_state = state
            self._uplink.health_changed()

    async def _read_health(self) -> Health:
        usage = await self._parts.worker.run(self._parts.outbox.usage)
        uptime_us = self._parts.network_clock.monotonic_us() - self._started_us
        return Health(
            boot=self._parts.boot.boot,
            at=self._now_ms(),
            clock_synced=self._parts.clock.is_synced(),
            uptime_s=uptime_us // 1_000_000,
            camera=self._camera_state,
            waiting_events=usage.waiting_events,
            waiting_clips=usage.waiting_clips,
            waiting_bytes=usage.waiting_bytes,
            dropped_clips=usage.dropped_clips,
            dropped_events=usage.dropped_events,
            disk_free_bytes=usage.free_bytes,
        )

    async def _tidy(self) -> None:
        while True:
            await self._parts.worker.run(self._parts.outbox.tidy, self._now_ms())
            self._uplink.look_at_commands()
            self._tell_problems()
            self._warn_of_age()
            await asyncio.sleep(TIDY_S)

    def _event(self, stamp: Stamp) -> Event:
        return Event(
            event=draw_event_id(stamp.now_ms, self._parts.random),
            at=stamp.now_ms,
            clock_synced=stamp.clock_synced,
            alert=Alert.NOW,
        )

    def _stamp(self, at_us: int) -> Stamp:
        """Return the moment ``at_us``, a little ago, on both clocks."""
        ago_ms = (self._parts.clock.monotonic_us() - at_us) // 1000
        return Stamp(
            at_us=at_us,
            now_ms=self._now_ms() - ago_ms,
            clock_synced=self._parts.clock.is_synced(),
        )

    def _now_ms(self) -> int:
        return int(self._parts.clock.now().timestamp() * 1000)


def _tell_trouble(error: CameraFailedError) -> None:
    """Tell why there are no pictures; tries that fail alike are not told again."""
    match error:
        case CameraStalledError():
            log.warning("camera_stalled", reason=error.fact, do=error.do)
        case CameraChangedError():
            log.warning("camera_changed", reason=error.fact, do=error.do)
        case _:
            log.warning("camera_failed", reason=error.fact, do=error.do)


def _each(failed: ExceptionGroup[DoorstepError]) -> Iterator[DoorstepError]:
    """Yield the errors in a group: a part may itself be of several tasks."""
    for error in failed.exceptions:
        if isinstance(error, ExceptionGroup):
            yield from _each(error)
        else:
            yield error
