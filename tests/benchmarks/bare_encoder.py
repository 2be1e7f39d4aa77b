"""The least a camera's process can be: decode a video, encode it at its own pace, keep nothing.

The same decoder and the same encoder as the doorbell's, and nothing else of it.
"""

import sys
import time

import av

from doorstep_device.adapters.encoder import H264Encoder, fit_within_720p
from doorstep_device.ports.camera import VideoFormat


def main(path: str) -> None:
    """Encode the file once, then wait to be ended."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        size = fit_within_720p(stream.width, stream.height)
        encoder = H264Encoder(VideoFormat(*size, fps=float(stream.average_rate or 15)))
        started_s = time.monotonic()
        for frame in container.decode(stream):
            at_s = frame.time or 0.0
            time.sleep(max(0.0, started_s + at_s - time.monotonic()))
            encoder.encode(frame, round(at_s * 1_000_000))
    time.sleep(60)


if __name__ == "__main__":
    main(sys.argv[1])
