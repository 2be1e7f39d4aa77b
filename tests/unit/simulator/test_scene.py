import csv
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from doorstep_simulator.scene import Box, Scene, Truth, write_scene

WIDTH_PX, HEIGHT_PX = 640, 360
# Twice the noise's reach: no pixel of two empty pictures differs by more.
NOISE = 8


def scene(seed: int = 7, duration_s: float = 45.0) -> Scene:
    return Scene(seed, duration_s, width_px=WIDTH_PX, height_px=HEIGHT_PX)


@pytest.fixture(scope="module")
def doorstep() -> Scene:
    return scene()


def differing(doorstep: Scene, index: int) -> NDArray[np.bool_]:
    """Where picture `index` differs from the empty doorstep by more than noise."""
    picture, empty = doorstep.frame(index).astype(int), doorstep.frame(0).astype(int)
    return np.asarray(np.abs(picture - empty).max(axis=2) > NOISE)


def inside(box: Box, *, margin_px: int = 0) -> tuple[slice, slice]:
    top, left = max(0, box.y - margin_px), max(0, box.x - margin_px)
    return (
        slice(top, box.y + box.height + margin_px),
        slice(left, box.x + box.width + margin_px),
    )


def indexes(doorstep: Scene, every: int = 10) -> range:
    return range(0, doorstep.frame_count, every)


def test_the_same_seed_gives_the_same_bytes_in_any_order(doorstep: Scene) -> None:
    again = scene()
    for index in (300, 0, 150, 301):
        assert again.frame(index).tobytes() == doorstep.frame(index).tobytes()
        assert again.truth(index) == doorstep.truth(index)


def test_another_seed_gives_another_doorstep_and_other_visits(doorstep: Scene) -> None:
    other = scene(seed=8)

    assert other.frame(0).tobytes() != doorstep.frame(0).tobytes()
    assert [visit.start_s for visit in other.visits] != [visit.start_s for visit in doorstep.visits]


def test_a_picture_has_the_size_that_was_asked_for(doorstep: Scene) -> None:
    picture = doorstep.frame(0)

    assert picture.shape == (HEIGHT_PX, WIDTH_PX, 3)
    assert picture.dtype == np.uint8


@pytest.mark.parametrize("size", [(641, 360), (640, 361), (480, 270)])
def test_a_size_that_would_distort_the_marker_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="16:9"):
        Scene(1, 10, width_px=size[0], height_px=size[1])


def test_a_picture_is_the_callers_own(doorstep: Scene) -> None:
    first = doorstep.frame(3)
    before = first.tobytes()
    first[:] = 0

    assert doorstep.frame(3).tobytes() == before


def test_nothing_but_noise_moves_while_nobody_is_there(doorstep: Scene) -> None:
    empty = [index for index in indexes(doorstep) if doorstep.truth(index).box is None]

    assert len(empty) > 10
    for index in empty:
        assert not differing(doorstep, index).any()


def test_two_pictures_of_an_empty_doorstep_are_not_identical(doorstep: Scene) -> None:
    assert doorstep.frame(0).tobytes() != doorstep.frame(1).tobytes()


def test_the_visitor_is_in_the_box_and_only_a_shadow_beside_it(doorstep: Scene) -> None:
    visited = [index for index in indexes(doorstep) if doorstep.truth(index).box is not None]

    assert len(visited) > 20
    for index in visited:
        box = doorstep.truth(index).box
        assert box is not None
        changed = differing(doorstep, index)
        assert changed[inside(box)].any()
        changed[inside(box, margin_px=box.height // 2)] = False
        assert not changed.any()


def test_a_visitor_said_to_move_differs_from_one_picture_to_the_next(doorstep: Scene) -> None:
    moving = [i for i in indexes(doorstep) if doorstep.truth(i).label == 1]

    assert len(moving) > 15
    for index in moving:
        box = doorstep.truth(index).box
        assert box is not None
        before, after = (doorstep.frame(i)[inside(box)].astype(int) for i in (index, index + 2))
        assert (np.abs(after - before).max(axis=2) > NOISE).any()


def test_a_visitor_said_to_stand_does_not_differ(doorstep: Scene) -> None:
    standing = [
        index
        for index in range(doorstep.frame_count)
        if (truth := doorstep.truth(index)).box is not None
        and not truth.is_moving
        and not doorstep.truth(index + 1).is_moving
    ]

    assert len(standing) > 30
    for index in standing[5:-5:7]:
        before, after = (doorstep.frame(i).astype(int) for i in (index, index + 1))
        assert (np.abs(after - before).max(axis=2) > NOISE).mean() < 0.0005


def test_it_is_quiet_before_between_and_after_the_visits() -> None:
    for seed in range(5):
        doorstep = scene(seed, duration_s=90.0)
        assert len(doorstep.visits) == 2
        edges = [0.0, *(t for v in doorstep.visits for t in (v.start_s, v.end_s)), 90.0]
        quiet = [after - before for before, after in zip(edges[::2], edges[1::2], strict=True)]
        assert min(quiet) >= 6.0


def test_visitors_keep_coming_after_the_scripted_part() -> None:
    doorstep = scene(duration_s=1.0)

    assert doorstep.visits == ()
    seen = [doorstep.truth(second * 15).box is not None for second in range(600)]
    arrivals = sum(now and not before for before, now in pairwise(seen))
    assert 5 <= arrivals <= 12
    assert not any(seen[:40])


def test_a_scene_of_twenty_seconds_still_has_its_visitor() -> None:
    (visit,) = scene(duration_s=20.0).visits

    assert visit.start_s >= 2.0
    assert visit.end_s <= 18.0


@pytest.mark.parametrize(
    ("truth", "label"),
    [
        (Truth(is_moving=False, box=None, share=0.0), 0),
        (Truth(is_moving=True, box=Box(0, 0, 9, 9), share=0.1), 1),
        (Truth(is_moving=False, box=Box(0, 0, 9, 9), share=0.1), -1),
        (Truth(is_moving=True, box=Box(0, 0, 9, 9), share=0.0001), -1),
    ],
)
def test_a_visitor_who_stands_or_is_hardly_seen_is_not_scored(truth: Truth, label: int) -> None:
    assert truth.label == label


def test_a_written_scene_has_a_truth_for_every_picture(tmp_path: Path) -> None:
    doorstep = Scene(3, 16.0, fps=5, width_px=320, height_px=180)
    told: list[tuple[int, int]] = []

    write_scene(
        doorstep,
        tmp_path / "scene.mp4",
        tmp_path / "scene.truth.csv",
        lambda done, of: told.append((done, of)),
    )

    with (tmp_path / "scene.truth.csv").open(encoding="ascii") as table:
        rows = list(csv.DictReader(table))
    with av.open(str(tmp_path / "scene.mp4"), "r") as video:
        times = [frame.time for frame in video.decode(video=0)]
    assert [int(row["frame"]) for row in rows] == list(range(80))
    assert {row["moving"] for row in rows} == {"0", "1", "-1"}
    assert times == pytest.approx([index / 5 for index in range(80)])
    assert told == [(done, 80) for done in range(1, 81)]


def test_the_finger_is_on_the_bell_at_the_press_and_only_around_it(doorstep: Scene) -> None:
    visit = doorstep.visits[0]

    assert visit.pose(visit.press_s).reach == pytest.approx(1.0)
    assert visit.pose(visit.press_s - 1.0).reach == 0.0
    assert visit.pose(visit.press_s + 1.5).reach == 0.0
