"""The recorder: from packets and events to sealed clips in the outbox."""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Final

from doorstep_device.outbox import Outbox, Sealing, Start
from doorstep_device.ports.camera import Packet, VideoFormat
from doorstep_device.rules.episode import Episode, Part, PartLimits, Signal
from doorstep_device.rules.motion import Motion
from doorstep_device.rules.packet_ring import PacketRing
from doorstep_device.take import Take
from doorstep_shared.errors import DoorstepError
from doorstep_shared.ids import ClipId, EventId
from doorstep_shared.manifest import ClipKind

_SECOND_US: Final = 1_000_000
# What moved within half a second of a key frame is what that picture shows.
_NEAR_US: Final = 500_000
# 30 s of 4 Mbit/s: the longest pre-roll at twice the usual rate.
_RING_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Stamp:
    """One moment on both clocks.

    Attributes:
        at_us: `Clock.monotonic_us`, which packets and frames are stamped with.
        now_ms: Wall time at that moment, Unix milliseconds.
        clock_synced: Whether the wall time was set from outside.
    """

    at_us: int
    now_ms: int
    clock_synced: bool

    def wall_ms(self, at_us: int) -> int:
        """Return the wall time at ``at_us``, by this stamp."""
        return self.now_ms + (at_us - self.at_us) // 1000


@dataclass(frozen=True, slots=True)
class RecordingRules:
    """When to record, and for how long.

    Attributes:
        pre_roll_us: What is kept from before an event, 2 to 30 s.
        episode: When a clip ends.
        limits: When a long one is split.
    """

    pre_roll_us: int = 6 * _SECOND_US
    episode: Episode = field(default_factory=Episode)
    limits: PartLimits = field(default_factory=PartLimits)

    def __post_init__(self) -> None:
        if not 2 * _SECOND_US <= self.pre_roll_us <= 30 * _SECOND_US:
            raise ValueError("a pre-roll lasts 2 to 30 seconds")


@dataclass(frozen=True, slots=True)
class RecordingFailed:
    """A clip that could not be begun, or ended early, because of the disk.

    Attributes:
        clip: Which; None if it could not be begun. What is whole of it stays in the outbox.
        error: Why.
    """

    clip: ClipId | None
    error: DoorstepError


@dataclass(frozen=True, slots=True)
class _Sight:
    """What the motion rule said of one frame."""

    motion: Motion
    at_us: int


@dataclass(frozen=True, slots=True)
class _Awaited:
    """A clip to come.

    Attributes:
        part: What it is about.
        stamp: Of the episode's first event: all its parts tell their wall time by it.
        from_us: Its first picture is the last key frame at or before this, if there is one.
    """

    part: Part
    stamp: Stamp
    from_us: int

    def start(self, first_us: int) -> Start:
        """Return what is known of the clip whose first picture was taken at ``first_us``."""
        return Start(
            kind=self.part.kind,
            events=self.part.events,
            part=self.part.number,
            pre_roll_ms=max(self.stamp.at_us - first_us, 0) // 1000,
            # A clock that was never set may stand at its very beginning.
            start_ms=max(self.stamp.wall_ms(first_us), 0),
            clock_synced=self.stamp.clock_synced,
        )


