"""The outbox keeps what the service has not stored, and gives way in the right order."""

import json
from dataclasses import replace

import pytest

from doorstep_device.clip_ending import Ending
from doorstep_device.outbox import ClipGoneError, Outbox, OutboxKeys, Problem, Start
from doorstep_device.ports.disk import DiskBrokenError, DiskFullError
from doorstep_shared.deletions import Deletion, sign_deletion
from doorstep_shared.errors import BadMessageError
from doorstep_shared.ids import ClipId, draw_clip_id
from doorstep_shared.manifest import ClipKind, Manifest, ObjectName
from doorstep_shared.receipts import Receipt, sign_receipt
from doorstep_shared.signing import Signed, SigningKey, WrongSignatureError
from doorstep_shared.tail import SLOT_OFFSETS, free_box
from doorstep_simulator.disk import SimulatedDisk
from tests.people import NOW_MS, doorbell, random_from
from tests.recording import (
    GIB,
    KEYS,
    RECEIPT_KEY,
    SEALING,
    event,
    open_object,
    open_outbox,
    pending,
    random_bytes,
)

DAY_MS = 24 * 3600 * 1000
MIB = 1024 * 1024


def start(kind: ClipKind = ClipKind.RING, name: str = "ring") -> Start:
    happened = event(name)
    return Start(
        kind=kind,
        events=(happened.event,),
        part=1,
        pre_roll_ms=6000,
        start_ms=NOW_MS,
        clock_synced=True,
    )


def record(outbox: Outbox, kind: ClipKind = ClipKind.RING, size_bytes: int = 1000) -> Manifest:
    writer = outbox.begin_clip(SEALING, start(kind))
    outbox.tick_clip(writer, bytes(size_bytes), 5000)
    ending = Ending(media_ms=9000, is_last=True, thumb=b"jpeg", details=b"{}")
    return outbox.finish_clip(writer, b"end", ending)


def receipt(
    manifest: Manifest,
    name: ObjectName,
    key: SigningKey = RECEIPT_KEY,
    changes: dict[str, object] | None = None,
) -> Signed:
    facts = manifest.objects[name].payload
    body = Receipt(
        device=manifest.device,
        clip=manifest.clip,
        object=name,
        size=facts.length,
        sha256=facts.sha256,
    )
    return sign_receipt(body.model_copy(update=changes or {}), key)


def store(outbox: Outbox, manifest: Manifest, now_ms: int = NOW_MS) -> None:
    for name in manifest.objects:
        outbox.mark_receipt(receipt(manifest, name), now_ms)


def test_a_finished_clip_waits_with_everything_the_manifest_names() -> None:
    outbox = open_outbox(SimulatedDisk())
    manifest = record(outbox)
    (waiting,) = outbox.pending_clips()
    assert waiting.manifest == manifest
    assert waiting.missing == (ObjectName.THUMB, ObjectName.DETAILS, ObjectName.FILE)
    assert not waiting.is_announced
    assert open_object(outbox, manifest.clip, ObjectName.THUMB) == b"jpeg"
    assert open_object(outbox, manifest.clip, ObjectName.DETAILS) == b"{}"
    clear = open_object(outbox, manifest.clip, ObjectName.FILE)
    assert (clear[:1000], clear[-3:]) == (bytes(1000), b"end")
    assert (manifest.pre_roll_ms, manifest.end - manifest.start) == (6000, 9000)


def test_a_payload_is_read_in_any_pieces_and_never_past_its_end() -> None:
    outbox = open_outbox(SimulatedDisk())
    manifest = record(outbox)
    length = manifest.file.payload.length
    whole = outbox.read_payload(manifest.clip, ObjectName.FILE, 0, GIB)
    assert len(whole) == length
    assert outbox.read_payload(manifest.clip, ObjectName.FILE, 10, 20) == whole[10:30]
    assert outbox.read_payload(manifest.clip, ObjectName.FILE, length - 1, 20) == whole[-1:]
    assert outbox.read_payload(manifest.clip, ObjectName.FILE, length + 5, 20) == b""


