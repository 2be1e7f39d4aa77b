from collections.abc import Iterable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from doorstep_device.rules.motion import Motion, MotionRule, MotionSettings
from doorstep_device.rules.zones import Zone

Luma = NDArray[np.uint8]
HEIGHT_PX, WIDTH_PX = 180, 320
STEP_US = 100_000
SECOND = 10
SIZE_PX = 40
RIGHT_HALF = Zone(((0.5, 0), (1, 0), (1, 1), (0.5, 1)))


def doorstep(seed: int = 7) -> Luma:
    """A still picture with texture, as doors and hedges have."""
    coarse = np.random.default_rng(seed).integers(60, 190, (18, 32), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (WIDTH_PX, HEIGHT_PX)), np.uint8)


def with_visitor(picture: Luma, x: int, y: int = 70, luma: int = 255) -> Luma:
    painted = picture.copy()
    painted[y : y + SIZE_PX, max(0, x) : max(0, x + SIZE_PX)] = luma
    return painted


def watch(rule: MotionRule, frames: Iterable[Luma], step_us: int = STEP_US) -> list[Motion]:
    state, decisions = rule.start(), []
    for i, luma in enumerate(frames):
        state, motion = rule.feed(state, luma, i * step_us)
        decisions.append(motion)
    return decisions


def test_a_visitor_who_walks_in_is_seen_within_a_second_and_where_he_is() -> None:
    empty = doorstep()
    frames = [empty] * SECOND + [with_visitor(empty, 10 * i) for i in range(SECOND)]
    decisions = watch(MotionRule(), frames)
    assert not any(motion.is_moving for motion in decisions[:SECOND])
    assert decisions[-1].is_moving
    box = decisions[-1].box
    assert box is not None
    assert abs(box.x - 90) <= 12
    assert abs(box.y - 70) <= 4
    assert abs(box.h - SIZE_PX) <= 8
    assert decisions[-1].score > 0.5


def test_a_cold_start_sees_a_visitor_in_its_first_second() -> None:
    empty = doorstep()
    decisions = watch(MotionRule(), [with_visitor(empty, 12 * i) for i in range(SECOND)])
    assert decisions[-1].is_moving


def test_motion_ends_soon_after_the_visitor_has_gone() -> None:
    empty = doorstep()
    visit = [with_visitor(empty, 10 * i) for i in range(2 * SECOND)]
    decisions = watch(MotionRule(), [empty] * SECOND + visit + [empty] * 2 * SECOND)
    assert decisions[3 * SECOND].is_moving, "one pause in a stride does not end it"
    assert decisions[3 * SECOND].box is not None, "it still knows where"
    assert decisions[3 * SECOND].score < 0.5
    assert not any(motion.is_moving for motion in decisions[4 * SECOND :])


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000), noise=st.integers(0, 4))
def test_a_still_scene_never_alerts(seed: int, noise: int) -> None:
    empty, rng = doorstep(seed), np.random.default_rng(seed)
    frames = [
        np.clip(empty + rng.normal(0, noise, empty.shape), 0, 255).astype(np.uint8)
        for _ in range(2 * SECOND)
    ]
    assert not any(motion.is_moving for motion in watch(MotionRule(), frames))


@settings(deadline=None, max_examples=10)
@given(x=st.integers(0, 100), step=st.integers(-4, 4), y=st.integers(0, 140))
def test_what_moves_outside_the_zone_never_alerts(x: int, step: int, y: int) -> None:
    empty = doorstep()
    walk = [with_visitor(empty, min(x + i * step, 115), y) for i in range(SECOND)]
    rule = MotionRule(MotionSettings(zone=RIGHT_HALF))
    assert not any(motion.is_moving for motion in watch(rule, [empty, *walk]))
    inside = [with_visitor(empty, 165 + 10 * i, y) for i in range(SECOND)]
    assert watch(rule, [empty, *inside])[-1].is_moving


@settings(deadline=None, max_examples=10)
@given(st.lists(st.integers(0, 280), min_size=1, max_size=8))
def test_the_same_frames_give_the_same_decisions_and_no_state_changes(walk: list[int]) -> None:
    rule, empty = MotionRule(), doorstep()
    state = rule.start()
    trail = []
    for i, x in enumerate(walk):
        luma = with_visitor(empty, x)
        luma.setflags(write=False)
        before, (state, motion) = state, rule.feed(state, luma, i * STEP_US)
        trail.append((before, luma, i * STEP_US, motion))
    for before, luma, at_us, motion in trail:
        assert rule.feed(before, luma, at_us)[1] == motion


