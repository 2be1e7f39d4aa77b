"""The audit after a fault lab: what is not as it should be is found, and nothing else."""

from dataclasses import replace

import pytest

from doorstep_shared.ids import ClipId, DeviceId, EventId
from doorstep_shared.manifest import ObjectName
from doorstep_simulator.chaos_audit import (
    TABLES,
    Bytes,
    Finding,
    Harm,
    Kept,
    KeptClip,
    Promised,
    audit,
    expected_rows,
)

DEVICE = DeviceId("07-device")
FILE = Bytes(3, b"f" * 32)
THUMB = Bytes(2, b"t" * 32)


def clip(name: str, seq: int, *events: str, part: int = 1) -> KeptClip:
    return KeptClip(
        clip=ClipId(name),
        is_stored=True,
        device=DEVICE,
        seq=seq,
        events=tuple(EventId(event) for event in events),
        part=part,
        objects={ObjectName.FILE: FILE, ObjectName.THUMB: THUMB},
    )


CLIPS = (clip("one", 1, "ring"), clip("two", 2, "motion"), clip("three", 3, "motion", part=2))
PROMISED = Promised(
    noticed={"ring", "motion", "cut off"}, events={"ring", "motion"}, clips={"one", "two", "three"}
)


def kept(clips: tuple[KeptClip, ...] = CLIPS, *events: str) -> Kept:
    """What a service has that keeps its word about these clips."""
    bucket = {
        f"clips/{one.clip}/{name.value}": facts
        for one in clips
        for name, facts in one.objects.items()
    }
    listed = Kept(events or ("motion", "ring"), clips, bucket)
    return replace(
        listed, rows={table: tuple(keys) for table, keys in expected_rows(listed).items()}
    )


def harms(promised: Promised, found: Kept) -> dict[Harm, list[str]]:
    by_harm: dict[Harm, list[str]] = {}
    for finding in audit(promised, found):
        by_harm.setdefault(finding.harm, []).append(finding.what)
    return by_harm


def test_nothing_is_found_where_every_promise_was_kept() -> None:
    assert audit(PROMISED, kept()) == ()


def test_an_event_that_was_noticed_and_not_kept_was_never_promised() -> None:
    assert audit(PROMISED, kept(CLIPS, "motion", "ring", "cut off")) == ()


def test_a_lost_event_is_found() -> None:
    assert audit(PROMISED, kept(CLIPS, "ring")) == (
        Finding(Harm.LOST, "the event motion is not at the service"),
    )


def test_an_event_that_nobody_noticed_is_found() -> None:
    assert harms(PROMISED, kept(CLIPS, "motion", "ring", "ghost")) == {
        Harm.STRAY: ["no doorbell told of the event ghost"]
    }


def test_a_doubled_event_is_found_in_the_list_and_in_the_table() -> None:
    found = harms(PROMISED, kept(CLIPS, "motion", "ring", "ring"))
    assert found == {Harm.DOUBLED: ["the event ring is listed twice"]}
    doubled = kept()
    doubled = replace(doubled, rows={**doubled.rows, "event": ("ring", "motion", "ring")})
    assert harms(PROMISED, doubled) == {
        Harm.DOUBLED: ["the row ring of the table event is there twice"]
    }


def test_a_lost_clip_is_found_by_its_promise_and_by_the_gap_it_leaves() -> None:
    found = harms(PROMISED, kept((CLIPS[0], CLIPS[2])))
    assert found == {
        Harm.LOST: [
            "the clip two is not stored at the service",
            f"clip number 2 of the doorbell {DEVICE} is missing",
        ]
    }


def test_a_clip_that_nobody_told_of_and_is_missing_leaves_a_gap() -> None:
    silent = replace(PROMISED, clips={"one", "three"})
    found = harms(silent, kept((CLIPS[0], CLIPS[2])))
    assert found == {Harm.LOST: [f"clip number 2 of the doorbell {DEVICE} is missing"]}