def test_the_manifests_are_one_chain_across_starts() -> None:
    disk = SimulatedDisk()
    first = record(open_outbox(disk))
    outbox = open_outbox(disk, "again")
    second = record(outbox)
    assert (first.seq, first.prev, second.seq) == (1, None, 2)
    assert second.prev == outbox.announcement(first.clip).manifest.body_hash


def test_rings_are_sent_first_and_old_clips_before_new_ones() -> None:
    outbox = open_outbox(SimulatedDisk())
    kinds = (ClipKind.MOTION, ClipKind.RING, ClipKind.MOTION, ClipKind.RING)
    for kind in kinds:
        record(outbox, kind)
    assert [waiting.manifest.seq for waiting in outbox.pending_clips()] == [2, 4, 1, 3]


def test_rings_among_the_events_are_sent_first() -> None:
    outbox = open_outbox(SimulatedDisk())
    for name, kind in (("a", ClipKind.MOTION), ("b", ClipKind.RING), ("c", ClipKind.MOTION)):
        outbox.put_event(kind, event(name))
    sent = [entry.event.event for entry in outbox.pending_events()]
    assert sent == [event(name).event for name in "bac"]


def test_a_clip_is_done_when_every_object_has_a_receipt() -> None:
    disk = SimulatedDisk()
    outbox = open_outbox(disk)
    manifest = record(outbox)
    assert outbox.mark_receipt(receipt(manifest, ObjectName.THUMB), NOW_MS) is None
    assert outbox.mark_receipt(receipt(manifest, ObjectName.FILE), NOW_MS) is None
    (waiting,) = open_outbox(disk).pending_clips()
    assert waiting.missing == (ObjectName.DETAILS,)
    assert outbox.mark_receipt(receipt(manifest, ObjectName.DETAILS), NOW_MS) == manifest.clip
    assert outbox.mark_receipt(receipt(manifest, ObjectName.DETAILS), NOW_MS) == manifest.clip
    for each in (outbox, open_outbox(disk)):
        assert each.pending_clips() == ()
        assert each.usage().cached_clips == 1


def test_a_receipt_under_another_key_counts_for_nothing() -> None:
    outbox = open_outbox(SimulatedDisk())
    manifest = record(outbox)
    other = SigningKey.generate(random_from("another service"))
    with pytest.raises(WrongSignatureError):
        outbox.mark_receipt(receipt(manifest, ObjectName.FILE, other), NOW_MS)
    assert ObjectName.FILE in outbox.pending_clips()[0].missing


def test_before_enrolment_no_receipt_counts() -> None:
    keys = OutboxKeys(KEYS.device, KEYS.manifest_key)
    outbox = Outbox.open(SimulatedDisk(), keys, random=random_bytes("x"), cap_bytes=GIB)
    manifest = record(outbox)
    with pytest.raises(WrongSignatureError):
        outbox.mark_receipt(receipt(manifest, ObjectName.FILE), NOW_MS)


@pytest.mark.parametrize(
    "changes", [{"size": 1}, {"sha256": bytes(32)}, {"device": doorbell("back").device.id}]
)
def test_a_receipt_for_other_bytes_counts_for_nothing(changes: dict[str, object]) -> None:
    outbox = open_outbox(SimulatedDisk())
    manifest = record(outbox)
    with pytest.raises(BadMessageError):
        outbox.mark_receipt(receipt(manifest, ObjectName.FILE, changes=changes), NOW_MS)
    assert ObjectName.FILE in outbox.pending_clips()[0].missing


def test_a_receipt_for_an_object_the_clip_never_had_counts_for_nothing() -> None:
    outbox = open_outbox(SimulatedDisk())
    writer = outbox.begin_clip(SEALING, start())
    manifest = outbox.finish_clip(writer, b"end", Ending(media_ms=1, is_last=True))
    forged = receipt(manifest, ObjectName.FILE, changes={"object": ObjectName.THUMB})
    with pytest.raises(BadMessageError):
        outbox.mark_receipt(forged, NOW_MS)


def test_answers_for_unknown_clips_are_passed_over() -> None:
    outbox = open_outbox(SimulatedDisk())
    manifest = record(open_outbox(SimulatedDisk(), "another card"))
    outbox.mark_announced(manifest.clip)
    assert outbox.mark_receipt(receipt(manifest, ObjectName.FILE), NOW_MS) is None


