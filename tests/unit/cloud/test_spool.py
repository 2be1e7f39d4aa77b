"""Segments on disk: what is claimed is there, and no doorbell takes another's room."""

from pathlib import Path

import pytest

from doorstep_cloud.store.spool import Spool, SpoolKey, SpoolWriteError
from doorstep_shared.ids import draw_clip_id
from doorstep_shared.manifest import ObjectName
from tests.people import NOW_MS, doorbell, random_from

FRONT = doorbell("front").device.id
BACK = doorbell("back").device.id
CLIP = draw_clip_id(NOW_MS, random_from("clip"))
KEY = SpoolKey(FRONT, CLIP, ObjectName.FILE)
THUMB = SpoolKey(FRONT, CLIP, ObjectName.THUMB)
OTHERS = SpoolKey(BACK, CLIP, ObjectName.FILE)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", device_limit_bytes=100, total_limit_bytes=150)


def test_segments_in_any_order_make_the_whole(spool: Spool) -> None:
    spool.write(KEY, 4, b"efgh", b"second\n")
    spool.write(KEY, 0, b"abcd", b"first\n")
    assert spool.path(KEY).read_bytes() == b"abcdefgh"
    assert spool.read_journal(KEY) == b"second\nfirst\n"
    assert spool.written_bytes(KEY) == 8


def test_a_new_spool_finds_what_an_earlier_one_kept(spool: Spool, tmp_path: Path) -> None:
    spool.write(KEY, 0, b"abcd", b"record\n")
    again = Spool(tmp_path / "spool")
    assert list(again.keys()) == [KEY]
    assert again.read_journal(KEY) == b"record\n"


def test_what_is_no_spool_is_passed_over(spool: Spool, tmp_path: Path) -> None:
    (tmp_path / "spool" / "lost" / "found").mkdir(parents=True)
    (tmp_path / "spool" / "lost" / "found" / "file.journal").touch()
    (tmp_path / "spool" / FRONT / CLIP).mkdir(parents=True)
    (tmp_path / "spool" / FRONT / CLIP / "other.journal").touch()
    assert list(spool.keys()) == []


def test_nothing_is_there_before_it_is_written(spool: Spool) -> None:
    assert spool.read_journal(KEY) == b""
    assert spool.written_bytes(KEY) == 0


def test_a_doorbell_has_only_so_much_room(spool: Spool) -> None:
    assert spool.reserve(KEY, 60)
    assert not spool.reserve(THUMB, 60)
    assert spool.reserve(THUMB, 40)
    assert spool.reserved_bytes(FRONT) == 100


def test_all_together_have_only_so_much_room(spool: Spool) -> None:
    assert spool.reserve(KEY, 100)
    assert not spool.reserve(OTHERS, 60)
    assert spool.reserve(OTHERS, 50)


def test_reserving_again_replaces_and_does_not_add(spool: Spool) -> None:
    assert spool.reserve(KEY, 90)
    assert spool.reserve(KEY, 100)
    assert spool.reserved_bytes(FRONT) == 100


def test_what_is_discarded_leaves_no_trace_and_frees_its_room(spool: Spool, tmp_path: Path) -> None:
    spool.reserve(KEY, 100)
    spool.write(KEY, 0, b"abcd", b"record\n")
    spool.discard(KEY)
    assert list((tmp_path / "spool").iterdir()) == []
    assert spool.reserve(KEY, 100)


def test_a_discarded_object_leaves_its_neighbours(spool: Spool) -> None:
    spool.write(KEY, 0, b"abcd", b"record\n")
    spool.write(THUMB, 0, b"thumb", b"record\n")
    spool.discard(KEY)
    assert spool.path(THUMB).read_bytes() == b"thumb"


def test_a_spool_that_begins_again_keeps_its_new_journal_and_its_room(spool: Spool) -> None:
    spool.reserve(KEY, 100)
    spool.write(KEY, 0, b"abcd", b"record\n")
    spool.discard(KEY, b"failed\n")
    assert spool.written_bytes(KEY) == 0
    assert spool.read_journal(KEY) == b"failed\n"
    assert spool.reserved_bytes(FRONT) == 100


def test_a_segment_the_disk_does_not_take_is_not_claimed(spool: Spool, tmp_path: Path) -> None:
    # A file where the doorbell's folder would be: root may write anywhere, but not here.
    (tmp_path / "spool" / FRONT).write_bytes(b"")
    with pytest.raises(SpoolWriteError) as caught:
        spool.write(KEY, 0, b"abcd", b"record\n")
    assert caught.value.after_s is not None
    assert list(spool.keys()) == []


def test_nobody_else_may_look_into_the_spool(spool: Spool, tmp_path: Path) -> None:
    spool.write(KEY, 0, b"abcd", b"record\n")
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700
    assert spool.path(KEY).stat().st_mode & 0o777 == 0o600
