"""Webcams: whatever Linux shows as /dev/video0 (V4L2). What they give is always encoded."""

import errno
from collections.abc import Mapping
from typing import Final

import av
from av.container import InputContainer

from doorstep_device.adapters.live import READ_TIMEOUT_S, LiveCamera
from doorstep_device.ports.camera import CameraFailedError
from doorstep_device.ports.clock import Clock

# Over USB 2 only compressed pictures come 15 times a second at this size; a webcam without
# them is asked for what it has. Drivers take the nearest size they know.
_SIZE: Final = {"video_size": "1280x720"}
WISHES: Final[tuple[Mapping[str, str], ...]] = (
    {"input_format": "mjpeg", "framerate": "15", **_SIZE},
    {"input_format": "mjpeg", **_SIZE},
    _SIZE,
    {},
)
_OPEN_TIMEOUT_S: Final = 10.0
_RINGS: Final = "The button rings all the while; what was recorded before is kept."


class WebcamFeed:
    """A webcam; it says itself in which form its pictures come."""

    may_be_kept = False

    def __init__(self, device: str, *, driver: str = "v4l2") -> None:
        """Name the device; nothing is opened yet.

        Args:
            device: Its path.
            driver: The library's name for what reads it.
        """
        self._device = device
        self._driver = driver

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"the webcam {self._device}"

    def open(self) -> InputContainer:
        """Open the device, with the first of our wishes that it grants.

        Raises:
            CameraFailedError: It cannot be had; it says why.
        """
        refused: Exception | None = None
        for wishes in WISHES:
            try:
                return av.open(
                    self._device,
                    format=self._driver,
                    options=dict(wishes),
                    metadata_errors="replace",
                    timeout=(_OPEN_TIMEOUT_S, READ_TIMEOUT_S),
                )
            except Exception as error:  # noqa: BLE001  # whatever a driver causes is its failure
                refused = error
                if _is_final(error):
                    break
        raise self._not_opened(refused) from refused

    def lost(self, error: Exception | None) -> CameraFailedError:
        """Return what the end of its stream means."""
        return (
            self._not_opened(error)
            if error is not None
            else self._failed("gives no more pictures", "unplug it and plug it in again")
        )

    def _not_opened(self, error: Exception | None) -> CameraFailedError:
        """Return the reason in plain words."""
        match error:
            case FileNotFoundError() | NotADirectoryError():
                why, do = "is not there", "plug it in; ls /dev/video* shows which there are"
            case PermissionError():
                why, do = (
                    "may not be read",
                    'sudo usermod -aG video "$USER"        (then log in anew)',
                )
            case IsADirectoryError():
                why, do = "is a folder", "name a device in it, such as /dev/video0"
            case OSError(errno=errno.EBUSY):
                why, do = "is in use by another program", f"fuser {self._device}        (names it)"
            case OSError(errno=errno.ENOTTY | errno.EINVAL):
                why, do = "is no camera", "name another one; ls /dev/video* shows which there are"
            case _:
                why, do = "gives no pictures", "unplug it and plug it in again"
        return self._failed(why, do)

    def _failed(self, why: str, do: str) -> CameraFailedError:
        return CameraFailedError(f"{self.name} {why}", safe=_RINGS, do=do)


class WebcamCamera(LiveCamera):
    """A webcam."""

    def __init__(self, device: str, clock: Clock) -> None:
        """Name the device; nothing is opened yet."""
        super().__init__(WebcamFeed(device), clock)


def _is_final(error: Exception) -> bool:
    """Return whether no other wish could help."""
    gone = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EBUSY, errno.ENOTTY, errno.ENODEV}
    return isinstance(error, OSError) and error.errno in gone