def test_what_is_not_there_cannot_be_read() -> None:
    outbox = open_outbox(SimulatedDisk())
    unknown = draw_clip_id(NOW_MS, random_from("unknown"))
    with pytest.raises(ClipGoneError):
        outbox.announcement(unknown)
    writer = outbox.begin_clip(SEALING, start())
    outbox.finish_clip(writer, b"end", Ending(media_ms=1, is_last=True))
    with pytest.raises(ClipGoneError):
        outbox.read_payload(writer.clip, ObjectName.THUMB, 0, 10)


def test_an_announced_clip_is_announced_again_after_a_start() -> None:
    disk = SimulatedDisk()
    outbox = open_outbox(disk)
    outbox.mark_announced(record(outbox).clip)
    assert outbox.pending_clips()[0].is_announced
    assert not open_outbox(disk).pending_clips()[0].is_announced


def test_a_clip_marked_refused_by_an_earlier_version_waits_like_any_other() -> None:
    disk = SimulatedDisk()
    manifest = record(open_outbox(disk))
    path = f"outbox/{manifest.clip}/clip.json"
    body = json.loads(disk.read(path))
    disk.write_whole(path, json.dumps({**body, "state": "refused", "refusal": "no"}).encode())
    outbox = open_outbox(disk)
    assert [waiting.clip for waiting in outbox.pending_clips()] == [manifest.clip]
    store(outbox, manifest)
    assert open_outbox(disk).usage().cached_clips == 1


def test_a_stored_clip_stays_for_a_day() -> None:
    disk = SimulatedDisk()
    outbox = open_outbox(disk)
    manifest = record(outbox)
    store(outbox, manifest)
    outbox.tidy(NOW_MS + DAY_MS - 1)
    assert outbox.usage().cached_clips == 1
    outbox.tidy(NOW_MS + DAY_MS)
    assert outbox.usage().cached_clips == 0
    assert outbox.usage().dropped_clips == 0
    assert not disk.exists(f"outbox/{manifest.clip}")
    assert record(open_outbox(disk)).seq == 2


def test_one_clip_is_recorded_at_a_time() -> None:
    outbox = open_outbox(SimulatedDisk())
    outbox.begin_clip(SEALING, start())
    with pytest.raises(ValueError, match="another clip"):
        outbox.begin_clip(SEALING, start())


def test_the_usage_counts_what_waits_and_what_is_recorded() -> None:
    outbox = open_outbox(SimulatedDisk())
    outbox.put_event(ClipKind.RING, event("ring"))
    record(outbox)
    before = outbox.usage()
    writer = outbox.begin_clip(SEALING, start())
    outbox.tick_clip(writer, bytes(MIB), 1000)
    usage = outbox.usage()
    assert (usage.waiting_events, before.waiting_clips, usage.waiting_clips) == (1, 1, 2)
    assert usage.total_bytes == usage.waiting_bytes
    assert usage.total_bytes - before.total_bytes > MIB


# ── room ──


def test_above_the_cap_stored_clips_give_way_then_motion_and_rings_last() -> None:
    outbox = open_outbox(SimulatedDisk(), cap_bytes=9 * MIB)
    ring = record(outbox, ClipKind.RING, 2 * MIB)
    motion = record(outbox, ClipKind.MOTION, 2 * MIB)
    stored = record(outbox, ClipKind.RING, 2 * MIB)
    store(outbox, stored)
    fourth = record(outbox, ClipKind.RING, 2 * MIB)
    fifth = record(outbox, ClipKind.RING, 2 * MIB)
    assert (outbox.usage().cached_clips, outbox.usage().dropped_clips) == (0, 0)
    assert pending(outbox).keys() == {ring.clip, motion.clip, fourth.clip, fifth.clip}
    sixth = record(outbox, ClipKind.RING, 2 * MIB)
    assert pending(outbox).keys() == {ring.clip, fourth.clip, fifth.clip, sixth.clip}
    assert outbox.usage().dropped_clips == 1
    seventh = record(outbox, ClipKind.RING, 2 * MIB)
    assert pending(outbox).keys() == {fourth.clip, fifth.clip, sixth.clip, seventh.clip}
    assert outbox.usage().total_bytes <= 9 * MIB


