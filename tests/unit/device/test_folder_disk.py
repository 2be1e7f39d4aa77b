"""What only the real folder can show: modes, errors of the kernel, ways out of it."""

import errno
import os
import stat
from pathlib import Path
from typing import NoReturn

import pytest

from doorstep_device.adapters.disk import CardInUseError, FolderDisk, held
from doorstep_device.ports.disk import (
    DiskBrokenError,
    DiskFullError,
    DiskReadOnlyError,
    PathMissingError,
)
from doorstep_shared.errors import DoorstepError


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_nobody_else_may_read_what_is_written(tmp_path: Path, umask: int) -> None:
    disk = FolderDisk(tmp_path)
    before = os.umask(umask)
    try:
        disk.make_dir("f")
        disk.write_whole("f/a", b"")
        disk.append_synced("f/b", b"")
        disk.open("f/c").close()
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {"f": 0o700, "a": 0o600, "b": 0o600, "c": 0o600}


@pytest.mark.parametrize("path", ["/etc/passwd", "../a", "f/../../a", ""])
def test_no_path_leads_out_of_the_folder(tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match="leads out"):
        FolderDisk(tmp_path / "root").write_whole(path, b"")


@pytest.mark.parametrize(
    ("code", "family"),
    [
        (errno.ENOSPC, DiskFullError),
        (errno.EDQUOT, DiskFullError),
        (errno.EROFS, DiskReadOnlyError),
        (errno.EIO, DiskBrokenError),
    ],
)
def test_the_kernels_refusals_become_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, family: type[DoorstepError]
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(code, os.strerror(code))

    disk = FolderDisk(tmp_path)
    with disk.open("a") as file:
        for name in ("pwrite", "write", "fdatasync", "ftruncate"):
            monkeypatch.setattr(os, name, refuse)
        with pytest.raises(family):
            file.write_at(0, b"x")
        with pytest.raises(family):
            file.sync()
        with pytest.raises(family):
            file.truncate(0)
        with pytest.raises(family):
            disk.append_synced("a", b"x")
        with pytest.raises(family):
            disk.write_whole("b", b"x")


def test_a_write_that_found_no_room_gives_its_room_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "full")

    disk = FolderDisk(tmp_path)
    disk.write_whole("a", b"old")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(DiskFullError):
        disk.write_whole("a", b"new")
    assert disk.list_dir("") == ["a"]
    assert disk.read("a") == b"old"


def test_a_closed_file_takes_nothing_more(tmp_path: Path) -> None:
    file = FolderDisk(tmp_path).open("a")
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.write_at(0, b"x")


def test_one_at_a_time_holds_a_card_and_leaves_nothing_on_it(tmp_path: Path) -> None:
    with held(tmp_path):
        with pytest.raises(CardInUseError) as caught, held(tmp_path):
            pass
        assert caught.value.safe
        assert caught.value.do
    with held(tmp_path):
        assert list(tmp_path.iterdir()) == []


def test_where_there_is_no_card_none_can_be_held(tmp_path: Path) -> None:
    with pytest.raises(PathMissingError), held(tmp_path / "none"):
        pass
