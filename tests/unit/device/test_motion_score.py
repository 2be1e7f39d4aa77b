from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.score import Event, Score, Truth, find_events, read_alerts, read_truth
from tests.benchmarks.score import score_alerts as score

FPS = 4.0
# Twelve empty frames, four nobody could label, eight of movement, eight empty ones.
VISIT = [Truth.EMPTY] * 12 + [Truth.UNSURE] * 4 + [Truth.MOVING] * 8 + [Truth.EMPTY] * 8


def alerts(*moving: range) -> list[bool]:
    return [any(i in span for span in moving) for i in range(len(VISIT))]


def test_frames_that_nobody_could_label_belong_to_the_event_they_touch() -> None:
    assert find_events(VISIT) == [Event(begin=12, end=24, first=16, last=23)]


def test_a_run_without_movement_is_no_event() -> None:
    assert find_events([Truth.EMPTY, Truth.UNSURE, Truth.EMPTY]) == []


def test_two_movements_with_an_empty_frame_between_are_two_events() -> None:
    labels = [Truth.MOVING, Truth.EMPTY, Truth.MOVING]
    assert find_events(labels) == [Event(0, 1, 0, 0), Event(2, 3, 2, 2)]


@pytest.mark.parametrize(
    ("first_alert", "hits"),
    [(12, 1), (16, 1), (20, 1), (21, 0)],
    ids=["in the unsure band", "at the start", "a second late", "later"],
)
def test_an_alert_hits_from_a_second_of_unsure_frames_until_a_second_after_the_start(
    first_alert: int, hits: int
) -> None:
    assert score(VISIT, alerts(range(first_alert, 24)), FPS).hits == hits


def test_an_alert_that_ended_before_the_event_does_not_hit_it() -> None:
    assert score(VISIT, alerts(range(11, 12)), FPS).hits == 0


def test_an_always_on_detector_hits_everything_and_has_no_onset() -> None:
    result = score(VISIT, [True] * len(VISIT), FPS)
    assert (result.hits, result.onsets, result.fresh) == (1, 0, 1)
    assert result.false_share == 1.0


def test_a_perfect_detector_scores_one() -> None:
    result = score(VISIT, [label is Truth.MOVING for label in VISIT], FPS)
    assert result == Score(
        events=1, hits=1, fresh=1, onsets=1, empty_frames=10, moving_frames=8, true_frames=8
    )
    assert (result.f1, result.false_share) == (1.0, 0.0)


def test_the_first_frames_are_not_scored() -> None:
    result = score(VISIT, alerts(range(10)), FPS)
    assert (result.empty_frames, result.false_frames) == (10, 0)


def test_an_event_that_opens_the_clip_has_no_onset_to_find() -> None:
    result = score([Truth.MOVING] * 20, [True] * 20, FPS)
    assert (result.events, result.hits, result.fresh) == (1, 1, 0)


def test_a_clip_without_movement_and_without_alert_is_flawless() -> None:
    result = score([Truth.EMPTY] * 20, [False] * 20, FPS)
    assert (result.f1, result.false_share) == (1.0, 0.0)


@given(st.lists(st.tuples(st.sampled_from(Truth), st.booleans()), max_size=60))
def test_counts_never_exceed_what_they_count(frames: list[tuple[Truth, bool]]) -> None:
    result = score([truth for truth, _ in frames], [alert for _, alert in frames], FPS)
    assert 0 <= result.onsets <= result.fresh <= result.events
    assert result.onsets <= result.hits <= result.events
    assert 0 <= result.false_share <= 1
    assert 0 <= result.f1 <= 1


def test_clips_are_pooled_by_adding_their_counts() -> None:
    assert Score(events=1, hits=1, empty_frames=3) + Score(events=2, empty_frames=1) == Score(
        events=3, hits=1, empty_frames=4
    )


def test_tables_are_read_as_they_are_written(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("frame,moving\n0,-1\n1,0\n2,1\n")
    assert read_truth(table) == [Truth.UNSURE, Truth.EMPTY, Truth.MOVING]
    table.write_text("frame,t_s,motion,score,x,y,w,h\n0,0.0,0,0.0,,,,\n1,0.1,1,0.9,1,2,3,4\n")
    assert read_alerts(table) == [False, True]
