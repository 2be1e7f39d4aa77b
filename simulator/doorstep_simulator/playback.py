"""What a simulated doorbell films: a rendered scene or a video, and where it has got to."""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from doorstep_device.adapters.capture import Picture, PictureSource
from doorstep_device.adapters.clock import SystemClock
from doorstep_device.adapters.source import camera_maker
from doorstep_device.adapters.video import VideoCamera, VideoFile
from doorstep_device.ports.camera import Camera, Frame, Packet, VideoFormat
from doorstep_device.ports.clock import Clock
from doorstep_device.rules.motion import MotionRule
from doorstep_shared.errors import RefusedError
from doorstep_simulator.defaults import DEFAULT_SCENE_S, DEFAULT_SEED
from doorstep_simulator.scene import WIDTH_PX, Scene
from doorstep_simulator.scene_camera import SceneCamera

_CAMERAS: Final = ("rtsp://", "rtsps://", "/dev/")
_SCENE: Final = re.compile(r"scene:(\d+)(?::(\d+(?:\.\d+)?))?(?::(\d+))?")


class Tell(Protocol):
    """Tells a fact: its name, then details by name."""

    def __call__(self, event: str, /, **details: str | float | bool) -> None:
        """Tell it."""
        ...


@dataclass(frozen=True, slots=True)
class Film:
    """What is filmed; its text form is what commands take.

    Attributes:
        video: A file; None for the rendered scene.
        seed: Of the scene.
        length_s: Of the file, or of the scene's scripted part.
        width_px: Of the scene's pictures.
        camera: A real one, as `camera_maker` names it; there may be a password in it.
    """

    video: Path | None = None
    seed: int = DEFAULT_SEED
    length_s: float = DEFAULT_SCENE_S
    width_px: int = WIDTH_PX
    camera: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """Return the text that `parse_film` reads."""
        if self.camera is not None:
            return self.camera
        if self.video is not None:
            return f"video:{self.video}"
        return f"scene:{self.seed}:{self.length_s:g}:{self.width_px}"


@dataclass(frozen=True, slots=True)
class Showing:
    """How a video is shown; a scene has its own quiet before and after.

    Attributes:
        hold_first_s: Its first picture is held for so long before it.
        hold_last_s: Its last picture is held for so long after it.
        longest_s: No more than so much of the film itself is shown.
    """

    hold_first_s: float = 0.0
    hold_last_s: float = 0.0
    longest_s: float = float("inf")


def parse_film(text: str) -> Film:
    """Return what ``scene:SEED[:SECONDS[:WIDTH]]``, ``video:FILE`` or a camera's name stands for.

    Args:
        text: A camera is ``rtsp://…``, ``rtsps://…`` or ``/dev/video0``.

    Raises:
        AddressForFileError, BadVideoError: The file is no video.
        RefusedError: The text names none of them. It is not repeated: there may be a
            password in it.
    """
    if text.startswith(_CAMERAS):
        camera_maker(text, SystemClock())  # refuses at once what is no address
        return Film(length_s=float("inf"), camera=text)
    if text.startswith("video:"):
        return read_film(Path(text.removeprefix("video:")))
    if (scene := _SCENE.fullmatch(text)) is not None:
        seed, length_s, width_px = scene.groups()
        return Film(None, int(seed), float(length_s or DEFAULT_SCENE_S), int(width_px or WIDTH_PX))
    raise RefusedError(
        "the source names no film and no camera",
        safe="Nothing was started.",
        do="name one like scene:7, video:FILE, /dev/video0 or rtsp://USER:PASSWORD@HOST/PATH",
    )


def read_film(path: Path) -> Film:
    """Return the film in a file.

    Raises:
        AddressForFileError: It is an address.
        BadVideoError: It is no video.
    """
    with VideoFile(path) as file:
        # Some files do not say how many pictures they hold; then they are counted.
        count = file.frame_count or sum(1 for _ in file.pictures())
        return Film(path.absolute(), length_s=count / file.fps)