def test_no_ring_gives_way_to_motion() -> None:
    outbox = open_outbox(SimulatedDisk(), cap_bytes=5 * MIB)
    for _ in range(2):
        record(outbox, ClipKind.RING, 2 * MIB)
    with pytest.raises(DiskFullError):
        record(outbox, ClipKind.MOTION, 2 * MIB)
    assert len(outbox.pending_clips()) == 2
    assert outbox.usage().dropped_clips == 0


def test_a_clip_that_grows_makes_room_for_itself() -> None:
    outbox = open_outbox(SimulatedDisk(), cap_bytes=8 * MIB)
    old = record(outbox, ClipKind.MOTION, 4 * MIB)
    writer = outbox.begin_clip(SEALING, start())
    outbox.tick_clip(writer, bytes(MIB), 1000)
    assert old.clip in pending(outbox)
    outbox.tick_clip(writer, bytes(3 * MIB), 2000)
    assert old.clip not in pending(outbox)


def test_a_card_that_others_fill_makes_old_clips_give_way_and_events_still_fit() -> None:
    disk = SimulatedDisk(capacity_bytes=20 * MIB)
    outbox = open_outbox(disk)
    record(outbox, ClipKind.MOTION, 4 * MIB)
    disk.write_whole("others", bytes(9 * MIB))
    outbox.tidy(NOW_MS)
    assert outbox.usage().dropped_clips == 1
    disk.write_whole("more", bytes(5 * MIB))
    with pytest.raises(DiskFullError):
        outbox.begin_clip(SEALING, start())
    outbox.put_event(ClipKind.RING, event("ring"))
    assert len(open_outbox(disk).pending_events()) == 1


def test_a_clip_that_the_disk_fails_ends_with_its_last_tick() -> None:
    disk = SimulatedDisk(capacity_bytes=12 * MIB)
    outbox = open_outbox(disk)
    writer = outbox.begin_clip(SEALING, start())
    outbox.tick_clip(writer, bytes(MIB), 1000)
    with pytest.raises(DiskFullError):
        outbox.tick_clip(writer, bytes(8 * MIB), 2000)
    manifest = outbox.break_off_clip(writer)
    assert manifest is not None
    assert (manifest.truncated, manifest.end - manifest.start) == (True, 1000)
    assert (manifest.thumb, manifest.details) == (None, None)
    # It was cut before its event, so all of it is pre-roll.
    assert manifest.pre_roll_ms == 1000
    assert open_object(outbox, manifest.clip, ObjectName.FILE)[:MIB] == bytes(MIB)


def test_a_clip_that_broke_off_before_its_first_tick_never_was() -> None:
    disk = SimulatedDisk()
    outbox = open_outbox(disk)
    writer = outbox.begin_clip(SEALING, start())
    assert outbox.break_off_clip(writer) is None
    assert outbox.usage().waiting_clips == 0
    assert not disk.exists(f"outbox/{writer.clip}")


def recording_cut(disk: SimulatedDisk, ticks: int) -> str:
    """Return the path of the payload of a recording that was cut."""
    outbox = open_outbox(disk)
    writer = outbox.begin_clip(SEALING, start())
    for tick in range(ticks):
        outbox.tick_clip(writer, free_box(MIB), 1000 * (tick + 1))
    return f"outbox/{writer.clip}/payload"


def flip_bit(disk: SimulatedDisk, path: str, offset: int) -> None:
    with disk.open(path) as file:
        (byte,) = file.read_at(offset, 1)
        file.write_at(offset, bytes([byte ^ 1]))
        file.sync()


