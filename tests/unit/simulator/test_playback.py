"""What is filmed, by name, and the moment it is over."""

import asyncio
from pathlib import Path

import pytest

from doorstep_device.adapters.clock import PacedClock
from doorstep_device.adapters.rtsp import RtspCamera
from doorstep_device.adapters.video import BadVideoError
from doorstep_device.adapters.webcam import WebcamCamera
from doorstep_device.ports.camera import Camera, Packet
from doorstep_device.rules.motion import MotionRule
from doorstep_shared.errors import DoorstepError, RefusedError
from doorstep_simulator.playback import (
    Film,
    ScoredCamera,
    Showing,
    open_camera,
    parse_film,
    read_film,
)
from doorstep_simulator.show import HOLD_FIRST_S, HOLD_LAST_S, MOST_SPEED, SHOWN_S, choose_pace
from tests.footage import write_video

DEADLINE_S = 20
SMALL = Film(seed=3, length_s=1.0, width_px=320)


async def packets_of(camera: Camera, over: asyncio.Event) -> tuple[int, int]:
    """Return how many packets came before the film was over, and after it, up to 15."""
    before = after = 0
    async with asyncio.timeout(DEADLINE_S), camera:
        async for _ in camera.packets():
            if over.is_set():
                after += 1
            else:
                before += 1
            if after == 15:
                break
    return before, after


@pytest.mark.parametrize(
    "film", [Film(), Film(seed=3, length_s=12.5), Film(seed=1, length_s=20, width_px=320)]
)
def test_a_scene_is_named_by_its_text(film: Film) -> None:
    assert parse_film(str(film)) == film


def test_seed_alone_names_a_scene_of_the_usual_length() -> None:
    assert parse_film("scene:5") == Film(seed=5)
    assert parse_film("scene:5:30") == Film(seed=5, length_s=30)


@pytest.mark.parametrize("text", ["", "scene", "scene:x", "scene:1:2:3:4", "film:1", "scene:-1"])
def test_anything_else_names_none(text: str) -> None:
    with pytest.raises(RefusedError, match="names no film"):
        parse_film(text)


SECRET = "hunter2"
ADDRESS = f"rtsp://owner:{SECRET}@192.168.1.20:554/live"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (ADDRESS, RtspCamera),
        (ADDRESS.replace("rtsp", "rtsps"), RtspCamera),
        ("/dev/video0", WebcamCamera),
    ],
)
async def test_a_real_camera_is_named_as_the_doorbell_names_it(
    text: str, kind: type[Camera]
) -> None:
    film = parse_film(text)
    assert str(film) == text
    assert SECRET not in repr(film)
    assert isinstance(open_camera(film, PacedClock(1), Showing(), lambda: None), kind)


@pytest.mark.parametrize(
    "text",
    [
        f"http://owner:{SECRET}@door/live",
        f"video:{ADDRESS}",
        f"rtsp:///{SECRET}",
        f"film:{SECRET}",
    ],
)
def test_what_is_refused_is_not_repeated(text: str) -> None:
    with pytest.raises(DoorstepError) as caught:
        parse_film(text)
    error = caught.value
    assert SECRET not in error.fact + error.safe + error.do