class Recorder:
    """Keeps the last seconds, and records when something happens.

    Synchronous and for one thread; it has no clock. Feed it every packet in order. Disk
    errors while recording end the clip and wait in `take_failures`: the doorbell goes on.
    """

    def __init__(
        self, outbox: Outbox, video: VideoFormat, rules: RecordingRules | None = None
    ) -> None:
        self._outbox: Final = outbox
        self._video = video
        self._rules: Final = RecordingRules() if rules is None else rules
        self._ring: PacketRing[Packet] = PacketRing(self._rules.pre_roll_us, _RING_BYTES)
        self._sights: deque[_Sight] = deque()
        self._episode = self._rules.episode
        self._sealing: Sealing | None = None
        # What the clip to come is about, while there is none under way.
        self._awaited: _Awaited | None = None
        self._take: Take | None = None
        self._stamp: Stamp | None = None
        self._finished: list[ClipId] = []
        self._failures: list[RecordingFailed] = []

    @property
    def is_recording(self) -> bool:
        """Whether a clip is being recorded now: what the status light shows."""
        return self._take is not None

    def allow(self, sealing: Sealing | None) -> None:
        """Seal clips like this from the next one on; None ends the one under way, too."""
        self._sealing = sealing
        if sealing is None:
            self._end(is_last=True)

    def feed(self, packet: Packet) -> None:
        """Take the next packet; a second of them makes a tick."""
        self.pass_time(packet.at_us)
        self._split_if_due(packet)
        self._ring = self._ring.add(packet)
        if self._take is not None:
            self._record(self._take, packet)
        elif packet.is_key:
            self._begin_if_due()

    def saw(self, motion: Motion, at_us: int) -> None:
        """Take the motion rule's decision on the frame of ``at_us``, for details and thumbnail."""
        self._sights.append(_Sight(motion, at_us))
        while self._sights[0].at_us < at_us - self._rules.pre_roll_us - _SECOND_US:
            self._sights.popleft()
        if self._take is not None:
            self._take.note(motion, at_us)

    def ring(self, event: EventId, stamp: Stamp) -> None:
        """Record around a ring, or make the clip under way a ring clip."""
        self._happen(Signal.RING, ClipKind.RING, event, stamp)

    def motion_began(self, event: EventId, stamp: Stamp) -> None:
        """Record from before ``stamp`` until after `motion_ended`."""
        self._happen(Signal.MOTION_BEGAN, ClipKind.MOTION, event, stamp)

    def motion_came_back(self, event: EventId, stamp: Stamp) -> None:
        """Go on with the clip under way, if there is one: then it is the same motion."""
        if self.is_recording:
            self.motion_began(event, stamp)

    def motion_ended(self, at_us: int) -> None:
        """Let the post-roll begin; harmless when nothing moved."""
        self._episode = self._episode.feed(Signal.MOTION_ENDED, at_us)

    def pass_time(self, at_us: int) -> None:
        """End the clip under way if its time is up; for when packets may have stopped."""
        if self._episode.is_time_up(at_us):
            self._episode = self._episode.feed(Signal.TIME_UP, at_us)
            self._end(is_last=True)

    def stop(self) -> None:
        """End the clip under way with what has come, and forget the ring; the camera stops."""
        self._end(is_last=True)
        self._episode = self._rules.episode
        self._forget()

    def lose_camera(self, at_us: int) -> None:
        """End the clip under way with what has come; there are no more pictures.

        What it is about goes on for a post-roll. A camera that is back by then begins the
        next part, and whoever rings meanwhile is recorded from then on. Whether it will be
        back nobody knows: the clip counts as the last.
        """
        awaited = self._awaited
        if self._take is not None and self._stamp is not None:
            awaited = _Awaited(self._take.part.next(), self._stamp, at_us)
        self.motion_ended(at_us)
        self._end(is_last=True)
        self._awaited = awaited
        self._forget()

    def begin_camera(self, video: VideoFormat) -> None:
        """Take packets of another camera, or of the same one anew, from a key frame on."""
        self._video = video

    def take_finished(self) -> tuple[ClipId, ...]:
        """Return the clips that were finished since the last call."""
        finished, self._finished = tuple(self._finished), []
        return finished

    def take_failures(self) -> tuple[RecordingFailed, ...]:
        """Return what went wrong since the last call."""
        failures, self._failures = tuple(self._failures), []
        return failures

    def _happen(self, signal: Signal, kind: ClipKind, event: EventId, stamp: Stamp) -> None:
        self.pass_time(stamp.at_us)
        self._episode = self._episode.feed(signal, stamp.at_us)
        if self._take is not None:
            self._join(self._take, kind, event)
        elif self._awaited is not None:
            self._awaited = replace(self._awaited, part=self._awaited.part.join(kind, event))
        else:
            # Also within an episode whose clip the disk did not take: one try for each event,
            # so that a full disk is not asked again at every key frame.
            from_us = stamp.at_us - self._rules.pre_roll_us
            self._awaited = _Awaited(Part(kind, (event,)), stamp, from_us)
            self._begin_if_due()

    def _begin_if_due(self) -> None:
        if self._awaited is None or self._sealing is None:
            return
        packets = self._ring.since(self._awaited.from_us)
        # A camera that stands still shows nothing of the event; its next key frame may.
        if packets and packets[-1].at_us >= self._awaited.from_us:
            awaited, self._awaited = self._awaited, None
            self._begin(awaited, self._sealing, packets)

    def _begin(self, awaited: _Awaited, sealing: Sealing, packets: tuple[Packet, ...]) -> None:
        first_us = packets[0].at_us
        try:
            writer = self._outbox.begin_clip(sealing, awaited.start(first_us))
        except DoorstepError as error:
            self._failures.append(RecordingFailed(None, error))
            return
        self._stamp = awaited.stamp
        self._take = Take(
            self._outbox,
            writer,
            awaited.part,
            self._video,
            first_us=first_us,
            event_us=awaited.stamp.at_us,
            score_near=self._score_near,
        )
        for sight in self._sights:
            self._take.note(sight.motion, sight.at_us)
        for packet in packets:
            self._take.add(packet)
        # What came before the event is as worth keeping as what follows.
        self._tick(self._take)

    def _record(self, take: Take, packet: Packet) -> None:
        take.add(packet)
        if take.is_tick_due():
            self._tick(take)

    def _tick(self, take: Take) -> None:
        try:
            take.tick()
        except DoorstepError as error:
            self._break_off(take, error)

    def _join(self, take: Take, kind: ClipKind, event: EventId) -> None:
        try:
            take.join(kind, event)
        except DoorstepError as error:
            self._break_off(take, error)

    def _split_if_due(self, packet: Packet) -> None:
        """End a part that is long enough, just before ``packet``; the next begins with it."""
        take, stamp = self._take, self._stamp
        if take is None or stamp is None or not take.is_over(self._rules.limits, packet):
            return
        self._end(is_last=False)
        self._awaited = _Awaited(take.part.next(), stamp, packet.at_us)

    def _end(self, *, is_last: bool) -> None:
        self._awaited = None
        take, self._take = self._take, None
        if take is None:
            return
        try:
            take.finish(is_last=is_last)
        except DoorstepError as error:
            self._break_off(take, error)
        else:
            self._finished.append(take.clip)

    def _break_off(self, take: Take, error: DoorstepError) -> None:
        self._take = None
        self._failures.append(RecordingFailed(take.clip, error))
        if take.break_off():
            self._finished.append(take.clip)

    def _forget(self) -> None:
        """Keep nothing of what the camera gave."""
        self._ring = PacketRing(self._rules.pre_roll_us, _RING_BYTES)
        self._sights.clear()

    def _score_near(self, at_us: int) -> float:
        """Return the most that moved around ``at_us``."""
        near = (s.motion.score for s in self._sights if abs(s.at_us - at_us) <= _NEAR_US)
        return max(near, default=0.0)
