import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from doorstep_device.motion_report import (
    COLUMNS,
    MotionSummary,
    TableInTheWayError,
    TableNotWrittenError,
    check_place,
    write_motion_csv,
)
from doorstep_device.ports.camera import Frame
from doorstep_device.rules.motion import MotionRule
from doorstep_shared.errors import BadMessageError

FRAME_US = 33_333


@dataclass(frozen=True)
class Walk:
    """Thirty empty frames and then a square that walks to the right."""

    frame_count: int | None = 90
    width_px: int = 640
    height_px: int = 720
    breaks_at: int = 1000

    def frames(self) -> Iterator[Frame]:
        for i in range(90):
            if i == self.breaks_at:
                raise BadMessageError("it is cut off")
            luma = np.full((180, 320), 90, np.uint8)
            if i >= 30:
                luma[60:100, 4 * (i - 30) : 4 * (i - 30) + 40] = 200
            yield Frame(luma, i * FRAME_US)


def silent(done: int, total: int | None) -> None:
    assert 0 < done <= (total or 1000)


def test_every_frame_has_a_row_and_the_box_is_in_pixels_of_the_video(tmp_path: Path) -> None:
    out = tmp_path / "motion.csv"
    summary = write_motion_csv(Walk(), out, MotionRule(), silent)
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert [int(row["frame"]) for row in rows] == list(range(90))
    assert rows[30]["t_s"] == "1.000"
    assert {row["motion"] for row in rows[:30]} == {"0"}
    assert [rows[0][name] for name in "xywh"] == ["", "", "", ""]
    last = rows[-1]
    assert last["motion"] == "1"
    assert abs(int(last["y"]) - 60 * 4) <= 8
    assert abs(int(last["h"]) - 40 * 4) <= 16
    assert abs(int(last["x"]) + int(last["w"]) - (4 * 57 + 40) * 2) <= 8
    moving = sum(row["motion"] == "1" for row in rows)
    assert summary == MotionSummary(frames=90, moving_frames=moving, events=1)


def test_a_frame_that_was_not_analysed_repeats_the_last_decision(tmp_path: Path) -> None:
    out = tmp_path / "motion.csv"
    write_motion_csv(Walk(), out, MotionRule(), silent)
    rows = [line.split(",")[2:] for line in out.read_text().splitlines()[1:]]
    assert rows[::3] == rows[1::3] == rows[2::3]


def test_a_broken_video_leaves_the_old_table_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "motion.csv"
    out.write_text("old")
    with pytest.raises(BadMessageError, match="cut off"):
        write_motion_csv(Walk(breaks_at=50), out, MotionRule(), silent)
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_the_new_table_takes_the_old_one_s_place_whole(tmp_path: Path) -> None:
    out, kept = tmp_path / "motion.csv", tmp_path / "kept.csv"
    out.write_text("old")
    kept.hardlink_to(out)
    write_motion_csv(Walk(), out, MotionRule(), silent)
    assert kept.read_text() == "old", "nobody's open file changes under them"
    assert out.read_text().startswith("frame,")


def test_a_table_that_cannot_be_written_is_told_with_what_to_do(tmp_path: Path) -> None:
    out = tmp_path / "none" / "motion.csv"
    with pytest.raises(TableNotWrittenError, match="No such file or directory") as caught:
        write_motion_csv(Walk(), out, MotionRule(), silent)
    assert caught.value.do
    assert not caught.value.fact.endswith(".")


def test_a_free_place_is_taken(tmp_path: Path) -> None:
    for may_replace in (False, True):
        check_place(tmp_path / "a.mp4", tmp_path / "a.csv", may_replace=may_replace)
        check_place(tmp_path / "a.mp4", tmp_path / "none" / "a.csv", may_replace=may_replace)


@pytest.mark.parametrize("link", ["itself", "another way", "hard", "symbolic", "two steps"])
@pytest.mark.parametrize("may_replace", [False, True])
def test_the_video_is_never_replaced(tmp_path: Path, link: str, *, may_replace: bool) -> None:
    video, out = tmp_path / "a.mp4", tmp_path / "a.csv"
    video.write_bytes(b"the only one")
    match link:
        case "itself":
            out = video
        case "another way":
            (tmp_path / "f").mkdir()
            out = tmp_path / "f" / ".." / "a.mp4"
        case "hard":
            out.hardlink_to(video)
        case "symbolic":
            out.symlink_to(video)
        case _:
            (tmp_path / "step").symlink_to(video)
            out.symlink_to(tmp_path / "step")
    with pytest.raises(TableInTheWayError, match="the video itself") as caught:
        check_place(video, out, may_replace=may_replace)
    assert "another file" in caught.value.do


def test_an_older_table_is_replaced_only_when_asked_to(tmp_path: Path) -> None:
    video, out = tmp_path / "a.mp4", tmp_path / "a.csv"
    video.touch()
    out.write_text("old")
    with pytest.raises(TableInTheWayError, match="there already") as caught:
        check_place(video, out, may_replace=False)
    assert "--force" in caught.value.do
    check_place(video, out, may_replace=True)


@pytest.mark.parametrize("kind", ["folder", "link into nothing", "device"])
@pytest.mark.parametrize("may_replace", [False, True])
def test_what_is_no_ordinary_file_is_never_replaced(
    tmp_path: Path, kind: str, *, may_replace: bool
) -> None:
    out = tmp_path / "a.csv"
    match kind:
        case "folder":
            out.mkdir()
        case "device":
            out = Path("/dev/null")
        case _:
            out.symlink_to(tmp_path / "none")
    with pytest.raises(TableInTheWayError, match="no ordinary file"):
        check_place(tmp_path / "a.mp4", out, may_replace=may_replace)


def test_progress_counts_frames_also_when_their_number_is_unknown(tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    write_motion_csv(
        Walk(frame_count=None),
        tmp_path / "motion.csv",
        MotionRule(),
        lambda done, total: seen.append((done, total)),
    )
    assert seen == [(i + 1, None) for i in range(90)]
