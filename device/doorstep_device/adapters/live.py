"""A live camera: pictures that come in their own time, whoever waits for them.

A thread opens the camera, looks at its first GOPs, and then either keeps the packets as
the camera coded them or encodes its pictures. Each picture is decoded either way: the
motion rule looks at it, and its size shows whether it is still the same stream.
"""

import asyncio
import itertools
import math
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import av
import av.error
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from doorstep_device.adapters.bounds import MOST_FIRST_BYTES, MOST_PIXELS, bound_the_library
from doorstep_device.adapters.capture import (
    FRAME_EVERY_US,
    PACKETS_WAIT_S,
    reader_too_slow,
    small_luma,
)
from doorstep_device.adapters.encoder import H264Encoder, fit_within_720p
from doorstep_device.adapters.handover import Handover
from doorstep_device.adapters.passthrough import MAX_GOP_US, Coded, Passthrough, why_not_kept
from doorstep_device.ports.camera import (
    Camera,
    CameraChangedError,
    CameraFailedError,
    CameraStalledError,
    Frame,
    Packet,
    VideoFormat,
)
from doorstep_device.ports.clock import Clock
from doorstep_device.rules.timeline import Timeline
from doorstep_shared.errors import DoorstepError

STALLED_S: Final = 5.0
# Connecting, and the first pictures after it.
OPENS_WITHIN_S: Final = 20.0
# A read that hangs ends by itself soon after the stall was told; a driver's may not.
READ_TIMEOUT_S: Final = STALLED_S + 1.0
_JOIN_S: Final = 2.0
# Enough pictures to tell their rate, where there is nothing else to wait for.
_LOOK_US: Final = 300_000
# A camera whose stamps stand still is judged as well.
_MOST_UNITS: Final = 300
# RTSP stamps from the second packet on. A source that never does is stamped by our clock.
_MOST_UNSTAMPED: Final = 30
_MAX_FPS: Final = 30.0
_FALLBACK_FPS: Final = 15.0

AvPacket: TypeAlias = "av.Packet[VideoStream]"


class Feed(Protocol):
    """One live source, in the library's terms."""

    @property
    def name(self) -> str:
        """What messages call it; no address in it, and no password."""
        ...

    @property
    def may_be_kept(self) -> bool:
        """Whether H.264 from it is kept as it is, if it is fit for that."""
        ...

    def open(self) -> InputContainer:
        """Return the open source.

        Raises:
            CameraFailedError: It cannot be had; it says why.
        """
        ...

    def lost(self, error: Exception | None) -> CameraFailedError:
        """Return what the end of its stream means to people; None is an end in order."""
        ...


@dataclass(frozen=True, slots=True)
class _Arrived:
    """A packet and when it came."""

    packet: AvPacket
    coded: Coded
    arrived_us: int


@dataclass(frozen=True, slots=True)
class _Streams:
    """What begins once the first pictures are known."""

    video: VideoFormat
    frames: Handover[Frame]
    packets: Handover[Packet]

    def end(self, failure: Exception | None) -> None:
        self.frames.end(failure)
        self.packets.end(failure)


