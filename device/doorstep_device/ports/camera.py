"""The camera: small luma frames to look at, H.264 packets to keep."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from doorstep_shared.errors import TryLaterError

FRAME_WIDTH_PX: Final = 320
FRAME_HEIGHT_PX: Final = 180
KEY_FRAME_EVERY_US: Final = 1_000_000


class CameraFailedError(TryLaterError):
    """The camera gives no more pictures; starting it again may help."""


class CameraStalledError(CameraFailedError):
    """The camera is there and gives no pictures."""


class CameraChangedError(CameraFailedError):
    """The pictures are of another kind now; the camera, started again, says of which."""


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """The pictures inside the packets.

    Attributes:
        width_px: Width, even.
        height_px: Height, even.
        fps: Nominal pictures per second; the true times are in the packets.
    """

    width_px: int
    height_px: int
    fps: float


@dataclass(frozen=True, slots=True)
class Frame:
    """One small picture for analysis.

    Attributes:
        luma: (180, 320) uint8, in the video's own range (mostly 16 to 235); the whole
            picture, stretched to that grid. Shared: nobody writes into it.
        at_us: When it was taken, on `Clock.monotonic_us`.
    """

    luma: NDArray[np.uint8]
    at_us: int


@dataclass(frozen=True, slots=True)
class Packet:
    """One H.264 access unit in Annex B form.

    Attributes:
        data: SPS and PPS stand in front of every key frame.
        is_key: Decoding can begin here.
        at_us: When its picture was taken, on `Clock.monotonic_us`; strictly rising.
    """

    data: bytes
    is_key: bool
    at_us: int


class Camera(Protocol):
    """One capture, read in two ways.

    A picture has the same `at_us` in both streams. A key frame comes at least every
    second (to the nearest picture); from a camera that codes by itself, at least every
    two. Use it as `async with camera:`, or call `start` and `close`. A camera runs once:
    start another one after `close`.
    """

    @property
    def format(self) -> VideoFormat:
        """What the packets hold; known from `start` on."""
        ...

    async def start(self) -> None:
        """Begin to capture.

        Raises:
            CameraFailedError: There is no picture to be had; it says why.
        """
        ...

    async def close(self) -> None:
        """Stop capturing and end both streams; harmless when repeated."""
        ...

    def frames(self) -> AsyncIterator[Frame]:
        """Yield frames, at most 10 a second, to one task.

        A slow reader misses frames: it always gets the newest.

        Raises:
            CameraFailedError: The capture broke off.
        """
        ...

    def packets(self) -> AsyncIterator[Packet]:
        """Yield every packet, to one task, beginning with a key frame.

        None is ever dropped: about 20 s of them wait for a slow reader, and then the
        camera fails.

        Raises:
            CameraFailedError: The capture broke off, or the reader is too slow.
        """
        ...

    async def __aenter__(self) -> Self:
        """Start; return this camera."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()
