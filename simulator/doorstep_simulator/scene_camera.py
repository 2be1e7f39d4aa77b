"""The scene as a camera: what the doorbell's agent films on a laptop."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

from doorstep_device.adapters.capture import PacedCamera, Picture
from doorstep_device.ports.camera import Packet, VideoFormat
from doorstep_device.ports.clock import Clock
from doorstep_simulator.marker import with_marker_text
from doorstep_simulator.scene import Scene


class SceneCamera(PacedCamera):
    """Films a scene: the scripted part, then whoever comes by, until it is closed.

    Every key frame carries the marker's text, so that a search over a disk finds any
    stream that was not sealed.
    """

    def __init__(self, scene: Scene, clock: Clock) -> None:
        super().__init__(_ScenePictures(scene), clock)

    def packets(self) -> AsyncIterator[Packet]:
        """Yield every packet, the text in each key frame."""
        return _marked(super().packets())


class _ScenePictures:
    """The pictures of a scene; they never end.

    One index is one step of scene time however late the clock is: a slow machine shows
    the scene slower and drops nothing.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def open(self) -> VideoFormat:
        return VideoFormat(self._scene.width_px, self._scene.height_px, self._scene.fps)

    def pictures(self) -> Iterator[Picture]:
        index = 0
        while True:
            yield Picture(self._scene.frame(index), round(index * 1_000_000 / self._scene.fps))
            index += 1

    def close(self) -> None:
        pass


async def _marked(packets: AsyncIterator[Packet]) -> AsyncIterator[Packet]:
    async for packet in packets:
        yield replace(packet, data=with_marker_text(packet.data)) if packet.is_key else packet