class LiveCamera(Camera):
    """Shows what a live source gives; a source that stops giving has stalled."""

    def __init__(self, feed: Feed, clock: Clock) -> None:
        """Prepare; nothing is opened yet.

        Args:
            feed: The source.
            clock: Stamps its pictures; it runs at the pace of the world.
        """
        self._feed = feed
        self._clock = clock
        self._capture: _Capture | None = None
        self._watching: asyncio.Task[None] | None = None
        self._streams: _Streams | None = None

    @property
    def format(self) -> VideoFormat:
        """What the packets hold."""
        return self._running().video

    async def start(self) -> None:
        """Open the source and look at its first pictures.

        Raises:
            CameraFailedError: There is no picture to be had, or the last try to get one still
                hangs in the driver: each further one would leave another thread there.
        """
        bound_the_library()
        captures = (t for t in threading.enumerate() if isinstance(t, _Capture))
        if any(capture.hangs_at(self._feed.name) for capture in captures):
            raise _hanging(self._feed)
        capture = _Capture(self._feed, self._clock, asyncio.get_running_loop())
        self._capture = capture
        capture.start()
        try:
            async with asyncio.timeout(OPENS_WITHIN_S):
                self._streams = await asyncio.wrap_future(capture.begun)
        except TimeoutError:
            await self.close()
            raise _stalled(self._feed, OPENS_WITHIN_S) from None
        except BaseException:
            await self.close()
            raise
        self._watching = asyncio.create_task(self._watch(capture, self._streams))

    async def close(self) -> None:
        """End both streams, and the thread; one that hangs in a driver is left behind."""
        if self._watching is not None:
            self._watching.cancel()
        if self._capture is not None:
            self._capture.stop()
            await asyncio.to_thread(self._capture.join, _JOIN_S)
        if self._streams is not None:
            self._streams.end(None)

    def frames(self) -> AsyncIterator[Frame]:
        """Yield the newest frame, at most 10 a second."""
        return self._running().frames

    def packets(self) -> AsyncIterator[Packet]:
        """Yield every packet."""
        return self._running().packets

    def _running(self) -> _Streams:
        if self._streams is None:
            raise RuntimeError("this camera has not been started")
        return self._streams

    async def _watch(self, capture: "_Capture", streams: _Streams) -> None:
        """End both streams when the thread has had no picture for too long."""
        while capture.is_alive():
            idle_s = (self._clock.monotonic_us() - capture.pictured_us) / 1e6
            if idle_s >= STALLED_S:
                streams.end(_stalled(self._feed, STALLED_S))
                return
            await self._clock.sleep(STALLED_S - idle_s)


