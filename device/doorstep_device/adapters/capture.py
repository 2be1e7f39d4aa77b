"""A camera made of pictures: paced by the clock, encoded in a thread of its own."""

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Final, Protocol

import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from doorstep_device.adapters.encoder import H264Encoder
from doorstep_device.adapters.handover import Handover
from doorstep_device.ports.camera import (
    FRAME_HEIGHT_PX,
    FRAME_WIDTH_PX,
    Camera,
    CameraFailedError,
    Frame,
    Packet,
    VideoFormat,
)
from doorstep_device.ports.clock import Clock
from doorstep_shared.errors import DoorstepError

# The rule looks at 5 to 10 frames a second. A millisecond of grace keeps every third
# picture of thirty a second, whose times are rounded.
FRAME_EVERY_US: Final = 100_000 - 1_000
PACKETS_WAIT_S: Final = 20
# A picture later than this is no jitter: the machine is too slow for the rate.
_LATE_US: Final = 500_000
# First planes that are 8-bit luma, so that no conversion is needed to read it.
_LUMA_FIRST: Final = frozenset(
    {"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "gray"}
)


@dataclass(frozen=True, slots=True)
class Picture:
    """One full picture.

    Attributes:
        image: As decoded, or (height, width, 3) uint8 BGR.
        at_us: Since the source's own beginning; strictly rising.
    """

    image: VideoFrame | NDArray[np.uint8]
    at_us: int


class PictureSource(Protocol):
    """Where the pictures come from; used by one thread at a time, in this order."""

    def open(self) -> VideoFormat:
        """Return size and rate of what `pictures` will yield.

        Raises:
            DoorstepError: There are no pictures.
        """
        ...

    def pictures(self) -> Iterator[Picture]:
        """Yield pictures as fast as they are asked for.

        Raises:
            DoorstepError: There are no more, though there should be.
        """
        ...

    def close(self) -> None:
        """Let go of everything; also after a failed `open`."""
        ...


def luma_of(image: VideoFrame | NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the luma at full size, (height, width) uint8; maybe a view."""
    if not isinstance(image, VideoFrame):
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
    if image.format.name not in _LUMA_FIRST:
        image = image.reformat(format="yuv420p")
    plane = image.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return rows[: image.height, : image.width]


def small_luma(image: VideoFrame | NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the frame to analyse, (180, 320) uint8.

    The aspect is not kept: the whole picture fills the grid, so that zones in shares of
    the picture mean the same on the grid, and no part of it is padding.
    """
    size = (FRAME_WIDTH_PX, FRAME_HEIGHT_PX)
    return np.asarray(cv2.resize(luma_of(image), size, interpolation=cv2.INTER_AREA), np.uint8)


class PacedCamera(Camera):
    """Shows each picture of a source at its time on the clock.

    A machine too slow for the clock drops no picture: the source plays slower, and
    `at_us` stays within half a second of the time at which a picture is really shown.
    """

    def __init__(self, source: PictureSource, clock: Clock) -> None:
        """Prepare; nothing is opened yet."""
        self._source = source
        self._clock = clock
        self._capture: _Capture | None = None

    @property
    def format(self) -> VideoFormat:
        """What the packets hold."""
        return self._running().format

    async def start(self) -> None:
        """Open the source and begin to show it.

        Raises:
            CameraFailedError: The source has no pictures.
        """
        try:
            video = await asyncio.to_thread(self._source.open)
        except DoorstepError as error:
            self._source.close()
            raise _as_camera_failed(error) from error
        self._capture = _Capture(self._source, self._clock, video, asyncio.get_running_loop())
        self._capture.start()

    async def close(self) -> None:
        """Stop the thread and end both streams."""
        if self._capture is not None:
            self._capture.stop()
            await asyncio.to_thread(self._capture.join)

    def frames(self) -> AsyncIterator[Frame]:
        """Yield the newest frame, at most 10 a second."""
        return self._running().frames

    def packets(self) -> AsyncIterator[Packet]:
        """Yield every packet."""
        return self._running().packets

    def _running(self) -> "_Capture":
        if self._capture is None:
            raise RuntimeError("this camera has not been started")
        return self._capture


class _Capture(threading.Thread):
    """The thread: waits until a picture is due, encodes it, hands both forms over."""

    def __init__(
        self,
        source: PictureSource,
        clock: Clock,
        video: VideoFormat,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(name="camera", daemon=True)
        self.format = video
        self.frames: Handover[Frame] = Handover(loop, 1)
        self.packets: Handover[Packet] = Handover(
            loop, math.ceil(PACKETS_WAIT_S * video.fps), reader_too_slow
        )
        self._source = source
        self._clock = clock
        self._loop = loop
        self._is_stopping = False
        self._sleep: Future[None] | None = None

    def stop(self) -> None:
        """Make the thread end after the picture at hand, from any thread."""
        self._is_stopping = True
        if self._sleep is not None:
            self._sleep.cancel()

    def run(self) -> None:
        """Show every picture, then end both streams."""
        failure: Exception | None = None
        try:
            self._show_pictures()
        except CancelledError:
            pass  # `stop` interrupted a wait
        except DoorstepError as error:
            failure = _as_camera_failed(error)
        except Exception as error:  # noqa: BLE001 - the edge of a thread: both readers crash instead
            failure = error
        finally:
            self._source.close()
        self.frames.end(failure)
        self.packets.end(failure)

    def _show_pictures(self) -> None:
        encoder = H264Encoder(self.format)
        started_us = self._clock.monotonic_us()
        frame_due_us = 0
        for picture in self._source.pictures():
            late_us = self._wait_until(started_us + picture.at_us)
            if self._is_stopping:
                return
            started_us += max(0, late_us - _LATE_US)
            at_us = started_us + picture.at_us
            if at_us >= frame_due_us:
                frame_due_us = at_us + FRAME_EVERY_US
                self.frames.put(Frame(small_luma(picture.image), at_us))
            for packet in encoder.encode(picture.image, at_us):
                self.packets.put(packet)

    def _wait_until(self, due_us: int) -> int:
        """Return how late it is, in microseconds, once it is time."""
        while (left_us := due_us - self._clock.monotonic_us()) > 0:
            # The clock's own sleep, so that a paced or a simulated clock decides.
            self._sleep = asyncio.run_coroutine_threadsafe(
                self._clock.sleep(left_us / 1e6), self._loop
            )
            if self._is_stopping:
                self._sleep.cancel()
            self._sleep.result()
        return -left_us


def _as_camera_failed(error: DoorstepError) -> CameraFailedError:
    if isinstance(error, CameraFailedError):
        return error
    failed = CameraFailedError(error.fact, safe=error.safe, do=error.do)
    failed.__cause__ = error
    return failed


def reader_too_slow() -> CameraFailedError:
    """Return what to tell a reader that let the packets pile up."""
    return CameraFailedError(
        f"the camera's packets were not read for {PACKETS_WAIT_S} s",
        safe="What was recorded before is kept.",
    )
