"""The proof: anybody's curl and age open a clip, by the lines that are printed."""

import io
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import av.error

from doorstep_shared.errors import RefusedError
from doorstep_simulator.block import COMMANDS
from doorstep_simulator.env import Exports

_TIMEOUT_S: Final = 60


class ProofFailedError(RefusedError):
    """The commands did not lead to the clip."""


@dataclass(frozen=True, slots=True)
class Video:
    """A video, decoded to its end.

    Attributes:
        frames: Pictures in it.
        duration_s: From the first picture to the end of the last.
    """

    frames: int
    duration_s: float


def open_by_commands(folder: Path, exports: Exports) -> bytes:
    """Return what the printed commands leave in ``clip.mp4``, typed in ``folder``.

    Raises:
        ProofFailedError: A command failed; its own words are in the error.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for command in COMMANDS:
        done = subprocess.run(
            ["/bin/bash", "-c", command],
            umask=0o077,  # as `doorstep-sim env` sets it
            cwd=folder,
            env=exports.environment(),
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise ProofFailedError(
                f"the command {command!r} failed: {done.stderr.decode().strip()}",
                safe="The clip is stored as the doorbell sealed it.",
                do=f"type it in {folder} and see",
            )
    return (folder / "clip.mp4").read_bytes()


def decode(video: bytes) -> Video:
    """Return what is in an MP4, every picture of it decoded.

    Raises:
        ProofFailedError: It cannot be decoded.
    """
    try:
        with av.open(io.BytesIO(video), "r") as container:
            times = [frame.time or 0.0 for frame in container.decode(video=0)]
            rate = float(container.streams.video[0].average_rate or 1)
    except (av.error.FFmpegError, IndexError) as error:
        raise ProofFailedError(f"the opened clip is no video that decodes ({error})") from error
    if not times:
        raise ProofFailedError("the opened clip holds no picture")
    return Video(len(times), max(times) - min(times) + 1 / rate)