class _Capture(threading.Thread):
    """The thread: opens, looks, then takes what comes until told to stop.

    Attributes:
        begun: The streams, once the first pictures are known.
        pictured_us: When it last had a whole picture.
    """

    def __init__(self, feed: Feed, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(name="camera", daemon=True)
        self.begun: Future[_Streams] = Future()
        # From here on nobody can cancel it, and setting it cannot fail.
        self.begun.set_running_or_notify_cancel()
        self.pictured_us = clock.monotonic_us()
        self._feed = feed
        self._clock = clock
        self._loop = loop
        self._is_stopping = False
        self._frame_due_us = 0

    def hangs_at(self, name: str) -> bool:
        """Return whether it was told to stop, and is still at the source of that name."""
        return self._is_stopping and self._feed.name == name and self.is_alive()

    def stop(self) -> None:
        """Make the thread end after what it is at, from any thread."""
        self._is_stopping = True

    def run(self) -> None:
        """Capture; tell whoever waits how it ended."""
        failure: Exception | None
        try:
            with closing(self._feed.open()) as container:
                failure = self._capture(container)
        except DoorstepError as error:
            failure = error
        except Exception as error:  # noqa: BLE001  # a thread ends: both readers crash
            failure = error
        failure = failure or self._feed.lost(None)
        if not self.begun.done():
            self.begun.set_exception(failure)
        elif self.begun.exception() is None:
            self.begun.result().end(None if self._is_stopping else failure)

    def _capture(self, container: InputContainer) -> CameraFailedError | None:
        """Take pictures until the source ends; return why, if it was no end in order."""
        try:
            self._take(container)
        except (av.error.FFmpegError, OSError) as error:
            # The library's error may hold the address with its password: it goes no further.
            broken = error
        else:
            return None
        return self._feed.lost(broken)

    def _take(self, container: InputContainer) -> None:
        stream = container.streams.video[0]
        stream.thread_type = "SLICE"  # a picture is had as soon as its packet is
        stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
        units = self._arriving(container, stream)
        first = list(self._first_units(units, stream))
        if not first:
            return
        video, is_kept = self._judge(stream, first)
        streams = self._begin(video)
        step_us = round(1_000_000 / video.fps)
        timeline = Timeline.begin([(u.coded.stamp_us, u.arrived_us) for u in first], step_us)
        every = itertools.chain(first, units)
        if is_kept:
            self._keep(every, streams, timeline, stream.codec_context.extradata or b"")
        else:
            self._encode(every, streams, timeline)

    def _arriving(self, container: InputContainer, stream: VideoStream) -> Iterator[_Arrived]:
        """Yield every packet, with a stamp; those before the first stamp have none."""
        stamp_us: int | None = None
        step_us = round(1e6 / _rate(stream))
        unstamped: list[tuple[AvPacket, int]] = []
        held_bytes = 0
        for packet in container.demux(stream):
            if self._is_stopping:
                return
            if packet.size == 0:  # the library's mark of the end
                continue
            now_us = self._clock.monotonic_us()
            if packet.pts is not None and packet.time_base is not None:
                stamp_us = round(packet.pts * packet.time_base * 1_000_000)
            elif stamp_us is not None:
                stamp_us += step_us
            elif len(unstamped) < _MOST_UNSTAMPED and held_bytes <= MOST_FIRST_BYTES:
                held_bytes += packet.size
                unstamped.append((packet, now_us))
                continue
            else:
                stamp_us = now_us
            for place, (early, came_us) in enumerate(unstamped):
                back_us = (len(unstamped) - place) * step_us
                yield _arrived(early, stamp_us - back_us, came_us)
            unstamped.clear()
            yield _arrived(packet, stamp_us, now_us)

    def _first_units(self, units: Iterator[_Arrived], stream: VideoStream) -> Iterator[_Arrived]:
        """Yield what has to be seen of a stream to judge it, and to set its clock by.

        What was waiting for us came late; the first picture that we wait for did not.

        Raises:
            CameraFailedError: It is more than is kept in memory.
        """
        may_be_kept = self._feed.may_be_kept and stream.codec_context.name == "h264"
        look_us = MAX_GOP_US if may_be_kept else _LOOK_US
        waits_us = 250_000 / _rate(stream)
        keys, since_us, arrived_us = 0, None, None
        left_bytes = MOST_FIRST_BYTES
        for unit in itertools.islice(units, _MOST_UNITS):
            left_bytes -= len(unit.coded.data)
            if left_bytes < 0:
                raise self._too_large("more in its first pictures than there is room for")
            yield unit
            if since_us is None or (keys == 0 and unit.coded.begins_stream):
                since_us = unit.coded.stamp_us
            keys += unit.coded.begins_stream
            is_seen = abs(unit.coded.stamp_us - since_us) > look_us or (may_be_kept and keys > 1)
            was_waited_for = arrived_us is not None and unit.arrived_us - arrived_us > waits_us
            if is_seen and was_waited_for:
                return
            arrived_us = unit.arrived_us

    def _judge(self, stream: VideoStream, first: Sequence[_Arrived]) -> tuple[VideoFormat, bool]:
        """Return the format, and whether the packets are kept as they are.

        Raises:
            CameraFailedError: There are no pictures, or they are too large.
        """
        codec = stream.codec_context
        if not (codec.width and codec.height):
            raise CameraFailedError(
                f"{self._feed.name} gives no picture that can be decoded",
                safe="The button rings all the while.",
                do="set the camera to H.264",
            )
        if codec.width * codec.height > MOST_PIXELS:
            raise self._too_large(f"pictures of {codec.width} x {codec.height}")
        fps = _fps_of(first, _rate(stream))
        coded = [unit.coded for unit in first]
        reason = (
            "it is coded here"
            if not self._feed.may_be_kept
            else why_not_kept(codec.name, codec.pix_fmt, codec.extradata or b"", coded)
        )
        if reason is None:
            return VideoFormat(codec.width, codec.height, fps), True
        width, height = fit_within_720p(codec.width, codec.height)
        return VideoFormat(width, height, min(fps, _MAX_FPS)), False

    def _too_large(self, what: str) -> CameraFailedError:
        return CameraFailedError(
            f"{self._feed.name} sends {what}",
            safe="The button rings all the while.",
            do="set it to 1280 x 720, or take its second stream; it may be 2560 x 1440 at most",
        )

    def _begin(self, video: VideoFormat) -> _Streams:
        limit = math.ceil(PACKETS_WAIT_S * max(video.fps, 1))
        streams = _Streams(
            video, Handover(self._loop, 1), Handover(self._loop, limit, reader_too_slow)
        )
        self.pictured_us = self._clock.monotonic_us()
        self.begun.set_result(streams)
        return streams

    def _keep(
        self, units: Iterator[_Arrived], streams: _Streams, timeline: Timeline, headers: bytes
    ) -> None:
        passthrough = Passthrough(headers)
        size = (streams.video.width_px, streams.video.height_px)
        for unit in units:
            kept = passthrough.keep(unit.coded)
            if kept is None:
                continue
            timeline, at_us = timeline.feed(unit.coded.stamp_us, unit.arrived_us)
            streams.packets.put(Packet(*kept, at_us))
            for image in _decode(unit.packet, at_us):
                self._check(image, size)
                self._show(image, at_us if image.pts is None else image.pts, streams)

    def _encode(self, units: Iterator[_Arrived], streams: _Streams, timeline: Timeline) -> None:
        encoder, size = H264Encoder(streams.video), None
        step_us = round(1e6 / streams.video.fps)
        due_us = 0
        for unit in units:
            for image in _decode(unit.packet, unit.coded.stamp_us):
                size = (image.width, image.height) if size is None else size
                self._check(image, size)
                timeline, at_us = timeline.feed(image.pts, unit.arrived_us)
                if at_us < due_us - step_us // 4:
                    continue  # more than thirty a second
                due_us = max(due_us, at_us) + step_us
                self._show(image, at_us, streams)
                for packet in encoder.encode(image, at_us):
                    streams.packets.put(packet)

    def _check(self, image: VideoFrame, size: tuple[int, int]) -> None:
        """Note that there is a picture.

        Raises:
            CameraChangedError: It is of another size.
        """
        if (image.width, image.height) != size:
            raise CameraChangedError(
                f"the camera's pictures are {image.width} x {image.height} now",
                safe="What was recorded before is kept.",
            )
        self.pictured_us = self._clock.monotonic_us()

    def _show(self, image: VideoFrame, at_us: int, streams: _Streams) -> None:
        """Hand over the small picture of ``image``, if it is time for one."""
        if at_us >= self._frame_due_us:
            self._frame_due_us = at_us + FRAME_EVERY_US
            streams.frames.put(Frame(small_luma(image), at_us))


def _arrived(packet: AvPacket, stamp_us: int, arrived_us: int) -> _Arrived:
    return _Arrived(packet, Coded(bytes(packet), packet.is_keyframe, stamp_us), arrived_us)


def _decode(packet: AvPacket, stamp_us: int) -> list[VideoFrame]:
    """Return the pictures that are ready, ``pts`` being the stamp of each; none of damage."""
    packet.pts = packet.dts = stamp_us
    try:
        return packet.decode()
    except av.error.InvalidDataError:
        return []


def _rate(stream: VideoStream) -> float:
    rate = float(stream.average_rate or 0)
    return rate if 1 <= rate <= 120 else _FALLBACK_FPS  # noqa: PLR2004  # what lies outside is made up


def _fps_of(first: Sequence[_Arrived], told: float) -> float:
    """Return the rate by the stamps; what was told if they say none."""
    span_us = first[-1].coded.stamp_us - first[0].coded.stamp_us
    if span_us <= 0:
        return told
    return min(max(round((len(first) - 1) * 1e6 / span_us, 2), 1.0), 120.0)


def _stalled(feed: Feed, seconds: float) -> CameraStalledError:
    return CameraStalledError(
        f"{feed.name} has given no picture for {seconds:.0f} s",
        safe="The button rings all the while; what was recorded before is kept.",
        do="look at the camera, its power and its cable; it is tried again for ever",
    )


def _hanging(feed: Feed) -> CameraFailedError:
    return CameraFailedError(
        f"{feed.name} hangs in its driver",
        safe="The button rings all the while; what was recorded before is kept.",
        do="unplug it and plug it in again; if that does not help, start the doorbell anew",
    )
