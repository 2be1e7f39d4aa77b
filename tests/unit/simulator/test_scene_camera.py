import asyncio
import io
from typing import Final

import av
import numpy as np

from doorstep_device.adapters.clock import PacedClock
from doorstep_device.ports.camera import Frame, Packet, VideoFormat
from doorstep_simulator.marker import MARKER_TEXT, find_marker
from doorstep_simulator.scene import Scene
from doorstep_simulator.scene_camera import SceneCamera

TEXT: Final = MARKER_TEXT.encode()
DEADLINE_S: Final = 20


def doorstep(duration_s: float = 2.0) -> Scene:
    return Scene(7, duration_s, width_px=320, height_px=180)


async def filmed(scene: Scene, count: int) -> tuple[list[Packet], list[Frame], VideoFormat]:
    """Film that many pictures, far faster than in real time."""
    packets: list[Packet] = []
    frames: list[Frame] = []

    async def watch(camera: SceneCamera) -> None:
        frames.extend([frame async for frame in camera.frames()])

    async with asyncio.timeout(DEADLINE_S), SceneCamera(scene, PacedClock(20)) as camera:
        watching = asyncio.create_task(watch(camera))
        async for packet in camera.packets():
            packets.append(packet)
            if len(packets) == count:
                break
        video = camera.format
        await camera.close()
        await watching
    return packets, frames, video


async def test_it_films_the_scene_as_it_is() -> None:
    scene = doorstep()
    packets, _, video = await filmed(scene, 20)

    assert video == VideoFormat(320, 180, 15)
    with av.open(io.BytesIO(b"".join(p.data for p in packets)), "r", format="h264") as shown:
        pictures = [frame.to_ndarray(format="bgr24").astype(int) for frame in shown.decode(video=0)]
    assert len(pictures) == 20
    for index, picture in enumerate(pictures):
        assert np.abs(picture - scene.frame(index)).mean() < 6
        assert find_marker(picture.astype(np.uint8))


async def test_every_key_frame_carries_the_text_and_no_other_packet() -> None:
    packets, _, _ = await filmed(doorstep(), 40)

    assert 2 <= [packet.is_key for packet in packets].count(True) < 40
    for packet in packets:
        assert (TEXT in packet.data) == packet.is_key


async def test_it_films_on_when_the_scripted_part_is_over() -> None:
    scene = doorstep(duration_s=1.0)
    packets, _, _ = await filmed(scene, 3 * scene.frame_count)

    assert len(packets) == 3 * scene.frame_count


async def test_frames_and_packets_tell_the_same_times() -> None:
    packets, frames, _ = await filmed(doorstep(), 30)

    assert frames
    assert {frame.at_us for frame in frames[:-1]} <= {packet.at_us for packet in packets}
    assert frames[0].luma.shape == (180, 320)
