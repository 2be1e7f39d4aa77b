"""Sources of pictures, as people name them: a file, a webcam, an RTSP camera."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from doorstep_device.adapters.rtsp import RtspCamera, RtspFeed
from doorstep_device.adapters.video import VideoCamera
from doorstep_device.adapters.webcam import WebcamCamera
from doorstep_device.ports.camera import Camera
from doorstep_device.ports.clock import Clock
from doorstep_shared.errors import RefusedError

_DEVICES: Final = "/dev/"


def camera_maker(source: str, clock: Clock) -> Callable[[], Camera]:
    """Return what makes the camera called ``source``, anew for every start.

    Args:
        source: ``rtsp://…``, ``rtsps://…``, ``/dev/video0``, or a file's name; of this
            computer's own configuration, never from the wire.
        clock: Of the camera.

    Raises:
        RefusedError: It is none of these. What it was is not repeated: there may be a
            password in it.
    """
    scheme, is_address, _ = source.partition("://")
    if scheme in {"rtsp", "rtsps"} and is_address:
        RtspFeed(source)  # refuses at once what is no address
        return lambda: RtspCamera(source, clock)
    if is_address:
        raise RefusedError(
            "pictures come from no such address",
            safe="Nothing was started.",
            do="name a file, a webcam such as /dev/video0, or rtsp://USER:PASSWORD@HOST/PATH",
        )
    if source.startswith(_DEVICES):
        return lambda: WebcamCamera(source, clock)
    return lambda: VideoCamera(Path(source), clock)