def open_camera(film: Film, clock: Clock, showing: Showing, over: Callable[[], object]) -> Camera:
    """Return the camera that films ``film``; ``over`` is called, in its thread, at the end.

    The end is that of the scripted part or of the video; the camera goes on after it. A
    real camera has none.
    """
    if film.camera is not None:
        return camera_maker(film.camera, clock)()
    if film.video is None:
        height_px = film.width_px * 9 // 16
        scene = Scene(film.seed, film.length_s, width_px=film.width_px, height_px=height_px)
        return _FilmedScene(scene, clock, over)
    return _FilmedVideo(film.video, clock, showing, over)


class ScoredCamera(Camera):
    """A camera whose frames the motion rule sees here too, to be told frame by frame.

    It is the same rule on the same frames as the doorbell's own, so it decides the same.
    """

    def __init__(self, camera: Camera, clock: Clock, rule: MotionRule, tell: Tell) -> None:
        self._camera = camera
        self._clock = clock
        self._rule = rule
        self._tell = tell

    @property
    def format(self) -> VideoFormat:
        """What the packets hold."""
        return self._camera.format

    async def start(self) -> None:
        """Begin to capture."""
        await self._camera.start()

    async def close(self) -> None:
        """Stop capturing."""
        await self._camera.close()

    def packets(self) -> AsyncIterator[Packet]:
        """Yield every packet."""
        return self._camera.packets()

    async def frames(self) -> AsyncIterator[Frame]:
        """Yield the newest frame, and tell its score."""
        state = self._rule.start()
        first_us: int | None = None
        async for frame in self._camera.frames():
            if first_us is None:
                first_us = frame.at_us
                age_ms = (self._clock.monotonic_us() - first_us) // 1000
                began_ms = round(self._clock.now().timestamp() * 1000) - age_ms
                self._tell("film_began", began_ms=began_ms)
            state, motion = self._rule.feed(state, frame.luma, frame.at_us)
            self._tell(
                "frame_scored",
                t_s=round((frame.at_us - first_us) / 1e6, 3),
                score=round(motion.score, 4),
                is_moving=motion.is_moving,
            )
            yield frame


class _FilmedScene(SceneCamera):
    """A scene that tells when its scripted part is over; its street goes on."""

    def __init__(self, scene: Scene, clock: Clock, over: Callable[[], object]) -> None:
        super().__init__(scene, clock)
        self._source = _ToldScene(self._source, scene.duration_s, over)


class _FilmedVideo(VideoCamera):
    """A video that tells when it is over; its last picture stays."""

    def __init__(
        self, path: Path, clock: Clock, showing: Showing, over: Callable[[], object]
    ) -> None:
        super().__init__(path, clock, hold_first_s=showing.hold_first_s)
        self._source = _ToldVideo(self._source, showing, over)


class _ToldScene:
    """A scene's pictures; says when the scripted ones are over."""

    def __init__(
        self, pictures: PictureSource, length_s: float, over: Callable[[], object]
    ) -> None:
        self._inner = pictures
        self._over_us = round(length_s * 1e6)
        self._over = over

    def open(self) -> VideoFormat:
        return self._inner.open()

    def pictures(self) -> Iterator[Picture]:
        is_over = False
        for picture in self._inner.pictures():
            if not is_over and picture.at_us >= self._over_us:
                is_over = True
                self._over()
            yield picture

    def close(self) -> None:
        self._inner.close()


class _ToldVideo:
    """A video's pictures, as many as are wanted; says when they are over."""

    def __init__(
        self, pictures: PictureSource, showing: Showing, over: Callable[[], object]
    ) -> None:
        self._inner = pictures
        self._showing = showing
        self._over = over
        self._step_us = 0

    def open(self) -> VideoFormat:
        video = self._inner.open()
        self._step_us = round(1_000_000 / video.fps)
        return video

    def pictures(self) -> Iterator[Picture]:
        end_us = (self._showing.hold_first_s + self._showing.longest_s) * 1e6
        last: Picture | None = None
        for picture in self._inner.pictures():
            if picture.at_us >= end_us:
                break
            last = picture
            yield picture
        self._over()
        if last is not None:
            yield from self._held(last)

    def _held(self, last: Picture) -> Iterator[Picture]:
        end_us = last.at_us + round(self._showing.hold_last_s * 1e6)
        for at_us in range(last.at_us + self._step_us, end_us, self._step_us):
            yield Picture(last.image, at_us)

    def close(self) -> None:
        self._inner.close()