@pytest.mark.parametrize("ticks", [1, 2, 3])
@pytest.mark.parametrize("place", ["nonce", "body", "slots"])
def test_a_cut_recording_with_one_rotten_bit_is_kept_and_told(ticks: int, place: str) -> None:
    disk = SimulatedDisk()
    path = recording_cut(disk, ticks)
    rotten = {"nonce": [0], "body": [MIB // 2], "slots": [each + 99 for each in SLOT_OFFSETS]}
    for offset in rotten[place][:ticks]:
        flip_bit(disk, path, offset)
    found = disk.read(path)
    for _ in range(2):
        outbox = open_outbox(disk)
        (problem,) = outbox.problems
        assert problem.path == path.removesuffix("/payload")
        assert "damaged" in problem.fact
        assert outbox.pending_clips() == ()
    assert disk.read(path) == found


def test_a_rotten_bit_in_the_newest_slot_costs_the_last_tick_only() -> None:
    disk = SimulatedDisk()
    path = recording_cut(disk, 2)
    flip_bit(disk, path, SLOT_OFFSETS[1] + 99)
    outbox = open_outbox(disk)
    (manifest,) = pending(outbox).values()
    assert manifest.end - manifest.start == 1000
    assert outbox.problems == ()


def test_a_clip_that_cannot_even_be_ended_waits_for_better_times() -> None:
    disk = SimulatedDisk()
    outbox = open_outbox(disk)
    writer = outbox.begin_clip(SEALING, start())
    outbox.tick_clip(writer, bytes(MIB), 1000)
    disk.make_read_only()
    assert outbox.break_off_clip(writer) is None
    assert outbox.usage().waiting_clips == 1
    disk.make_read_only(is_read_only=False)
    outbox.tidy(NOW_MS)
    (waiting,) = outbox.pending_clips()
    assert waiting.clip == writer.clip
    assert waiting.manifest.truncated


def test_a_card_that_takes_no_more_writes_can_still_be_delivered() -> None:
    disk = SimulatedDisk()
    outbox = open_outbox(disk)
    outbox.put_event(ClipKind.RING, event("ring"))
    record(outbox)
    whole = record(outbox)
    writer = outbox.begin_clip(SEALING, start())
    outbox.tick_clip(writer, bytes(MIB), 1000)
    disk.append_synced("outbox/events-0.log", b"torn")
    disk.rename(f"outbox/{whole.clip}", f"outbox/{whole.clip}.gone")
    disk.remove("outbox/chain.json")
    disk.make_read_only()
    outbox = open_outbox(disk)
    assert outbox.problems == ()
    assert len(outbox.pending_events()) == 1
    (manifest,) = pending(outbox).values()
    assert open_object(outbox, manifest.clip, ObjectName.FILE)
    disk.make_read_only(is_read_only=False)
    outbox.put_event(ClipKind.RING, event("later"))
    outbox.tidy(NOW_MS)
    assert len(open_outbox(disk).pending_events()) == len(pending(outbox)) == 2


def test_a_file_that_cannot_even_be_closed_is_given_up_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outbox = open_outbox(SimulatedDisk())
    writer = outbox.begin_clip(SEALING, start())
    outbox.tick_clip(writer, bytes(MIB), 1000)

    def refuse() -> None:
        raise DiskBrokenError("the card failed")

    monkeypatch.setattr(writer.file, "close", refuse)
    assert outbox.break_off_clip(writer) is not None


def test_tidying_leaves_the_clip_that_is_being_recorded_alone() -> None:
    outbox = open_outbox(SimulatedDisk())
    writer = outbox.begin_clip(SEALING, start())
    outbox.tick_clip(writer, bytes(MIB), 1000)
    outbox.tidy(NOW_MS)
    assert outbox.pending_clips() == ()
    manifest = outbox.finish_clip(writer, b"end", Ending(media_ms=2000, is_last=True))
    assert (manifest.truncated, manifest.seq) == (False, 1)


def test_a_manifest_that_was_durable_in_spite_of_an_error_is_not_signed_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = SimulatedDisk()
    outbox = open_outbox(disk)
    writer = outbox.begin_clip(SEALING, start())
    write_whole = disk.write_whole

    def fail_behind(path: str, data: bytes) -> None:
        write_whole(path, data)
        if path.endswith("clip.json"):
            monkeypatch.undo()
            raise DiskBrokenError("the folder could not be synced")

    monkeypatch.setattr(disk, "write_whole", fail_behind)
    with pytest.raises(DiskBrokenError):
        outbox.finish_clip(writer, b"end", Ending(media_ms=2000, is_last=True))
    manifest = outbox.break_off_clip(writer)
    assert manifest is not None
    assert not manifest.truncated
    assert record(outbox).seq == 2


def test_a_recording_nobody_can_read_is_told_and_does_not_stop_the_start() -> None:
    disk = SimulatedDisk()
    outbox = open_outbox(disk)
    writer = outbox.begin_clip(SEALING, start())
    outbox.tick_clip(writer, bytes(MIB), 1000)
    disk.write_whole(f"outbox/{writer.clip}/clip.json", b"{")
    assert outbox.break_off_clip(writer) is None
    for each in (outbox, open_outbox(disk)):
        assert [problem.path for problem in each.problems] == [f"outbox/{writer.clip}"]
    assert disk.exists(f"outbox/{writer.clip}/payload")


def test_a_clip_that_lost_its_thumbnail_or_its_manifest_is_kept_and_told() -> None:
    disk = SimulatedDisk()
    first, second = (record(open_outbox(disk, name)).clip for name in "ab")
    disk.remove(f"outbox/{first}/thumb")
    body = json.loads(disk.read(f"outbox/{second}/clip.json"))
    disk.write_whole(f"outbox/{second}/clip.json", json.dumps({**body, "manifest": None}).encode())
    facts = [problem.fact for problem in open_outbox(disk).problems]
    assert facts == ["its thumb is missing or too short", "its clip.json holds no manifest"]


def test_thumbnail_and_details_are_left_out_where_only_the_video_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = SimulatedDisk()
    outbox = open_outbox(disk)
    write_whole = disk.write_whole

    def refuse_small_objects(path: str, data: bytes) -> None:
        if path.endswith(("thumb", "details")):
            raise DiskFullError("full")
        write_whole(path, data)

    monkeypatch.setattr(disk, "write_whole", refuse_small_objects)
    manifest = record(outbox)
    assert (manifest.thumb, manifest.details, manifest.truncated) == (None, None, False)
    assert outbox.pending_clips()[0].missing == (ObjectName.FILE,)


# ── what nobody here can read ──


def test_a_clip_nobody_can_read_is_kept_and_told() -> None:
    disk = SimulatedDisk()
    whole, broken, newer, short = (record(open_outbox(disk, name)).clip for name in "abcd")
    disk.write_whole(f"outbox/{broken}/clip.json", b"{")
    body = json.loads(disk.read(f"outbox/{newer}/clip.json"))
    disk.write_whole(f"outbox/{newer}/clip.json", json.dumps({**body, "v": 2}).encode())
    with disk.open(f"outbox/{short}/payload") as file:
        file.truncate(100)
        file.sync()
    outbox = open_outbox(disk)
    paths = {problem.path for problem in outbox.problems}
    assert paths == {f"outbox/{clip}" for clip in (broken, newer, short)}
    assert pending(outbox).keys() == {whole}
    assert all(disk.exists(path) for path in paths)


def test_a_field_of_a_newer_agent_is_passed_over() -> None:
    disk = SimulatedDisk()
    clip = record(open_outbox(disk)).clip
    body = json.loads(disk.read(f"outbox/{clip}/clip.json"))
    disk.write_whole(f"outbox/{clip}/clip.json", json.dumps({**body, "mood": "fine"}).encode())
    assert pending(open_outbox(disk)).keys() == {clip}


def test_a_folder_without_its_record_is_kept_and_told() -> None:
    disk = SimulatedDisk()
    clip = record(open_outbox(disk)).clip
    disk.remove(f"outbox/{clip}/clip.json")
    disk.write_whole("outbox/shopping list", b"milk")
    paths = {problem.path for problem in open_outbox(disk).problems}
    assert paths == {f"outbox/{clip}", "outbox/shopping list"}


def test_an_outbox_of_another_format_is_set_aside_and_numbers_go_on() -> None:
    disk = SimulatedDisk()
    clip = record(open_outbox(disk)).clip
    disk.write_whole("outbox/format", b"doorstep-outbox 2\n")
    for outbox in (open_outbox(disk), open_outbox(disk)):
        assert [problem.path for problem in outbox.problems] == ["outbox.kept-1"]
        assert outbox.pending_clips() == ()
    assert disk.exists(f"outbox.kept-1/{clip}/payload")
    assert record(open_outbox(disk)).seq == 2


def test_a_folder_that_is_no_outbox_is_set_aside_too() -> None:
    disk = SimulatedDisk()
    disk.make_dir("outbox")
    disk.write_whole("outbox/photos", b"")
    assert [problem.path for problem in open_outbox(disk).problems] == ["outbox.kept-1"]
    assert disk.exists("outbox.kept-1/photos")


def test_setting_aside_survives_a_cut_at_any_step() -> None:
    disk = SimulatedDisk()
    record(open_outbox(disk))
    disk.write_whole("outbox/format", b"doorstep-outbox 2\n")
    steps = len(disk.steps)
    open_outbox(disk)
    for cut in range(steps, len(disk.steps) + 1):
        outbox = open_outbox(disk.after_cut(cut))
        assert [problem.path for problem in outbox.problems] == ["outbox.kept-1"], cut
        assert record(outbox).seq == 2, cut


def test_a_chain_that_cannot_be_read_goes_on_from_the_clips_that_are_here() -> None:
    disk = SimulatedDisk()
    record(open_outbox(disk, "a"))
    record(open_outbox(disk, "b"))
    disk.write_whole("outbox/chain.json", b"{}")
    outbox = open_outbox(disk)
    assert [problem.path for problem in outbox.problems] == ["outbox/chain.json.unreadable"]
    assert record(outbox).seq == 3


def test_a_damaged_log_of_events_is_told_at_every_start() -> None:
    disk = SimulatedDisk()
    outbox = open_outbox(disk)
    for name in "abc":
        outbox.put_event(ClipKind.RING, event(name))
    damaged = bytearray(disk.read("outbox/events-0.log"))
    damaged[40] ^= 1
    disk.write_whole("outbox/events-0.log", bytes(damaged))
    disk.make_read_only()
    outbox = open_outbox(disk)
    assert outbox.problems == (Problem("outbox/events-0.log", "it could not be read whole"),)
    disk.make_read_only(is_read_only=False)
    set_aside = Problem(
        "outbox/events-0.log.unreadable", "it could not be read whole, and was set aside"
    )
    for each in (open_outbox(disk), open_outbox(disk)):
        assert each.problems == (set_aside,)
        assert len(each.pending_events()) == 2


def test_a_receipt_key_pinned_later_is_used() -> None:
    disk = SimulatedDisk()
    keys = replace(KEYS, receipt_key=None)
    manifest = record(Outbox.open(disk, keys, random=random_bytes("x"), cap_bytes=GIB))
    outbox = open_outbox(disk, "later")
    store(outbox, manifest)
    assert outbox.pending_clips() == ()


def test_a_clip_id_is_drawn_from_the_time_of_its_first_frame() -> None:
    clip = record(open_outbox(SimulatedDisk())).clip
    assert int(ClipId(clip).replace("-", "")[:12], 16) == NOW_MS


def deletion(
    outbox: Outbox,
    manifest: Manifest,
    key: SigningKey = RECEIPT_KEY,
    changes: dict[str, object] | None = None,
) -> Signed:
    body = Deletion(
        household=manifest.household,
        clip=manifest.clip,
        manifest=outbox.announcement(manifest.clip).manifest.body_hash,
        at=NOW_MS,
    )
    return sign_deletion(body.model_copy(update=changes or {}), key)


def test_a_clip_that_the_service_signed_away_goes_at_once_and_for_good() -> None:
    disk = SimulatedDisk()
    outbox = open_outbox(disk)
    manifest, other = record(outbox), record(outbox)
    signed = deletion(outbox, manifest)
    assert outbox.mark_deleted(signed) == manifest.clip
    assert outbox.mark_deleted(signed) is None
    assert [waiting.clip for waiting in outbox.pending_clips()] == [other.clip]
    assert [waiting.clip for waiting in open_outbox(disk).pending_clips()] == [other.clip]


def test_nothing_is_let_go_for_a_forged_deletion_or_for_another_clips() -> None:
    outbox = open_outbox(SimulatedDisk())
    manifest, other = record(outbox), record(outbox)
    stranger = SigningKey.generate(random_from("stranger"))
    with pytest.raises(WrongSignatureError):
        outbox.mark_deleted(deletion(outbox, manifest, stranger))
    assert outbox.mark_deleted(deletion(outbox, manifest, changes={"clip": other.clip})) is None
    assert outbox.mark_deleted(deletion(outbox, manifest, changes={"manifest": bytes(32)})) is None
    assert len(outbox.pending_clips()) == 2
