"""The outbox's format is for ever: what was written once is read, and written the same."""

from pathlib import Path

import pytest

from doorstep_device.adapters.disk import FolderDisk
from doorstep_device.clip_ending import Ending
from doorstep_device.outbox import Outbox, Start
from doorstep_device.ports.disk import DiskBrokenError
from doorstep_shared.manifest import ClipKind, ObjectName
from doorstep_simulator.disk import SimulatedDisk
from tests.people import NOW_MS, random_from
from tests.recording import GIB, KEYS, SEALING, event, open_object, open_outbox

GOLDEN = Path(__file__).parents[2] / "golden" / "outbox-v1"


def fill(root: Path) -> None:
    """Write an outbox with two events, one of them acknowledged, and one clip."""
    outbox = Outbox.open(FolderDisk(root), KEYS, random=random_from("golden"), cap_bytes=GIB)
    outbox.put_event(ClipKind.RING, event("ring"))
    outbox.put_event(ClipKind.MOTION, event("motion"))
    outbox.mark_events_acked([event("motion").event])
    start = Start(
        kind=ClipKind.RING,
        events=(event("ring").event,),
        part=1,
        pre_roll_ms=6000,
        start_ms=NOW_MS,
        clock_synced=True,
    )
    writer = outbox.begin_clip(SEALING, start)
    ending = Ending(media_ms=14_000, is_last=True, thumb=b"a picture", details=b"{}")
    outbox.finish_clip(writer, b"a clip", ending)


def files(root: Path) -> dict[str, bytes]:
    found = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


def test_it_is_written_as_it_always_was(tmp_path: Path) -> None:
    fill(tmp_path)
    assert files(tmp_path) == files(GOLDEN)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    for name, data in files(GOLDEN).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    outbox = open_outbox(FolderDisk(tmp_path))
    assert outbox.problems == ()
    assert [entry.event for entry in outbox.pending_events()] == [event("ring")]
    (waiting,) = outbox.pending_clips()
    assert waiting.manifest.kind is ClipKind.RING
    clear = [open_object(outbox, waiting.clip, name) for name in ObjectName]
    assert clear == [b"a clip", b"a picture", b"{}"]


def test_a_chain_that_the_card_does_not_give_back_is_set_aside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = SimulatedDisk()
    open_outbox(disk)
    disk.write_whole("outbox/chain.json", b"bad block")
    read = disk.read

    def read_around_a_bad_block(path: str) -> bytes:
        if path == "outbox/chain.json":
            raise DiskBrokenError("the card failed")
        return read(path)

    monkeypatch.setattr(disk, "read", read_around_a_bad_block)
    paths = [problem.path for problem in open_outbox(disk).problems]
    assert paths == ["outbox/chain.json.unreadable"]
