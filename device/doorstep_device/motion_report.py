"""What the motion rule says about every frame of a video, as a table."""

import csv
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from doorstep_device.ports.camera import FRAME_HEIGHT_PX, FRAME_WIDTH_PX, Frame
from doorstep_device.rules.motion import Box, Motion, MotionRule
from doorstep_shared.errors import RefusedError, TryLaterError

COLUMNS: Final = ("frame", "t_s", "motion", "score", "x", "y", "w", "h")
Progress = Callable[[int, int | None], None]
"""Called with the number of frames done and, if it is known, of all."""


class TableNotWrittenError(TryLaterError):
    """The table's folder is missing, full or not ours to write in."""


class TableInTheWayError(RefusedError):
    """Something is where the table would go."""


class Footage(Protocol):
    """A stored video, frame by frame."""

    @property
    def width_px(self) -> int:
        """Width of the video itself."""
        ...

    @property
    def height_px(self) -> int:
        """Height of the video itself."""
        ...

    @property
    def frame_count(self) -> int | None:
        """How many frames it claims to have; None if it does not say."""
        ...

    def frames(self) -> Iterator[Frame]:
        """Yield every frame on the grid of analysis, timed from the first one.

        Raises:
            DoorstepError: It is damaged or cut off.
        """
        ...


@dataclass(frozen=True, slots=True)
class MotionSummary:
    """What the table holds.

    Attributes:
        frames: Rows.
        moving_frames: Rows with motion.
        events: Runs of rows with motion.
    """

    frames: int
    moving_frames: int
    events: int


def check_place(video: Path, csv_out: Path, *, may_replace: bool) -> None:
    """Refuse a place for the table where something would be lost.

    Args:
        video: Never replaced, by whatever name.
        csv_out: Where the table is to go.
        may_replace: Whether an older table may be there.

    Raises:
        TableInTheWayError: The video is there, or something else that may not go.
    """
    if not os.path.lexists(csv_out):
        return
    safe = "Nothing was read, and nothing written."
    if _is_same(video, csv_out):
        raise TableInTheWayError(
            f"{csv_out} is the video itself, which the table would replace",
            safe=safe,
            do="name another file with --csv",
        )
    if not os.path.isfile(csv_out):  # noqa: PTH113  # says no where Path's raises
        raise TableInTheWayError(
            f"{csv_out} is there already, and is no ordinary file",
            safe=safe,
            do="name another file with --csv",
        )
    if not may_replace:
        raise TableInTheWayError(
            f"{csv_out} is there already",
            safe=safe,
            do="name another file with --csv, or replace this one with --force",
        )


def _is_same(one: Path, other: Path) -> bool:
    """Return whether both names lead to one file, by links of any kind."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def write_motion_csv(
    video: Footage, csv_out: Path, rule: MotionRule, progress: Progress
) -> MotionSummary:
    """Write one row for every frame; the file appears whole or not at all.

    A frame that the rule did not analyse repeats the last decision. The box is in
    pixels of the video; its fields are empty while nothing moves.

    Args:
        video: Opened already.
        csv_out: Replaced if it exists; see `check_place`.
        rule: Begins afresh.
        progress: Called after each frame.

    Returns:
        The counts of the table.

    Raises:
        DoorstepError: The video is damaged; no table is written.
        TableNotWrittenError: `csv_out` cannot be written; what was there stays.
    """
    half_written = csv_out.with_name(f".{csv_out.name}.{os.getpid()}.part")
    try:
        with half_written.open("w", newline="", encoding="utf-8") as out:
            summary = _write_rows(csv.writer(out, lineterminator="\n"), video, rule, progress)
        half_written.replace(csv_out)
    except OSError as error:
        raise TableNotWrittenError(
            f"{csv_out} cannot be written: {error.strerror}",
            safe="The video was only read.",
            do="name a file in a folder that you can write in",
        ) from error
    finally:
        _remove_quietly(half_written)
    return summary


def _remove_quietly(path: Path) -> None:
    with suppress(OSError):  # the folder itself may be what is missing or read-only
        path.unlink()


class _Writer(Protocol):
    def writerow(self, row: tuple[object, ...], /) -> object: ...


def _write_rows(
    writer: _Writer, video: Footage, rule: MotionRule, progress: Progress
) -> MotionSummary:
    writer.writerow(COLUMNS)
    count = moving = events = 0
    was_moving = False
    state = rule.start()
    for number, frame in enumerate(video.frames()):
        state, motion = rule.feed(state, frame.luma, frame.at_us)
        writer.writerow(_row(number, frame.at_us, motion, video))
        count, moving = number + 1, moving + motion.is_moving
        events += motion.is_moving and not was_moving
        was_moving = motion.is_moving
        progress(count, video.frame_count)
    return MotionSummary(count, moving, events)


def _row(number: int, at_us: int, motion: Motion, video: Footage) -> tuple[object, ...]:
    return (
        number,
        f"{at_us / 1e6:.3f}",
        int(motion.is_moving),
        f"{motion.score:.3f}",
        *_box_fields(motion.box, video),
    )


def _box_fields(box: Box | None, video: Footage) -> tuple[object, ...]:
    """Return x, y, w, h in pixels of the video, or four empty fields."""
    if box is None:
        return ("", "", "", "")
    x_scale, y_scale = video.width_px / FRAME_WIDTH_PX, video.height_px / FRAME_HEIGHT_PX
    left, right = round(box.x * x_scale), round((box.x + box.w) * x_scale)
    top, bottom = round(box.y * y_scale), round((box.y + box.h) * y_scale)
    return (left, top, right - left, bottom - top)
