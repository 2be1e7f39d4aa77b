"""A camera's RTSP server: GStreamer's, fed with coded pictures. Run by the system's Python.

usage: rtsp_server.py PORT FILE FPS

FILE holds access units of H.264 in Annex B, each behind its length (u32, big-endian). They are
sent in their own time, from the first one on to whoever asks, and in a loop; nothing is coded
here. The line `listening` on stdout says that rtsp://127.0.0.1:PORT/door can be asked for.
"""

import itertools
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402  # its versions come first

PIPELINE = """( appsrc name=pictures is-live=true format=time
  caps=video/x-h264,stream-format=byte-stream,alignment=au ! rtph264pay name=pay0 pt=96 )"""


def read_units(path: Path) -> Iterator[bytes]:
    """Yield the access units of a file."""
    data, at = path.read_bytes(), 0
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 4 + length]
        at += 4 + length


def serve(port: str, units: list[bytes], fps: float) -> None:
    """Serve until killed."""
    Gst.init(None)
    step_ns = round(Gst.SECOND / fps)
    server = GstRtspServer.RTSPServer(address="127.0.0.1", service=port)
    factory = GstRtspServer.RTSPMediaFactory(launch=PIPELINE)

    def show(_factory: object, media: "GstRtspServer.RTSPMedia") -> None:
        pictures = media.get_element().get_child_by_name("pictures")
        numbers = itertools.count()

        def push() -> bool:
            number = next(numbers)
            buffer = Gst.Buffer.new_wrapped(units[number % len(units)])
            buffer.pts = buffer.dts = number * step_ns
            buffer.duration = step_ns
            return bool(pictures.emit("push-buffer", buffer) == Gst.FlowReturn.OK)

        GLib.timeout_add(round(1000 / fps), push)

    factory.connect("media-configure", show)
    server.get_mount_points().add_factory("/door", factory)
    server.attach(None)
    print("listening", flush=True)  # noqa: T201  # whoever started it waits for this
    GLib.MainLoop().run()


if __name__ == "__main__":
    serve(sys.argv[1], list(read_units(Path(sys.argv[2]))), float(sys.argv[3]))
