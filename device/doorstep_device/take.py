"""A take: one clip while it is being recorded, from packets to its ending."""

from collections.abc import Callable
from typing import Final

from doorstep_device.clip_ending import Ending
from doorstep_device.clip_writer import ClipWriter
from doorstep_device.details import Details
from doorstep_device.muxer import Fragment, Muxer
from doorstep_device.outbox import Outbox
from doorstep_device.ports.camera import Packet, VideoFormat
from doorstep_device.rules.episode import Part, PartLimits
from doorstep_device.rules.motion import Motion
from doorstep_device.thumbnail import Candidates, draw_thumbnail
from doorstep_shared.ids import ClipId, EventId
from doorstep_shared.manifest import ClipKind

TICK_US: Final = 1_000_000

ScoreNear = Callable[[int], float]
"""Returns the most that moved around a time."""


class Take:
    """Muxes, seals and describes one clip; its errors are the disk's.

    Attributes:
        part: What the clip is about, so far.
    """

    def __init__(
        self,
        outbox: Outbox,
        writer: ClipWriter,
        part: Part,
        video: VideoFormat,
        *,
        first_us: int,
        event_us: int,
        score_near: ScoreNear,
    ) -> None:
        """Begin with a clip that the outbox has just begun.

        Args:
            outbox: Where it goes.
            writer: Its writer.
            part: What it is about.
            video: What the packets hold.
            first_us: When its first picture was taken.
            event_us: When its event began; the thumbnail is not taken from before.
            score_near: Says which key frame shows the most.
        """
        self.part = part
        self._outbox: Final = outbox
        self._writer: Final = writer
        self._muxer: Final = Muxer(video, first_us)
        self._details: Final = Details(first_us)
        self._candidates: Final = Candidates()
        self._score_near: Final = score_near
        self._first_us: Final = first_us
        self._event_us: Final = event_us
        self._last_us = first_us
        self._ticked_us = first_us
        self._last_key: Packet | None = None
        # Whole fragments that no tick has made durable yet.
        self._fresh: list[Fragment] = []

    @property
    def clip(self) -> ClipId:
        """Which clip it is."""
        return self._writer.clip

    def add(self, packet: Packet) -> None:
        """Take the next packet; the first is a key frame."""
        fragment = self._muxer.add(packet)
        if fragment is not None:
            self._fresh.append(fragment)
        if packet.is_key:
            self._consider_last_key()
            self._last_key = packet
        self._last_us = packet.at_us

    def note(self, motion: Motion, at_us: int) -> None:
        """Take what the motion rule said of a frame, for the details."""
        self._details.add_motion(motion, at_us)

    def join(self, kind: ClipKind, event: EventId) -> None:
        """Let one more event belong to the clip; durable on return."""
        part = self.part.join(kind, event)
        if (part.kind, part.events) != (self.part.kind, self.part.events):
            self._writer.amend(part.kind, part.events)
        self.part = part

    def is_tick_due(self) -> bool:
        """Return whether a second of packets has come since the last tick."""
        return self._last_us - self._ticked_us >= TICK_US

    def is_over(self, limits: PartLimits, next_packet: Packet) -> bool:
        """Return whether ``next_packet`` belongs to the next part."""
        fresh_bytes = sum(len(fragment.data) for fragment in self._fresh)
        return self.part.is_over(
            limits,
            length_us=next_packet.at_us - self._first_us,
            size_bytes=self._writer.payload_bytes + fresh_bytes,
            at_key_frame=next_packet.is_key,
        )

    def tick(self) -> None:
        """Make every whole fragment durable, with one sync."""
        if self._fresh:
            fragments, media_ms = self._take_fresh()
            self._outbox.tick_clip(self._writer, fragments, media_ms)
        self._ticked_us = self._last_us

    def finish(self, *, is_last: bool) -> None:
        """End the clip: signed and waiting for the service on return."""
        self._fresh.append(self._muxer.finish())
        self._consider_last_key()
        fragments, media_ms = self._take_fresh()
        key_frames = self._candidates.key_frames
        if not key_frames and self._last_key is not None:
            # The event began after the last key frame.
            key_frames = (self._last_key,)
        ending = Ending(
            media_ms=media_ms,
            is_last=is_last,
            thumb=draw_thumbnail(key_frames),
            details=self._details.encode(),
        )
        self._outbox.finish_clip(self._writer, fragments, ending)

    def break_off(self) -> bool:
        """End the clip as of its last tick; return whether it now waits for the service."""
        return self._outbox.break_off_clip(self._writer) is not None

    def _take_fresh(self) -> tuple[bytes, int]:
        """Return what is fresh, and how long the clip is with it, in milliseconds."""
        fresh, self._fresh = self._fresh, []
        offset = self._writer.plaintext_bytes
        for fragment in fresh:
            self._details.add_fragment(offset, fragment.began_us)
            offset += len(fragment.data)
        media_ms = (fresh[-1].ended_us - self._first_us) // 1000
        return b"".join(fragment.data for fragment in fresh), media_ms

    def _consider_last_key(self) -> None:
        """Weigh the key frame before this moment, now that what moved around it is known."""
        key = self._last_key
        if key is not None and key.at_us >= self._event_us:
            self._candidates.offer(key, self._score_near(key.at_us))
