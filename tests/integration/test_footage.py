"""The motion rule on labelled footage, decoded as `doorstep-device motion` does.

Set DOORSTEP_FOOTAGE to a folder with NAME.mp4, NAME.json (fps, frames) and
NAME.truth.csv (frame, moving).
"""

import json
import os
from functools import reduce
from operator import add
from pathlib import Path

import pytest

from doorstep_device.adapters.video import VideoFile
from doorstep_device.motion_report import write_motion_csv
from doorstep_device.rules.motion import MotionRule
from tests.benchmarks.score import Score, read_alerts, read_truth, score_alerts

FOOTAGE = os.environ.get("DOORSTEP_FOOTAGE")
pytestmark = pytest.mark.skipif(
    FOOTAGE is None, reason="DOORSTEP_FOOTAGE names no folder with labelled clips"
)


def score_clip(clip: Path, table: Path) -> Score:
    """Write the clip's table and score it."""
    facts = json.loads(clip.with_suffix(".json").read_text())
    with VideoFile(clip) as video:
        summary = write_motion_csv(video, table, MotionRule(), lambda _done, _total: None)
    assert summary.frames == facts["frames"], f"{clip.stem}: a row for every frame"
    truth = read_truth(clip.with_suffix(".truth.csv"))
    return score_alerts(truth, read_alerts(table), facts["fps"])


def test_the_rule_finds_most_events_in_a_second_and_leaves_empty_frames_alone(
    tmp_path: Path,
) -> None:
    assert FOOTAGE is not None
    clips = sorted(Path(FOOTAGE).glob("*.mp4"))
    scores = {clip.stem: score_clip(clip, tmp_path / f"{clip.stem}.csv") for clip in clips}
    shown = "\n".join(f"{name}: {score}" for name, score in scores.items())
    print(shown)  # noqa: T201 - `pytest -s` prints the figures
    pooled = reduce(add, scores.values())
    assert pooled.events >= 13, shown
    assert pooled.hits >= 8 / 13 * pooled.events, shown
    assert pooled.false_share <= 0.33, shown
