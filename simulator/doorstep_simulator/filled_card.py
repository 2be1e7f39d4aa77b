"""A doorbell's card that a hand can fill up: from then on it takes no further byte."""

from pathlib import Path

from doorstep_device.adapters.disk import FolderDisk
from doorstep_device.ports.disk import DiskFile, DiskFullError


class FilledCard(FolderDisk):
    """A folder as a card, full while it is said to be.

    As full as one whose last inodes or quota are gone: what is there can be read, moved
    and removed, and `free_bytes` still tells of room that nobody gets. So the outbox gives
    nothing up to make room, and every promise it made can be called in.

    Attributes:
        is_full: Whether every write is refused.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.is_full = False

    def require_room(self) -> None:
        """Return if a write would find room.

        Raises:
            DiskFullError: The card is full.
        """
        if self.is_full:
            raise DiskFullError("the card is full", safe="What is on it is kept.")

    def make_dir(self, path: str) -> None:
        """As `Disk.make_dir`."""
        self.require_room()
        super().make_dir(path)

    def write_whole(self, path: str, data: bytes) -> None:
        """As `Disk.write_whole`."""
        self.require_room()
        super().write_whole(path, data)

    def append_synced(self, path: str, data: bytes) -> None:
        """As `Disk.append_synced`."""
        self.require_room()
        super().append_synced(path, data)

    def open(self, path: str) -> DiskFile:
        """As `Disk.open`."""
        if not self.exists(path):
            self.require_room()
        return _CardFile(super().open(path), self)


class _CardFile(DiskFile):
    """An open file on the card."""

    def __init__(self, inner: DiskFile, card: FilledCard) -> None:
        self._inner = inner
        self._card = card

    def write_at(self, offset: int, data: bytes) -> None:
        self._card.require_room()
        self._inner.write_at(offset, data)

    def read_at(self, offset: int, size: int) -> bytes:
        return self._inner.read_at(offset, size)

    def size(self) -> int:
        return self._inner.size()

    def truncate(self, size: int) -> None:
        self._inner.truncate(size)

    def sync(self) -> None:
        self._inner.sync()

    def close(self) -> None:
        self._inner.close()
