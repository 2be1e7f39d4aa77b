"""The disk: every durable write of the doorbell goes through here.

Paths are relative, with ``/`` between names, under one root that the doorbell owns.
Power may fail after any single step of the file system below; what a method calls
durable has survived every such cut by the time the method returns.
"""

from types import TracebackType
from typing import Protocol, Self

from doorstep_shared.errors import RefusedError, TryLaterError


class DiskFullError(TryLaterError):
    """There is no room left; what was durable before still is."""


class DiskReadOnlyError(TryLaterError):
    """The file system takes no writes, as a worn card or one with errors does."""


class DiskBrokenError(RefusedError):
    """The disk failed to read, write or sync.

    After a failed sync nobody knows what was kept, and a second sync may say yes all the
    same: give the file up and read back what is there.
    """


class PathMissingError(RefusedError):
    """There is nothing at this path."""


class DiskFile(Protocol):
    """One open file; nothing written to it is durable before `sync` returns.

    Every method may raise the three errors of the disk.
    """

    def write_at(self, offset: int, data: bytes) -> None:
        """Put ``data`` at ``offset``; a gap before it reads as zeros and takes no room."""
        ...

    def read_at(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset``, fewer only at the file's end."""
        ...

    def size(self) -> int:
        """Return the length in bytes, gaps included."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the file to ``size`` bytes."""
        ...

    def sync(self) -> None:
        """Make what was written, and the length, durable (fdatasync)."""
        ...

    def close(self) -> None:
        """Give the file back; harmless when repeated."""
        ...

    def __enter__(self) -> Self:
        """Return this file."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


class Disk(Protocol):
    """The doorbell's folder, and nothing outside it.

    Every method may raise `DiskFullError` (those that write), `DiskReadOnlyError` (the
    same) and `DiskBrokenError`; `PathMissingError` where it is named.
    """

    def read(self, path: str) -> bytes:
        """Return the whole file.

        Raises:
            PathMissingError: There is none.
        """
        ...

    def exists(self, path: str) -> bool:
        """Return whether there is a file or folder; an empty path is the root."""
        ...

    def list_dir(self, path: str) -> list[str]:
        """Return the names in a folder, sorted; an empty path is the root.

        Raises:
            PathMissingError: There is no such folder.
        """
        ...

    def make_dir(self, path: str) -> None:
        """Make a folder in one that exists; durable. One that exists is left as it is."""
        ...

    def write_whole(self, path: str, data: bytes) -> None:
        """Replace the file by ``data``; durable, and after a cut either old or new, whole.

        A cut may leave ``{path}.tmp`` behind; the next call overwrites it.
        """
        ...

    def append_synced(self, path: str, data: bytes) -> None:
        """Add ``data`` to the end of the file, made if missing; durable.

        After a cut in between, any part of ``data`` may be there, or none.
        """
        ...

    def open(self, path: str) -> DiskFile:
        """Open a file to read and write, made if missing (then its name is durable)."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Move a file or folder to a name that is free in a folder that exists; durable.

        Raises:
            PathMissingError: There is nothing at ``old``.
        """
        ...

    def remove(self, path: str) -> None:
        """Remove a file; durable.

        Raises:
            PathMissingError: There is none.
        """
        ...

    def remove_tree(self, path: str) -> None:
        """Remove a folder and all in it; durable. A cut in between leaves some of it.

        Raises:
            PathMissingError: There is none.
        """
        ...

    def free_bytes(self) -> int:
        """Return how much more could be written."""
        ...