def test_a_light_that_grows_over_the_scene_is_no_motion() -> None:
    empty = doorstep().astype(float)
    spot = np.zeros((HEIGHT_PX, WIDTH_PX))
    spot[60:150, 100:220] = 1.0
    sun = cv2.GaussianBlur(spot, (0, 0), 12)
    frames = [np.asarray(empty * (1 + 0.03 * i * sun), np.uint8) for i in range(SECOND)]
    assert not any(motion.is_moving for motion in watch(MotionRule(), frames))
    blind = MotionRule(MotionSettings(same_texture=1.1))
    assert any(motion.is_moving for motion in watch(blind, frames)), "the light is strong enough"


def test_another_scene_at_once_is_learned_and_not_reported() -> None:
    day, night = doorstep(1), doorstep(2) // 3
    decisions = watch(MotionRule(), [day] * SECOND + [night] * SECOND)
    assert not any(motion.is_moving for motion in decisions)
    walk = [with_visitor(night, 10 * i) for i in range(SECOND)]
    assert watch(MotionRule(), [day] * SECOND + [night] * 3 + walk)[-1].is_moving


def test_a_branch_that_keeps_swaying_is_learned() -> None:
    empty, rule = doorstep(), MotionRule()
    sway = [with_visitor(empty, 100 + 12 * abs(i % 6 - 3)) for i in range(20 * SECOND)]
    decisions = watch(rule, sway)
    assert any(motion.is_moving for motion in decisions[: 2 * SECOND])
    assert not any(motion.is_moving for motion in decisions[-5 * SECOND :])


def test_a_car_that_parks_becomes_background_and_a_visitor_before_it_is_seen() -> None:
    empty = doorstep()
    parked = with_visitor(empty, 100, luma=40)
    stay = [empty] * SECOND + [parked] * 120 * SECOND
    visit = [with_visitor(parked, 60 + 8 * i, luma=90) for i in range(SECOND)]
    decisions = watch(MotionRule(), stay + visit)
    assert decisions[2 * SECOND].is_moving
    assert not any(motion.is_moving for motion in decisions[60 * SECOND : len(stay)])
    assert decisions[-1].is_moving
    assert decisions[-1].box is not None
    assert decisions[-1].box.w > SIZE_PX // 2, "the part before the car counts too"


def test_daylight_that_fades_over_minutes_is_no_motion() -> None:
    flat = np.full((HEIGHT_PX, WIDTH_PX), 0, np.uint8)
    dusk = [flat + np.uint8(200 - i // 10) for i in range(150 * SECOND)]
    assert not any(motion.is_moving for motion in watch(MotionRule(), dusk))
    last = int(dusk[-1][0, 0])
    walk = [with_visitor(dusk[-1], 8 * i, luma=last + 40) for i in range(SECOND)]
    assert watch(MotionRule(), dusk + walk)[-1].is_moving


def test_one_flash_is_not_enough() -> None:
    empty = doorstep()
    frames = [*[empty] * SECOND, with_visitor(empty, 100), *[empty] * SECOND]
    assert not any(motion.is_moving for motion in watch(MotionRule(), frames))


def test_what_is_too_small_is_scored_below_a_half_and_not_reported() -> None:
    empty = doorstep()
    frames = [empty] * SECOND
    for i in range(SECOND):
        speck = empty.copy()
        speck[90:100, 10 * i : 10 * i + 8] = 255
        frames.append(speck)
    decisions = watch(MotionRule(), frames)
    assert not any(motion.is_moving for motion in decisions)
    assert 0 < decisions[-1].score < 0.5
    assert decisions[-1].box is None


def test_frames_that_come_too_soon_repeat_the_decision() -> None:
    empty = doorstep()
    frames = [with_visitor(empty, 4 * i) for i in range(3 * SECOND)]
    thirty = watch(MotionRule(), frames, step_us=33_333)
    ten = watch(MotionRule(), frames[::3], step_us=99_999)
    assert thirty[::3] == ten
    assert thirty[1::3] == ten
    assert thirty[2::3] == ten


@pytest.mark.parametrize("shape", [(180, 320), (120, 160)])
def test_any_grid_will_do(shape: tuple[int, int]) -> None:
    empty = np.full(shape, 90, np.uint8)
    walk = []
    for i in range(SECOND):
        frame = empty.copy()
        frame[40:80, 5 * i : 5 * i + 30] = 10 + i
        walk.append(frame)
    assert watch(MotionRule(), [empty, *walk])[-1].is_moving
