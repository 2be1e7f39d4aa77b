"""RTSP cameras: the address is local configuration, and holds a password.

Nothing that leaves this module holds the address: no error, no fact, no cause of one. The
library's own errors carry it and end here. The library itself is given loopback, where
`rtsp_relay` answers: it reaches no host but the one of the address.
"""

from typing import Final
from urllib.parse import urlsplit

import av
import av.error
from av.container import InputContainer

from doorstep_device.adapters.bounds import MOST_PIXELS
from doorstep_device.adapters.live import READ_TIMEOUT_S, LiveCamera
from doorstep_device.adapters.rtsp_relay import NAME, RtspRelay, failed
from doorstep_device.ports.camera import CameraFailedError, CameraStalledError
from doorstep_device.ports.clock import Clock
from doorstep_shared.errors import RefusedError

_SCHEMES: Final = {"rtsp", "rtsps"}
_OPEN_TIMEOUT_S: Final = 10.0
_RINGS: Final = "The button rings all the while; what was recorded before is kept."


class RtspFeed:
    """The first video stream of an RTSP camera, over TCP."""

    name = NAME
    may_be_kept = True

    def __init__(self, address: str) -> None:
        """Take the address; nothing is opened yet.

        Raises:
            RefusedError: It is not one.
        """
        self._address = address
        self._scheme = _scheme_of(address)
        self._relay: RtspRelay | None = None

    def __repr__(self) -> str:
        """Return what may be shown."""
        return f"RtspFeed({self._scheme}://…)"

    def open(self) -> InputContainer:
        """Connect and ask for the stream.

        Raises:
            CameraFailedError: It cannot be had; it says why.
        """
        self._relay = None
        try:
            self._relay = RtspRelay.connect(self._address)
            container = self._opened(self._relay.address)
        except Exception as error:  # noqa: BLE001  # whatever a camera causes is its failure
            failure = self._refused() or _not_opened(error)
        else:
            if container.streams.video:
                return container
            container.close()
            failure = failed("gives no video", "look up the stream's path in its manual")
        if self._relay is not None:
            self._relay.close()
        # Outside of the handler, so that the library's error is not even its context.
        raise failure

    def lost(self, error: Exception | None) -> CameraFailedError:
        """Return what the end of its stream means."""
        refused = self._refused()
        if refused is not None:
            return refused
        if isinstance(error, av.error.ExitError | TimeoutError):
            return CameraStalledError(
                f"{NAME} sends nothing more",
                safe=_RINGS,
                do="look at the camera and its network; it is tried again for ever",
            )
        return failed("has ended its stream", "look at the camera and its network")

    def _refused(self) -> CameraFailedError | None:
        """Return why the relay cut it off, if it did."""
        return None if self._relay is None else self._relay.refused

    @staticmethod
    def _opened(address: str) -> InputContainer:
        return av.open(
            address,
            format="rtsp",
            options={
                # Behind a router nothing else arrives, and nothing is lost on the way.
                "rtsp_transport": "tcp",
                "protocol_whitelist": "rtsp,tcp",
                "allowed_media_types": "video",
                "max_pixels": str(MOST_PIXELS),
            },
            metadata_errors="replace",  # many a camera's name is in Latin-1
            timeout=(_OPEN_TIMEOUT_S, READ_TIMEOUT_S),
        )


class RtspCamera(LiveCamera):
    """An RTSP camera."""

    def __init__(self, address: str, clock: Clock) -> None:
        """Take the address; nothing is opened yet.

        Raises:
            RefusedError: It is not one.
        """
        super().__init__(RtspFeed(address), clock)


def _scheme_of(address: str) -> str:
    """Return the scheme of a whole address.

    Raises:
        RefusedError: It is not whole.
    """
    scheme = address.partition("://")[0]
    if scheme not in _SCHEMES or not _is_whole(address):
        raise RefusedError(
            "the address of the RTSP camera is not whole",
            safe="Nothing was started.",
            do="write rtsp://USER:PASSWORD@HOST:554/PATH, with %40 for an @ within the password",
        )
    return scheme


def _is_whole(address: str) -> bool:
    try:
        parts = urlsplit(address)
        has_place = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return has_place and address.isprintable() and " " not in address


def _not_opened(error: Exception) -> CameraFailedError:
    """Return the reason in plain words, without the address."""
    match error:
        case av.error.HTTPUnauthorizedError() | av.error.HTTPForbiddenError():
            why = "refuses this user or password"
            do = "write them into the address: rtsp://USER:PASSWORD@HOST/PATH"
        case av.error.HTTPNotFoundError():
            why, do = "has no stream at this path", "look up the stream's path in its manual"
        case ConnectionRefusedError():
            why, do = "takes no connection", "look at the port, and whether RTSP is switched on"
        case av.error.ExitError() | TimeoutError():
            why, do = "does not answer", "look at its power, its network and its address"
        case av.error.InvalidDataError() | av.error.HTTPError() | av.error.HTTPClientError():
            why, do = "answers something else than RTSP", "look at the port and the path"
        case MemoryError():
            why, do = "sends pictures that are too large", "set it to 720p"
        case av.error.FFmpegError() | OSError():
            why, do = "cannot be reached", "look at its name, its address and the network"
        case _:
            why, do = "answers what cannot be read", "look at the port and the path"
    return failed(why, do)
