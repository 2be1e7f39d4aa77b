"""The doorbell's folder on a real file system."""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final

from doorstep_device.ports.disk import (
    DiskBrokenError,
    DiskFile,
    DiskFullError,
    DiskReadOnlyError,
    PathMissingError,
)
from doorstep_shared.errors import RefusedError

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
_PRIVATE_FILE: Final = 0o600
_PRIVATE_FOLDER: Final = 0o700


class CardInUseError(RefusedError):
    """Another process works as the doorbell of this card."""


@contextmanager
def held(root: Path) -> Iterator[None]:
    """Keep every other doorbell off the card at ``root`` while the block runs.

    Two would answer to one name and take each other's clips for damage. The lock is on the
    folder itself, so that a card which is full or read-only can be held too; the kernel
    releases it with the process, however that ends.

    Raises:
        CardInUseError: Another one holds it.
        RefusedError: There is no such folder, or it cannot be opened.
    """
    with _our_errors(root):
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with _our_errors(root):
            _lock(root, folder)
        yield
    finally:
        os.close(folder)


class FolderFile(DiskFile):
    """One open file of a `FolderDisk`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor: int | None = descriptor

    @property
    def _open(self) -> int:
        if self._descriptor is None:
            raise ValueError("this file was closed before")
        return self._descriptor

    def write_at(self, offset: int, data: bytes) -> None:
        """As `DiskFile.write_at`."""
        view = memoryview(data)
        with _our_errors(self._path):
            while view:
                written = os.pwrite(self._open, view, offset)
                view, offset = view[written:], offset + written

    def read_at(self, offset: int, size: int) -> bytes:
        """As `DiskFile.read_at`."""
        found = bytearray()
        with _our_errors(self._path):
            while len(found) < size:
                piece = os.pread(self._open, size - len(found), offset + len(found))
                if not piece:
                    break
                found += piece
        return bytes(found)

    def size(self) -> int:
        """As `DiskFile.size`."""
        with _our_errors(self._path):
            return os.fstat(self._open).st_size

    def truncate(self, size: int) -> None:
        """As `DiskFile.truncate`."""
        with _our_errors(self._path):
            os.ftruncate(self._open, size)

    def sync(self) -> None:
        """As `DiskFile.sync`."""
        with _our_errors(self._path):
            os.fdatasync(self._open)

    def close(self) -> None:
        """As `DiskFile.close`."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with _our_errors(self._path):
                os.close(descriptor)


class FolderDisk:
    """Implements `Disk` under one folder, private to its user."""

    def __init__(self, root: Path) -> None:
        self._root: Final = root

    def read(self, path: str) -> bytes:
        """As `Disk.read`."""
        full = self._at(path)
        with _our_errors(full):
            return full.read_bytes()

    def exists(self, path: str) -> bool:
        """As `Disk.exists`."""
        full = self._at(path) if path else self._root
        with _our_errors(full):
            return full.exists()

    def list_dir(self, path: str) -> list[str]:
        """As `Disk.list_dir`."""
        full = self._at(path) if path else self._root
        with _our_errors(full):
            return sorted(entry.name for entry in full.iterdir())

    def make_dir(self, path: str) -> None:
        """As `Disk.make_dir`."""
        full = self._at(path)
        with _our_errors(full):
            full.mkdir(mode=_PRIVATE_FOLDER, exist_ok=True)
            _sync_folder(full.parent)

    def write_whole(self, path: str, data: bytes) -> None:
        """As `Disk.write_whole`."""
        full = self._at(path)
        new = full.with_name(full.name + ".tmp")
        with _our_errors(full):
            try:
                with _descriptor(new, _NEW_FILE | os.O_TRUNC) as descriptor:
                    _write_all(descriptor, data)
                    os.fsync(descriptor)
                new.replace(full)
            except OSError:
                # Its room is wanted back: the disk may be full.
                new.unlink(missing_ok=True)
                raise
            _sync_folder(full.parent)

    def append_synced(self, path: str, data: bytes) -> None:
        """As `Disk.append_synced`."""
        full = self._at(path)
        with _our_errors(full):
            is_new = not full.exists()
            with _descriptor(full, _NEW_FILE | os.O_APPEND) as descriptor:
                _write_all(descriptor, data)
                os.fdatasync(descriptor)
            if is_new:
                _sync_folder(full.parent)

    def open(self, path: str) -> DiskFile:
        """As `Disk.open`."""
        full = self._at(path)
        with _our_errors(full):
            is_new = not full.exists()
            descriptor = os.open(full, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE)
            if is_new:
                _sync_folder(full.parent)
        return FolderFile(full, descriptor)

    def rename(self, old: str, new: str) -> None:
        """As `Disk.rename`."""
        source, target = self._at(old), self._at(new)
        with _our_errors(source):
            source.rename(target)
            _sync_folder(target.parent)

    def remove(self, path: str) -> None:
        """As `Disk.remove`."""
        full = self._at(path)
        with _our_errors(full):
            full.unlink()
            _sync_folder(full.parent)

    def remove_tree(self, path: str) -> None:
        """As `Disk.remove_tree`."""
        full = self._at(path)
        with _our_errors(full):
            shutil.rmtree(full)
            _sync_folder(full.parent)

    def free_bytes(self) -> int:
        """As `Disk.free_bytes`."""
        with _our_errors(self._root):
            facts = os.statvfs(self._root)
            return facts.f_bavail * facts.f_frsize

    def _at(self, path: str) -> Path:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts:
            raise ValueError(f"this path leads out of the doorbell's folder: {path}")
        return self._root.joinpath(*parts)


def _lock(root: Path, folder: int) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise CardInUseError(
            f"a doorbell works on this card already ({root})",
            safe="It was left alone, and nothing was changed.",
            do="let it work, or end it where it runs; a second doorbell takes a folder and a "
            "claim of its own (doorstep device add)",
        ) from error


@contextmanager
def _descriptor(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags, _PRIVATE_FILE)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _our_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise PathMissingError(f"there is nothing at {path}") from error
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFullError(
                "there is no room left on the card",
                safe="What was recorded before is kept.",
                do="use a bigger card, or give the outbox less of this one",
            ) from error
        if error.errno == errno.EROFS:
            raise DiskReadOnlyError(
                "the card takes no more writes",
                safe="What was recorded before can still be read.",
                do="start the doorbell again; if it stays so, replace the card",
            ) from error
        raise DiskBrokenError(
            f"the card failed at {path}: {error.strerror}",
            do="start the doorbell again; if it stays so, replace the card",
        ) from error
