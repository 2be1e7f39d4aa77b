"""The scene: a doorstep with visitors, and what is true in every picture of it."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from doorstep_simulator.backdrop import HEDGE_M, draw_backdrop
from doorstep_simulator.canvas import DESIGN_WIDTH, Canvas, Silhouette
from doorstep_simulator.ground import seen_at, units_per_m
from doorstep_simulator.marker import draw_plate, marker_bytes
from doorstep_simulator.visitor import draw_visitor
from doorstep_simulator.visits import Pose, Visit, Visits

FPS: Final = 15
WIDTH_PX: Final = 1280
HEIGHT_PX: Final = 720

# The sensor's noise is never negative, so that one saturating addition applies it; the
# still picture is darker by its mean.
_NOISE_MEAN: Final = 4
_NOISE_SIGMA: Final = 1.3
_NOISE_SPARE_PX: Final = 64
_SHADOW_DEPTH: Final = 0.42
# As in the footage's truth files: less than this share of the picture is not scored.
_LEAST_SHARE: Final = 0.0015


@dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle of pixels.

    Attributes:
        x: Left column.
        y: Top row.
        width: Columns.
        height: Rows.
    """

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true in one picture.

    Attributes:
        is_moving: Whether a visitor who is seen moves.
        box: What is seen of the visitor, without the shadow; None when nobody is.
        share: Share of the picture the visitor fills, 0 to 1.
    """

    is_moving: bool
    box: Box | None
    share: float

    @property
    def label(self) -> int:
        """The label of a truth file: 1 moving, 0 nobody, -1 not to be scored.

        A visitor who stands still, or of whom only a trace is seen, is not scored.
        """
        if self.box is None:
            return 0
        return 1 if self.is_moving and self.share >= _LEAST_SHARE else -1


class Scene:
    """A doorstep through the doorbell's eye: a pure function of seed and time.

    The scripted part has quiet, visits, and quiet again. The pictures after it never
    end: somebody comes now and then, as long as anybody watches.

    Attributes:
        seed: Decides the hour, the street, who comes and when.
        duration_s: Length of the scripted part.
        fps: Pictures per second.
        width_px: A multiple of 320.
        height_px: Nine sixteenths of the width.
        frame_count: Pictures in the scripted part.
        visits: The scripted visits.
    """

    def __init__(
        self,
        seed: int,
        duration_s: float,
        fps: int = FPS,
        width_px: int = WIDTH_PX,
        height_px: int = HEIGHT_PX,
    ) -> None:
        if width_px % 320 or width_px * 9 != height_px * 16:
            raise ValueError(f"{width_px} by {height_px} is not 16:9 in steps of 320 by 180")
        self.seed = seed
        self.duration_s = duration_s
        self.fps = fps
        self.width_px = width_px
        self.height_px = height_px
        self.frame_count = round(duration_s * fps)
        self._visits = Visits(seed, duration_s)
        self.visits: tuple[Visit, ...] = self._visits.scripted()
        self._still = draw_backdrop(seed, width_px, height_px)
        self._dim = cv2.subtract(self._still.image, np.full(4, _NOISE_MEAN, np.float64))
        self._noise = _noise(seed, width_px, height_px)
        self._shadow = _soft_disc(64)

    def frame(self, index: int) -> NDArray[np.uint8]:
        """Return picture `index`, (h, w, 3) uint8 BGR; the caller's own copy."""
        image = np.array(self._dim, np.uint8)
        if (present := self._present(index)) is not None:
            self._draw_visitor(image, *present)
        left, top = np.random.default_rng([self.seed, index]).integers(_NOISE_SPARE_PX, size=2)
        noise = self._noise[top : top + self.height_px, left : left + self.width_px]
        cv2.add(image, noise, dst=image)
        draw_plate(image, self.seed)
        return image

    def truth(self, index: int) -> Truth:
        """Return what is true in picture `index`."""
        present = self._present(index)
        seen = self._seen(*present) if present is not None else None
        if present is None or seen is None or not seen.any():
            return Truth(is_moving=False, box=None, share=0.0)
        x, y, width, height = cv2.boundingRect(seen)
        return Truth(
            is_moving=present[1].is_moving,
            box=Box(x, y, width, height),
            share=cv2.countNonZero(seen) / seen.size,
        )

    def marker_bytes(self) -> tuple[bytes, ...]:
        """Return byte strings of which every uncompressed picture holds one."""
        return marker_bytes(self.width_px)

    def _present(self, index: int) -> tuple[Visit, Pose] | None:
        at_s = index / self.fps
        visit = self._visits.at(at_s)
        return None if visit is None else (visit, visit.pose(at_s))

    def _draw_visitor(self, image: NDArray[np.uint8], visit: Visit, pose: Pose) -> None:
        self._cast_shadow(image, pose)
        draw_visitor(Canvas(image), visit.looks, pose, self._still.light)
        around = self._around(pose)
        for cover in self._covers(pose):
            cv2.copyTo(self._dim[around], cover[around], image[around])

    def _cast_shadow(self, image: NDArray[np.uint8], pose: Pose) -> None:
        per_m = units_per_m(pose.place.z_m) * self.width_px / DESIGN_WIDTH
        x, y = (value * self.width_px / DESIGN_WIDTH for value in seen_at(pose.place))
        lean = 0.22 if self._still.light.sun_at[0] < DESIGN_WIDTH / 2 else -0.22
        width, height = max(2, round(1.25 * per_m)), max(2, round(0.36 * per_m))
        left, top = round(x + lean * per_m - width / 2), round(y - height * 0.55)
        rows = slice(max(0, top), min(self.height_px, top + height))
        columns = slice(max(0, left), min(self.width_px, left + width))
        disc = cv2.resize(self._shadow, (width, height), interpolation=cv2.INTER_LINEAR)
        disc = disc[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        image[rows, columns] = (image[rows, columns] * disc[:, :, np.newaxis]).astype(np.uint8)

    def _seen(self, visit: Visit, pose: Pose) -> NDArray[np.uint8]:
        """Return where the visitor is seen, (h, w) uint8, not 0."""
        seen = np.zeros((self.height_px, self.width_px), np.uint8)
        draw_visitor(Silhouette(seen), visit.looks, pose, self._still.light)
        for cover in self._covers(pose):
            seen[cover > 0] = 0
        return seen

    def _covers(self, pose: Pose) -> list[NDArray[np.uint8]]:
        """Return masks of what stands between the door and the visitor."""
        if pose.place.z_m > HEDGE_M:
            return [self._still.near, self._still.hedge]
        return [self._still.near]

    def _around(self, pose: Pose) -> tuple[slice, slice]:
        """Return the rows and columns that hold the visitor and their shadow."""
        scale = self.width_px / DESIGN_WIDTH
        x, y = (value * scale for value in seen_at(pose.place))
        per_m = units_per_m(pose.place.z_m) * scale
        top, bottom = round(y - 2.1 * per_m), round(y + 0.3 * per_m)
        left, right = round(x - 1.1 * per_m), round(x + 1.1 * per_m)
        return (
            slice(max(0, top), max(0, min(self.height_px, bottom))),
            slice(max(0, left), max(0, min(self.width_px, right))),
        )


def write_scene(
    scene: Scene, mp4: Path, truth_csv: Path, progress: Callable[[int, int], None]
) -> None:
    """Write the scripted part as an MP4 (H.264) and its truth as `frame,moving`.

    Args:
        scene: What to render.
        mp4: The video; overwritten.
        truth_csv: The truth file; overwritten. Labels as `Truth.label`.
        progress: Called with pictures done and all pictures, after each.

    Raises:
        OSError: A file cannot be written.
    """
    with (
        av.open(str(mp4), "w", format="mp4") as video,
        truth_csv.open("w", newline="", encoding="ascii") as table,
    ):
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(["frame", "moving"])
        stream = video.add_stream("libx264", scene.fps, options={"crf": "23", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = scene.width_px, scene.height_px, "yuv420p"
        stream.codec_context.gop_size = scene.fps
        for index in range(scene.frame_count):
            picture = av.VideoFrame.from_ndarray(scene.frame(index), format="bgr24")
            picture.pts, picture.time_base = index, Fraction(1, scene.fps)
            video.mux(stream.encode(picture))
            rows.writerow([index, scene.truth(index).label])
            progress(index + 1, scene.frame_count)
        video.mux(stream.encode(None))


def _noise(seed: int, width_px: int, height_px: int) -> NDArray[np.uint8]:
    """Return the sensor's noise, larger than a picture: each shows another part of it."""
    chance = np.random.default_rng([seed, 0x5E4507])
    shape = (height_px + _NOISE_SPARE_PX, width_px + _NOISE_SPARE_PX, 1)
    noise = chance.standard_normal(shape, np.float32) * _NOISE_SIGMA + _NOISE_MEAN
    return np.repeat(np.clip(np.rint(noise), 0, 2 * _NOISE_MEAN).astype(np.uint8), 3, axis=2)


def _soft_disc(size_px: int) -> NDArray[np.float32]:
    """Return light left by a round shadow, 1 outside it and less towards the middle."""
    grid = np.linspace(-1, 1, size_px, dtype=np.float32)
    away = np.hypot(grid[:, np.newaxis], grid[np.newaxis, :])
    return np.asarray(1 - _SHADOW_DEPTH * np.clip(1 - away**2, 0, 1) ** 1.5, np.float32)
