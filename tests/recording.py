"""A doorbell's recording half, fed with tiny pictures, for every test that needs one."""

import functools
import io
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np

from doorstep_device.outbox import Outbox, OutboxKeys, Sealing
from doorstep_device.ports.camera import Packet, VideoFormat
from doorstep_device.ports.disk import Disk
from doorstep_device.recorder import Recorder, RecordingRules, Stamp
from doorstep_device.rules.episode import Episode, PartLimits
from doorstep_device.rules.motion import Box, Motion
from doorstep_shared.ids import ClipId, EventId, Random, draw_event_id
from doorstep_shared.manifest import ClipKind, Manifest, ObjectName
from doorstep_shared.signing import SigningKey
from doorstep_shared.unseal import open_age_file
from doorstep_shared.wire import Alert, Event
from tests.people import FRONT_DOOR, HOUSEHOLD, NOW_MS, epoch_identity, random_from

VIDEO = VideoFormat(width_px=64, height_px=48, fps=5.0)
FRAME_US = 200_000
SECOND_US = 1_000_000
GIB = 1 << 30

RECEIPT_KEY = SigningKey.generate(random_from("receipts"))
KEYS = OutboxKeys(FRONT_DOOR.device.id, FRONT_DOOR.sign, RECEIPT_KEY.public)
SEALING = Sealing(HOUSEHOLD, 1, epoch_identity(1).recipient())

# Short rolls keep the scenes short; the default lengths are tried with the recorder's rules.
SHORT = RecordingRules(
    pre_roll_us=2 * SECOND_US,
    episode=Episode(post_roll_us=2 * SECOND_US, longest_us=20 * SECOND_US),
    limits=PartLimits(longest_us=120 * SECOND_US),
)

_LOOP_FRAMES = 50


@functools.cache
def coded_pictures() -> tuple[bytes, ...]:
    """Return ten seconds of H.264 in Annex B, a key frame every second."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = VIDEO.width_px, VIDEO.height_px, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 5), Fraction(5)
    encoder.thread_count = 1
    encoder.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "profile": "baseline",
        "x264-params": "keyint=5:min-keyint=5:scenecut=0:repeat-headers=1",
    }
    rows, columns = np.mgrid[0:72, 0:64]
    coded = []
    for number in range(_LOOP_FRAMES):
        picture = ((rows * 3 + columns * 2 + number * 5) % 200 + 20).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts = number
        coded += [bytes(packet) for packet in encoder.encode(frame)]
    return tuple(coded)


def picture(number: int) -> Packet:
    """Return the packet of that number, for a camera that started at time zero."""
    data = coded_pictures()[number % _LOOP_FRAMES]
    return Packet(data=data, is_key=number % 5 == 0, at_us=number * FRAME_US)


def parameter_sets() -> bytes:
    """Return the first bytes of SPS and PPS, which stand in every clear clip."""
    return coded_pictures()[0][4:16]


def stamp(at_us: int) -> Stamp:
    """Return that moment by a wall clock that was set and runs true."""
    return Stamp(at_us, NOW_MS + at_us // 1000, clock_synced=True)


def event(name: str, at_ms: int = NOW_MS) -> Event:
    """Return the event of that name."""
    drawn = draw_event_id(at_ms, random_from(name))
    return Event(event=drawn, at=at_ms, clock_synced=True, alert=Alert.NOW)


def open_outbox(disk: Disk, seed: str = "outbox", cap_bytes: int = GIB) -> Outbox:
    """Return the outbox on ``disk``."""
    return Outbox.open(disk, KEYS, random=random_bytes(seed), cap_bytes=cap_bytes)


def random_bytes(seed: str) -> Random:
    """Return a source of bytes that is the same in every run, and quick."""
    return np.random.default_rng(list(seed.encode())).bytes


@dataclass
class Door:
    """An outbox and its recorder; time passes as pictures come."""

    outbox: Outbox
    rules: RecordingRules = SHORT
    number: int = 0
    recorder: Recorder = field(init=False)

    def __post_init__(self) -> None:
        self.recorder = Recorder(self.outbox, VIDEO, self.rules)
        self.recorder.allow(SEALING)

    @property
    def at_us(self) -> int:
        """When the last picture was taken."""
        return (self.number - 1) * FRAME_US

    def watch(self, seconds: float) -> None:
        """Let pictures come for so long."""
        for _ in range(round(seconds * VIDEO.fps)):
            self.recorder.feed(picture(self.number))
            self.number += 1

    def ring(self, name: str) -> EventId:
        """Press the button now: the event is stored, then recorded."""
        return self._happen(name, ClipKind.RING)

    def move(self, name: str) -> EventId:
        """Begin to move now."""
        return self._happen(name, ClipKind.MOTION)

    def stand_still(self) -> None:
        """Stop moving now."""
        self.recorder.motion_ended(self.at_us)

    def see(self, score: float) -> None:
        """Let the motion rule judge the last picture."""
        self.recorder.saw(Motion(is_moving=True, score=score, box=Box(1, 2, 3, 4)), self.at_us)

    def _happen(self, name: str, kind: ClipKind) -> EventId:
        happened = event(name, NOW_MS + self.at_us // 1000)
        self.outbox.put_event(kind, happened)
        tell = self.recorder.ring if kind is ClipKind.RING else self.recorder.motion_began
        tell(happened.event, stamp(self.at_us))
        return happened.event


def open_object(outbox: Outbox, clip: ClipId, name: ObjectName) -> bytes:
    """Return an object of a pending clip in the clear."""
    envelope = getattr(outbox.announcement(clip).envelopes, name.value)
    return _opened(envelope + outbox.read_payload(clip, name, 0, GIB))


@functools.lru_cache(maxsize=64)
def _opened(age_file: bytes) -> bytes:
    return open_age_file(age_file, [epoch_identity(1)])


@functools.lru_cache(maxsize=64)
def picture_times(clip: bytes) -> tuple[int, ...]:
    """Return when each picture of a clear clip is shown, microseconds; all are decoded."""
    with av.open(io.BytesIO(clip), "r") as container:
        frames = list(container.decode(video=0))
    return tuple(round(float(frame.time) * 1_000_000) for frame in frames)


def pending(outbox: Outbox) -> dict[ClipId, Manifest]:
    """Return the manifests of what waits."""
    return {waiting.clip: waiting.manifest for waiting in outbox.pending_clips()}
