"""Small videos for tests."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_video(
    path: Path, *, seconds: float, fps: int = 15, size: tuple[int, int] = (320, 180)
) -> Path:
    """Write an H.264 MP4 in which a bright square walks over a grey ramp; return its path."""
    width, height = size
    ramp = np.linspace(60, 160, width, dtype=np.uint8)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        for i in range(round(seconds * fps)):
            luma = np.tile(ramp, (height, 1))
            left = i * 4 % (width - 40)
            luma[height // 3 : 2 * height // 3, left : left + 40] = 230
            frame = av.VideoFrame.from_ndarray(luma, format="gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
