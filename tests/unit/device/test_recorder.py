"""Clips hold what they should: from before the event, to after it, and every picture."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import av
import numpy as np
import pytest

from doorstep_device.adapters.encoder import H264Encoder
from doorstep_device.outbox import Outbox
from doorstep_device.ports.camera import Packet, VideoFormat
from doorstep_device.ports.disk import DiskFullError
from doorstep_device.recorder import Recorder, RecordingRules, Stamp
from doorstep_device.rules.episode import PartLimits
from doorstep_device.rules.motion import NO_MOTION
from doorstep_shared.manifest import ClipKind, Manifest, ObjectName
from doorstep_simulator.disk import SimulatedDisk
from tests.people import NOW_MS
from tests.recording import (
    FRAME_US,
    SEALING,
    SECOND_US,
    SHORT,
    VIDEO,
    Door,
    coded_pictures,
    event,
    open_object,
    open_outbox,
    picture,
    picture_times,
    stamp,
)

MIB = 1024 * 1024


@pytest.fixture
def door() -> Door:
    return Door(open_outbox(SimulatedDisk()))


def clips(outbox: Outbox) -> list[Manifest]:
    manifests = (waiting.manifest for waiting in outbox.pending_clips())
    return sorted(manifests, key=lambda manifest: manifest.seq)


def video(outbox: Outbox, manifest: Manifest) -> bytes:
    return open_object(outbox, manifest.clip, ObjectName.FILE)


def details(outbox: Outbox, manifest: Manifest) -> dict[str, list[list[float]]]:
    found = json.loads(open_object(outbox, manifest.clip, ObjectName.DETAILS))
    assert found.pop("v") == 1
    return dict(found)


def slices(clip: bytes) -> list[bytes]:
    """Return the coded pictures of an opened clip, without start codes or lengths."""
    with av.open(io.BytesIO(clip), "r") as container:
        return [b"".join(_units(bytes(p))) for p in container.demux(video=0) if p.size]


def _units(data: bytes) -> Iterator[bytes]:
    while data:
        size = int.from_bytes(data[:4], "big")
        yield data[4 : 4 + size]
        data = data[4 + size :]


# ── how long ──


def test_a_ring_clip_has_six_seconds_before_and_eight_after() -> None:
    door = Door(open_outbox(SimulatedDisk()), RecordingRules())
    door.watch(10.6)
    rang_us = door.at_us
    door.ring("ring")
    door.watch(9)
    (manifest,) = clips(door.outbox)
    assert (manifest.kind, manifest.part, manifest.last) == (ClipKind.RING, 1, True)
    assert manifest.truncated is False
    # Exact to one GOP of a second: the clip begins with a key frame.
    first_us = (rang_us - 6 * SECOND_US) // SECOND_US * SECOND_US
    assert manifest.pre_roll_ms == (rang_us - first_us) // 1000
    times = picture_times(video(door.outbox, manifest))
    assert first_us + times[-1] == rang_us + 8 * SECOND_US - FRAME_US
    assert manifest.start == NOW_MS + first_us // 1000
    assert manifest.end == manifest.start + times[-1] // 1000


def test_the_pictures_are_the_cameras_own_none_encoded_again(door: Door) -> None:
    door.watch(5)
    door.ring("ring")
    door.watch(3)
    (manifest,) = clips(door.outbox)
    recorded = slices(video(door.outbox, manifest))
    first = (manifest.start - NOW_MS) * 1000 // FRAME_US
    for number, coded in enumerate(recorded, start=first):
        original = coded_pictures()[number % 50]
        assert coded[-100:] in original
        assert len(coded) > 100 or len(coded) >= len(original) - 40


def test_pictures_are_shown_at_the_times_they_were_taken() -> None:
    outbox = open_outbox(SimulatedDisk())
    recorder = Recorder(outbox, VIDEO, SHORT)
    recorder.allow(SEALING)
    at_us, taken = 0, []
    for number in range(50):
        packet = picture(number)
        recorder.feed(replace(packet, at_us=at_us))
        taken.append(at_us)
        if number == 15:
            recorder.ring(event("ring").event, stamp(at_us))
        # Pictures come when they come.
        at_us += 130_001 + 97_003 * (number % 3)
    (manifest,) = clips(outbox)
    shown = picture_times(video(outbox, manifest))
    start_us = (manifest.start - NOW_MS) * 1000
    first = min(range(len(taken)), key=lambda number: abs(taken[number] - start_us))
    assert len(shown) > 15
    for shown_us, taken_us in zip(shown, taken[first : first + len(shown)], strict=True):
        assert shown_us == pytest.approx(taken_us - taken[first], abs=1)


def test_a_ring_just_after_the_start_has_what_there_is(door: Door) -> None:
    door.watch(0.4)
    door.ring("ring")
    door.watch(4)
    (manifest,) = clips(door.outbox)
    assert manifest.pre_roll_ms == FRAME_US // 1000
    assert manifest.start == NOW_MS


def test_a_ring_before_the_first_picture_is_recorded_from_the_first_on() -> None:
    outbox = open_outbox(SimulatedDisk())
    recorder = Recorder(outbox, VIDEO, SHORT)
    recorder.allow(SEALING)
    recorder.ring(event("ring").event, stamp(3 * FRAME_US))
    assert not recorder.is_recording
    for number in range(3, 40):
        recorder.feed(picture(number))
    (manifest,) = clips(outbox)
    assert manifest.pre_roll_ms == 0
    assert manifest.start == NOW_MS + 1000


def test_a_ring_while_the_camera_stands_still_is_recorded_when_it_goes_on() -> None:
    outbox = open_outbox(SimulatedDisk())
    recorder = Recorder(outbox, VIDEO, SHORT)
    recorder.allow(SEALING)
    for number in range(20):
        recorder.feed(picture(number))
    rang_us = 120 * SECOND_US
    recorder.ring(event("ring").event, stamp(rang_us))
    assert not recorder.is_recording
    for number in range(603, 620):
        recorder.feed(picture(number))
    (manifest,) = clips(outbox)
    assert manifest.pre_roll_ms == 0
    assert manifest.start == NOW_MS + (rang_us + SECOND_US) // 1000


def test_a_clock_at_its_very_beginning_is_no_trouble() -> None:
    outbox = open_outbox(SimulatedDisk())
    recorder = Recorder(outbox, VIDEO, SHORT)
    recorder.allow(SEALING)
    for number in range(30):
        recorder.feed(picture(number))
        if number == 15:
            recorder.ring(event("ring").event, Stamp(picture(15).at_us, 5, clock_synced=False))
    (manifest,) = clips(outbox)
    assert manifest.start == 0


# ── what belongs together ──


def test_motion_and_a_ring_are_one_ring_clip(door: Door) -> None:
    door.watch(3)
    moved = door.move("motion")
    assert door.recorder.is_recording
    door.watch(2)
    rang = door.ring("ring")
    door.watch(1)
    door.stand_still()
    door.watch(3)
    (manifest,) = clips(door.outbox)
    assert (manifest.kind, manifest.events) == (ClipKind.RING, (moved, rang))
    assert manifest.pre_roll_ms == pytest.approx(2000, abs=1000)


def test_motion_after_a_ring_makes_the_clip_longer(door: Door) -> None:
    door.watch(3)
    rang = door.ring("ring")
    door.watch(1)
    moved = door.move("motion")
    door.watch(4)
    door.stand_still()
    stopped_us = door.at_us
    door.watch(3)
    (manifest,) = clips(door.outbox)
    assert (manifest.kind, manifest.events) == (ClipKind.RING, (rang, moved))
    assert manifest.end == NOW_MS + (stopped_us + 2 * SECOND_US - FRAME_US) // 1000


def test_motion_that_comes_back_as_the_same_event_is_listed_once(door: Door) -> None:
    door.watch(3)
    moved = door.move("motion")
    door.stand_still()
    door.watch(1)
    door.recorder.motion_came_back(moved, stamp(door.at_us))
    door.watch(5)
    assert door.recorder.is_recording
    door.stand_still()
    door.watch(3)
    (manifest,) = clips(door.outbox)
    assert manifest.events == (moved,)


def test_motion_cannot_come_back_to_a_clip_that_has_ended(door: Door) -> None:
    door.watch(3)
    moved = door.move("motion")
    door.stand_still()
    door.watch(5)
    door.recorder.motion_came_back(moved, stamp(door.at_us))
    door.watch(5)
    assert not door.recorder.is_recording
    assert len(clips(door.outbox)) == 1


def test_two_visits_are_two_clips(door: Door) -> None:
    door.watch(3)
    door.move("first")
    door.stand_still()
    door.watch(5)
    door.ring("second")
    door.watch(3)
    assert [manifest.kind for manifest in clips(door.outbox)] == [ClipKind.MOTION, ClipKind.RING]
    assert len(door.recorder.take_finished()) == 2
    assert door.recorder.take_finished() == ()


def test_endless_motion_ends_after_a_while_and_a_ring_is_still_recorded(door: Door) -> None:
    door.watch(3)
    door.move("branch")
    door.watch(25)
    assert not door.recorder.is_recording
    door.ring("ring")
    door.watch(3)
    assert [manifest.kind for manifest in clips(door.outbox)] == [ClipKind.MOTION, ClipKind.RING]


# ── parts ──


def in_parts(limits: PartLimits, seconds: float = 8) -> Door:
    door = Door(open_outbox(SimulatedDisk()), replace(SHORT, limits=limits))
    door.watch(3)
    door.ring("ring")
    door.move("motion")
    door.watch(seconds)
    door.stand_still()
    door.watch(3)
    return door


@pytest.mark.parametrize(
    "limits", [PartLimits(longest_us=3 * SECOND_US), PartLimits(max_bytes=MIB // 4)]
)
def test_a_long_event_is_split_without_a_lost_picture(limits: PartLimits) -> None:
    door = in_parts(limits)
    parts = clips(door.outbox)
    assert len(parts) > 2
    assert [part.part for part in parts] == list(range(1, len(parts) + 1))
    assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
    assert {part.kind for part in parts} == {ClipKind.RING}
    assert len({part.events[0] for part in parts}) == 1
    assert [part.pre_roll_ms for part in parts[1:]] == [0] * (len(parts) - 1)
    for before, after in pairwise(parts):
        assert after.start == before.end + FRAME_US // 1000
        assert not before.truncated
    shown = [len(picture_times(video(door.outbox, part))) for part in parts]
    assert sum(shown) == (parts[-1].end - parts[0].start) * 1000 // FRAME_US + 1


def test_no_part_is_longer_than_it_may_be() -> None:
    for part in clips(in_parts(PartLimits(longest_us=3 * SECOND_US)).outbox):
        assert part.end - part.start < 3000


def test_the_event_too_many_opens_the_next_part(door: Door) -> None:
    door.watch(3)
    happened = [door.ring(f"ring {number}") for number in range(33)]
    door.watch(4)
    first, second = clips(door.outbox)
    assert first.events == tuple(happened[:32])
    assert (second.part, second.events) == (2, (happened[0], happened[32]))


def test_a_camera_without_key_frames_cannot_make_a_clip_too_long_to_send() -> None:
    limits = PartLimits(hard_bytes=MIB // 2)
    outbox = open_outbox(SimulatedDisk())
    recorder = Recorder(outbox, VIDEO, replace(SHORT, limits=limits))
    recorder.allow(SEALING)
    recorder.feed(picture(0))
    recorder.motion_began(event("motion").event, stamp(0))
    for number in range(1, 80):
        recorder.feed(replace(picture(number), is_key=False))
    (manifest,) = clips(outbox)
    assert manifest.file.payload.length < MIB
    assert not manifest.last
    assert not recorder.is_recording
    recorder.feed(picture(80))
    assert recorder.is_recording


# ── who may be recorded for ──


def test_without_a_household_nothing_is_recorded() -> None:
    outbox = open_outbox(SimulatedDisk())
    recorder = Recorder(outbox, VIDEO, SHORT)
    for number in range(20):
        recorder.feed(picture(number))
        if number == 15:
            recorder.ring(event("ring").event, stamp(picture(number).at_us))
    assert not recorder.is_recording
    recorder.allow(SEALING)
    for number in range(20, 30):
        recorder.feed(picture(number))
    # What is still in the ring of the visit is recorded once somebody may see it.
    (manifest,) = clips(outbox)
    assert manifest.pre_roll_ms > 0


def test_events_that_wait_for_a_household_are_all_listed(door: Door) -> None:
    door.recorder.allow(None)
    door.watch(3)
    happened = (door.move("motion"), door.ring("ring"))
    door.recorder.allow(SEALING)
    door.watch(1)
    door.stand_still()
    door.watch(3)
    (manifest,) = clips(door.outbox)
    assert (manifest.kind, manifest.events) == (ClipKind.RING, happened)


def test_when_the_household_goes_the_clip_ends_and_nothing_begins(door: Door) -> None:
    door.watch(3)
    door.move("motion")
    door.watch(1)
    door.recorder.allow(None)
    assert not door.recorder.is_recording
    door.ring("ring")
    door.watch(4)
    (manifest,) = clips(door.outbox)
    assert manifest.end == NOW_MS + (4 * SECOND_US - FRAME_US) // 1000
    assert not manifest.truncated


def test_a_new_epoch_counts_from_the_next_clip_on(door: Door) -> None:
    door.watch(3)
    door.ring("first")
    door.recorder.allow(replace(SEALING, epoch=2))
    door.watch(4)
    door.ring("second")
    door.watch(4)
    assert [manifest.epoch for manifest in clips(door.outbox)] == [1, 2]


def test_the_wall_time_says_whether_it_can_be_believed() -> None:
    outbox = open_outbox(SimulatedDisk())
    recorder = Recorder(outbox, VIDEO, SHORT)
    recorder.allow(SEALING)
    for number in range(40):
        recorder.feed(picture(number))
        if number == 15:
            stamped = Stamp(picture(number).at_us, 86_400_000, clock_synced=False)
            recorder.ring(event("ring").event, stamped)
    (manifest,) = clips(outbox)
    assert manifest.clock_synced is False
    assert manifest.start == 86_400_000 - manifest.pre_roll_ms


# ── when packets stop, or the disk does ──


def test_a_clip_ends_in_time_even_if_packets_have_stopped(door: Door) -> None:
    door.watch(3)
    door.ring("ring")
    door.watch(1)
    door.recorder.pass_time(door.at_us + FRAME_US)
    assert door.recorder.is_recording
    door.recorder.pass_time(door.at_us + 2 * SECOND_US)
    (manifest,) = clips(door.outbox)
    assert manifest.end == NOW_MS + door.at_us // 1000


def test_a_camera_that_stops_ends_the_clip_and_another_may_begin(door: Door) -> None:
    door.watch(3)
    door.move("motion")
    door.watch(1)
    door.recorder.stop()
    assert len(clips(door.outbox)) == 1
    for number in range(10):
        door.recorder.feed(picture(number))
    door.recorder.ring(event("ring").event, stamp(picture(9).at_us))
    door.recorder.stop()
    assert [manifest.kind for manifest in clips(door.outbox)] == [ClipKind.MOTION, ClipKind.RING]
    door.recorder.stop()


def test_a_full_disk_ends_the_clip_and_keeps_what_is_whole() -> None:
    disk = SimulatedDisk(capacity_bytes=11 * MIB)
    door = Door(open_outbox(disk))
    door.watch(3)
    door.move("motion")
    door.watch(2)
    disk.write_whole("others", bytes(3 * MIB - MIB // 4))
    door.watch(2)
    assert not door.recorder.is_recording
    (failure,) = door.recorder.take_failures()
    assert isinstance(failure.error, DiskFullError)
    (manifest,) = clips(door.outbox)
    assert (manifest.clip, manifest.truncated) == (failure.clip, True)
    assert door.recorder.take_finished() == (manifest.clip,)
    assert len(picture_times(video(door.outbox, manifest))) >= 10
    # The next event is stored all the same, and asks the disk once.
    door.ring("ring")
    door.watch(2)
    (failure,) = door.recorder.take_failures()
    assert failure.clip is None
    assert len(door.outbox.pending_events()) == 2
    disk.remove("others")
    door.ring("another ring")
    assert door.recorder.is_recording


def test_a_disk_that_fails_at_the_end_costs_at_most_the_last_second(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    door.watch(3)
    door.ring("ring")
    door.watch(1.2)

    def refuse(*_: object) -> None:
        monkeypatch.undo()
        raise DiskFullError("full")

    monkeypatch.setattr("doorstep_device.clip_writer.ClipWriter.finish", refuse)
    door.watch(3)
    (manifest,) = clips(door.outbox)
    assert manifest.truncated
    assert len(door.recorder.take_failures()) == 1


def test_a_clip_that_the_disk_does_not_even_let_be_ended_is_ended_later() -> None:
    disk = SimulatedDisk()
    door = Door(open_outbox(disk))
    door.watch(3)
    door.ring("ring")
    disk.make_read_only()
    door.watch(4)
    assert door.recorder.take_finished() == ()
    assert len(door.recorder.take_failures()) == 1
    disk.make_read_only(is_read_only=False)
    door.outbox.tidy(NOW_MS)
    (manifest,) = clips(door.outbox)
    assert manifest.truncated


def test_a_ring_that_cannot_be_noted_in_the_clip_ends_it(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    door.watch(3)
    door.move("motion")

    def refuse(*_: object) -> None:
        raise DiskFullError("full")

    with monkeypatch.context() as patched:
        patched.setattr("doorstep_device.clip_writer.ClipWriter.amend", refuse)
        door.ring("ring")
    assert not door.recorder.is_recording
    assert [manifest.kind for manifest in clips(door.outbox)] == [ClipKind.MOTION]


@pytest.mark.parametrize("pre_roll_us", [SECOND_US, 31 * SECOND_US])
def test_a_pre_roll_lasts_two_to_thirty_seconds(pre_roll_us: int) -> None:
    with pytest.raises(ValueError, match="2 to 30"):
        RecordingRules(pre_roll_us=pre_roll_us)


# ── thumbnail and details ──


def test_the_details_say_where_each_fragment_lies_and_when_it_begins(door: Door) -> None:
    door.watch(3)
    door.ring("ring")
    door.watch(4)
    (manifest,) = clips(door.outbox)
    clip = video(door.outbox, manifest)
    fragments = details(door.outbox, manifest)["fragments"]
    times = [at_ms for _, at_ms in fragments]
    assert times[0] == 0
    assert all(0 < later - earlier <= 500 for earlier, later in pairwise(times))
    offsets = [int(offset) for offset, _ in fragments]
    assert clip[4:8] == b"ftyp"
    assert all(clip[offset + 4 : offset + 8] == b"moof" for offset in offsets[1:])
    assert clip.count(b"moof") == len(fragments)
    # An index at the end would have its offsets wrong by the boxes between.
    assert b"mfra" not in clip


def test_the_details_hold_what_was_seen_before_and_during_the_clip(door: Door) -> None:
    for score in (0.1, 0.2, 0.3, 0.4, 0.5):
        door.watch(1)
        door.see(score)
    door.ring("ring")
    door.watch(1)
    door.see(0.6)
    door.recorder.saw(NO_MOTION, door.at_us + 1)
    door.watch(3)
    (manifest,) = clips(door.outbox)
    seen = details(door.outbox, manifest)
    assert [score for _, score in seen["scores"]] == [0.3, 0.4, 0.5, 0.6, 0.0]
    assert [at_ms - manifest.pre_roll_ms for at_ms, _ in seen["scores"]][2] == 0
    assert [box[1:] for box in seen["boxes"]] == [[1, 2, 3, 4]] * 4


def test_the_thumbnail_is_the_key_frame_around_which_most_moved(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered: list[Packet] = []

    def draw(key_frames: tuple[Packet, ...]) -> bytes:
        offered.extend(key_frames)
        return b"jpeg"

    monkeypatch.setattr("doorstep_device.take.draw_thumbnail", draw)
    door.watch(2)
    door.see(1.0)
    door.watch(1)
    door.move("motion")
    for score in (0.1, 0.4, 0.9, 0.2, 0.3):
        door.watch(0.6)
        door.see(score)
        door.watch(0.4)
    door.stand_still()
    door.watch(3)
    # Key frames come at whole seconds; what was seen is 0.4 s behind or 0.6 s before each.
    assert [packet.at_us // SECOND_US for packet in offered] == [5, 4, 7]


def test_an_event_after_the_last_key_frame_still_has_a_thumbnail() -> None:
    rules = replace(SHORT, episode=replace(SHORT.episode, post_roll_us=2 * FRAME_US))
    door = Door(open_outbox(SimulatedDisk()), rules)
    door.watch(3.4)
    door.ring("ring")
    door.watch(1)
    (manifest,) = clips(door.outbox)
    jpeg = open_object(door.outbox, manifest.clip, ObjectName.THUMB)
    assert jpeg.startswith(b"\xff\xd8\xff")


# ── a camera that goes, and comes back ──

LARGER = VideoFormat(width_px=96, height_px=64, fps=5.0)


def larger_film() -> list[Packet]:
    """Return six seconds of another camera, whose first packets cannot be decoded alone."""
    encoder = H264Encoder(LARGER)
    grey = np.full((64, 96, 3), 100, np.uint8)
    packets = [p for i in range(35) for p in encoder.encode(grey, i * FRAME_US)]
    return packets[2:]


def test_a_lost_camera_ends_the_clip_cleanly_and_one_that_is_back_begins_the_next_part(
    door: Door,
) -> None:
    door.watch(3)
    ring = door.ring("ring")
    door.watch(1)
    door.recorder.lose_camera(door.at_us)
    assert not door.recorder.is_recording
    (first,) = clips(door.outbox)
    assert not first.truncated
    # A second without pictures; then another camera.
    door.number += 4
    door.recorder.begin_camera(LARGER)
    for number, packet in enumerate(larger_film()):
        door.recorder.feed(replace(packet, at_us=(door.number + number) * FRAME_US))
    first, second = clips(door.outbox)
    assert [first.events, second.events] == [(ring,), (ring,)]
    assert [first.part, second.part] == [1, 2]
    assert second.pre_roll_ms == 0
    for manifest, size in ((first, (64, 48)), (second, (96, 64))):
        with av.open(io.BytesIO(video(door.outbox, manifest)), "r") as container:
            assert {(f.width, f.height) for f in container.decode(video=0)} == {size}
            assert (container.streams.video[0].width, container.streams.video[0].height) == size


def test_a_ring_while_the_camera_is_away_is_recorded_when_it_is_back_in_time(door: Door) -> None:
    door.watch(3)
    door.recorder.lose_camera(door.at_us)
    door.number += 5
    ring = door.ring("ring")
    assert clips(door.outbox) == []
    door.recorder.begin_camera(VIDEO)
    door.watch(6)
    (manifest,) = clips(door.outbox)
    assert (manifest.events, manifest.part) == ((ring,), 1)


def test_a_camera_that_is_back_too_late_records_nothing_of_it(door: Door) -> None:
    door.watch(3)
    door.move("motion")
    door.watch(1)
    door.recorder.lose_camera(door.at_us)
    door.ring("ring")
    door.number += 60
    door.recorder.begin_camera(VIDEO)
    door.watch(6)
    assert [manifest.kind for manifest in clips(door.outbox)] == [ClipKind.MOTION]
    assert not door.recorder.is_recording


def test_a_camera_that_is_lost_while_nothing_happens_leaves_no_pre_roll(door: Door) -> None:
    door.watch(3)
    door.recorder.lose_camera(door.at_us)
    door.recorder.begin_camera(VIDEO)
    door.number += 3
    door.watch(1)
    door.ring("ring")
    door.watch(4)
    (manifest,) = clips(door.outbox)
    assert (manifest.part, manifest.pre_roll_ms) == (1, 400)