def test_a_video_is_named_by_its_file_and_knows_its_length(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a: 1.mp4", seconds=2)
    film = parse_film(f"video:{path}")
    assert film == read_film(path)
    assert film.video == path
    assert film.length_s == pytest.approx(2, abs=0.1)


def test_a_file_that_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("text")
    with pytest.raises(BadVideoError):
        parse_film(f"video:{tmp_path / 'a.mp4'}")


async def test_a_scene_tells_its_end_and_its_street_goes_on() -> None:
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    camera = open_camera(
        SMALL, PacedClock(5), Showing(), lambda: loop.call_soon_threadsafe(over.set)
    )
    before, after = await packets_of(camera, over)
    assert before == pytest.approx(15, abs=3)
    assert after == 15


async def test_a_video_tells_its_end_and_its_last_picture_stays(tmp_path: Path) -> None:
    film = read_film(write_video(tmp_path / "a.mp4", seconds=1))
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    showing = Showing(hold_first_s=1.0, hold_last_s=2.0)
    camera = open_camera(film, PacedClock(5), showing, lambda: loop.call_soon_threadsafe(over.set))
    before, after = await packets_of(camera, over)
    assert before == pytest.approx(30, abs=3)
    assert after == 15


async def test_no_more_of_a_video_is_shown_than_is_wanted(tmp_path: Path) -> None:
    film = read_film(write_video(tmp_path / "a.mp4", seconds=4))
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    camera = open_camera(
        film,
        PacedClock(5),
        Showing(hold_last_s=2.0, longest_s=1.0),
        lambda: loop.call_soon_threadsafe(over.set),
    )
    before, _ = await packets_of(camera, over)
    assert before == pytest.approx(15, abs=3)


async def test_every_frame_is_scored_as_the_rule_alone_would(tmp_path: Path) -> None:
    film = read_film(write_video(tmp_path / "a.mp4", seconds=2))
    scores: list[tuple[float, float]] = []
    began: list[float] = []

    def tell(event: str, /, **details: str | float | bool) -> None:
        if event == "frame_scored":
            scores.append((float(details["t_s"]), float(details["score"])))
        else:
            began.append(float(details["began_ms"]))

    clock, rule = PacedClock(4), MotionRule()
    camera = ScoredCamera(open_camera(film, clock, Showing(), lambda: None), clock, rule, tell)
    state, expected = rule.start(), list[tuple[float, float]]()
    first_us: int | None = None
    async with asyncio.timeout(DEADLINE_S), camera:
        assert camera.format.width_px == 320
        async for frame in camera.frames():
            first_us = frame.at_us if first_us is None else first_us
            state, motion = rule.feed(state, frame.luma, frame.at_us)
            expected.append((round((frame.at_us - first_us) / 1e6, 3), round(motion.score, 4)))
    assert len(scores) > 5
    assert scores == expected
    assert len(began) == 1


async def test_packets_pass_a_scored_camera_as_they_are() -> None:
    clock = PacedClock(10)
    camera = ScoredCamera(
        open_camera(SMALL, clock, Showing(), lambda: None), clock, MotionRule(), _deaf
    )
    packets: list[Packet] = []
    async with asyncio.timeout(DEADLINE_S), camera:
        async for packet in camera.packets():
            packets.append(packet)
            if len(packets) == 3:
                break
    assert packets[0].is_key


def _deaf(event: str, /, **details: str | float | bool) -> None:
    del event, details


def a_video(length_s: float) -> Film:
    return Film(Path("a.mp4"), length_s=length_s)


def test_a_short_video_is_shown_in_real_time_between_its_held_pictures() -> None:
    pace = choose_pace(a_video(10), None)
    assert pace.speed == 1
    assert pace.showing.hold_first_s == HOLD_FIRST_S
    assert pace.showing.hold_last_s >= HOLD_LAST_S
    assert pace.showing.longest_s == 10
    assert pace.shown_s == 18


@pytest.mark.parametrize("length_s", [120, 139.4, 500, 900])
def test_a_long_video_is_shown_faster_and_whole(length_s: float) -> None:
    pace = choose_pace(a_video(length_s), None)
    assert 1 < pace.speed <= MOST_SPEED
    assert pace.showing.longest_s == pytest.approx(length_s)
    assert pace.shown_s / pace.speed <= SHOWN_S


def test_a_very_long_video_is_cut_off() -> None:
    pace = choose_pace(a_video(3600), None)
    assert pace.speed == MOST_SPEED
    assert pace.shown_s / pace.speed <= SHOWN_S
    assert pace.showing.longest_s < 3600


def test_a_wished_pace_is_taken_and_the_whole_film_shown() -> None:
    pace = choose_pace(a_video(3600), 2.0)
    assert (pace.speed, pace.showing.longest_s) == (2.0, 3600)


def test_a_scene_has_its_own_quiet() -> None:
    assert choose_pace(Film(), None).showing == Showing()
    assert choose_pace(Film(), None).speed == 1
    assert choose_pace(Film(length_s=240), None).speed == 2