def test_a_clip_that_is_only_announced_is_lost() -> None:
    half = (replace(CLIPS[0], is_stored=False), *CLIPS[1:])
    assert harms(PROMISED, kept(half)) == {Harm.LOST: ["the clip one is not stored at the service"]}


def test_a_doubled_clip_is_found() -> None:
    found = kept((*CLIPS, CLIPS[0]))
    assert "the clip one is listed twice" in harms(PROMISED, found)[Harm.DOUBLED]


def test_two_clips_of_the_same_part_of_an_event_are_found() -> None:
    twice = (*CLIPS, clip("four", 4, "ring"))
    assert harms(PROMISED, kept(twice)) == {
        Harm.DOUBLED: ["part 1 of the event ring was recorded twice"]
    }


def test_two_clips_with_one_number_are_found() -> None:
    twice = (*CLIPS, clip("four", 3, "another"))
    assert harms(PROMISED, kept(twice)) == {
        Harm.DOUBLED: [f"two clips of the doorbell {DEVICE} have number 3"]
    }


def test_a_clip_that_does_not_open_is_found() -> None:
    closed = (replace(CLIPS[0], trouble="file does not open: wrong key"), *CLIPS[1:])
    assert harms(PROMISED, kept(closed)) == {
        Harm.ALTERED: ["the clip one: file does not open: wrong key"]
    }


@pytest.mark.parametrize("other", [Bytes(3, b"F" * 32), Bytes(4, b"f" * 32)])
def test_a_flipped_byte_in_the_bucket_is_found(other: Bytes) -> None:
    found = kept()
    flipped = replace(found, bucket={**found.bucket, "clips/two/file": other})
    assert harms(PROMISED, flipped) == {
        Harm.ALTERED: ["the object clips/two/file is not what the doorbell signed"]
    }


def test_a_lost_and_a_stray_object_are_found() -> None:
    found = kept()
    bucket = {**found.bucket, "probe": Bytes(0, bytes(32))}
    del bucket["clips/one/thumb"]
    assert harms(PROMISED, replace(found, bucket=bucket)) == {
        Harm.LOST: ["the object clips/one/thumb is not in the bucket"],
        Harm.STRAY: ["no clip has the object probe of the bucket"],
    }


@pytest.mark.parametrize("table", TABLES)
def test_a_missing_a_stray_and_a_doubled_row_are_found_in_every_table(table: str) -> None:
    found = kept()
    first, *others = found.rows[table]
    rows = {**found.rows, table: (*others, others[0], "ghost")}
    assert harms(PROMISED, replace(found, rows=rows)) == {
        Harm.LOST: [f"the row {first} of the table {table} is missing"],
        Harm.STRAY: [f"nothing listed has the row ghost of the table {table}"],
        Harm.DOUBLED: [f"the row {others[0]} of the table {table} is there twice"],
    }


def test_what_still_waits_on_a_card_is_lost_as_far_as_anybody_knows() -> None:
    waiting = replace(PROMISED, waiting={"nine": "the clip nine"})
    assert harms(waiting, kept()) == {Harm.LOST: ["the clip nine still waits on its card"]}
    stored = replace(PROMISED, waiting={"one": "the clip one"})
    assert harms(stored, kept()) == {Harm.LOST: ["the clip one still waits on its card"]}


def test_a_clip_that_never_came_is_one_loss_and_not_one_for_each_of_its_pieces() -> None:
    half = replace(CLIPS[0], is_stored=False)
    found = kept((half, *CLIPS[1:]))
    gone = {key: value for key, value in found.bucket.items() if "/one/" not in key}
    waiting = replace(PROMISED, waiting={"one": "the clip one"})
    assert harms(waiting, replace(found, bucket=gone)) == {
        Harm.LOST: ["the clip one is not stored at the service"]
    }


def test_a_payload_left_in_the_spool_is_found() -> None:
    left = replace(kept(), spool=("a/b/file.bytes",))
    assert harms(PROMISED, left) == {Harm.STRAY: ["the spool still holds a/b/file.bytes"]}
