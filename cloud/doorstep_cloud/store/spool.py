"""Segments of payloads that have not all arrived, on the service's disk.

A payload under way is two files, its bytes and a journal of which bytes; what
the journal holds is `doorstep_shared.transfer`'s. Nothing here is synced: the
doorbell keeps its own copy until the object is stored elsewhere, and a hash
is checked before that. A payload's whole length is reserved when it begins, so
one that has begun can always be finished.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from doorstep_shared.errors import BadMessageError, TryLaterError
from doorstep_shared.ids import ClipId, DeviceId, parse_clip_id, parse_device_id
from doorstep_shared.manifest import ObjectName

DEVICE_LIMIT_BYTES: Final = 64 * 1024 * 1024
TOTAL_LIMIT_BYTES: Final = 2 * 1024 * 1024 * 1024

_JOURNAL: Final = ".journal"
_BYTES: Final = ".bytes"
# A journal longer than this was not written by us: 256 segments of at most 60 bytes, thrice.
_MAX_JOURNAL_BYTES: Final = 1024 * 1024


class SpoolWriteError(TryLaterError):
    """The spool's disk is full or failing."""


@dataclass(frozen=True, slots=True, order=True)
class SpoolKey:
    """Which payload: a doorbell's, of a clip, one of its objects."""

    device: DeviceId
    clip: ClipId
    object: ObjectName


class Spool:
    """A folder of unfinished payloads, each doorbell in a folder of its own.

    Calls for one key must not overlap; those for different keys may, except
    `reserve` and `discard`, which share the count.

    Attributes:
        device_limit_bytes: How much all payloads of one doorbell may take.
        total_limit_bytes: How much all may take.
    """

    def __init__(
        self,
        folder: Path,
        *,
        device_limit_bytes: int = DEVICE_LIMIT_BYTES,
        total_limit_bytes: int = TOTAL_LIMIT_BYTES,
    ) -> None:
        self._folder = folder
        self._reserved: dict[SpoolKey, int] = {}
        self.device_limit_bytes: Final = device_limit_bytes
        self.total_limit_bytes: Final = total_limit_bytes
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def keys(self) -> Iterator[SpoolKey]:
        """Yield every payload with a journal; what is no spool of ours is passed over."""
        for journal in sorted(self._folder.glob(f"*/*/*{_JOURNAL}")):
            clip = journal.parent
            try:
                device = parse_device_id(clip.parent.name)
                yield SpoolKey(device, parse_clip_id(clip.name), ObjectName(journal.stem))
            except (BadMessageError, ValueError):
                continue

    def reserve(self, key: SpoolKey, length: int) -> bool:
        """Set ``length`` bytes aside for ``key``; False when a limit would be passed."""
        others = {k: size for k, size in self._reserved.items() if k != key}
        of_device = sum(size for k, size in others.items() if k.device == key.device)
        if of_device + length > self.device_limit_bytes:
            return False
        if sum(others.values()) + length > self.total_limit_bytes:
            return False
        self._reserved[key] = length
        return True

    def release(self, key: SpoolKey) -> None:
        """Give back what was set aside for ``key``, if anything was."""
        self._reserved.pop(key, None)

    def reserved_bytes(self, device: DeviceId) -> int:
        """Return how much is set aside for one doorbell."""
        return sum(size for key, size in self._reserved.items() if key.device == device)

    @property
    def total_reserved_bytes(self) -> int:
        """Return how much is set aside for all doorbells."""
        return sum(self._reserved.values())

    def read_journal(self, key: SpoolKey) -> bytes:
        """Return the journal of ``key``; empty when there is none."""
        try:
            with self._path(key, _JOURNAL).open("rb") as file:
                return file.read(_MAX_JOURNAL_BYTES)
        except FileNotFoundError:
            return b""

    def write(self, key: SpoolKey, offset: int, data: bytes, record: bytes) -> None:
        """Write ``data`` at ``offset``, then append ``record`` to the journal.

        Raises:
            SpoolWriteError: The disk did not take it; the journal does not claim it.
        """
        path = self._path(key, _BYTES)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb", buffering=0) as file:
                _write_all(file.fileno(), data, offset)
            with self._path(key, _JOURNAL).open("ab") as journal:
                journal.write(record)
        except OSError as error:
            raise SpoolWriteError(
                "the spool's disk did not take a segment",
                safe="Nothing is lost: the doorbell keeps the clip.",
                do="make room on the service's disk",
                after_s=10.0,
            ) from error

    def written_bytes(self, key: SpoolKey) -> int:
        """Return how far the bytes of ``key`` reach; 0 when there are none."""
        try:
            return self._path(key, _BYTES).stat().st_size
        except FileNotFoundError:
            return 0

    def path(self, key: SpoolKey) -> Path:
        """Return the file with the bytes of ``key``."""
        return self._path(key, _BYTES)

    def discard(self, key: SpoolKey, journal: bytes = b"") -> None:
        """Remove the bytes of ``key`` and let ``journal`` be its whole journal.

        Without a journal its place is free again.
        """
        self._path(key, _BYTES).unlink(missing_ok=True)
        if journal:
            path = self._path(key, _JOURNAL)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_bytes(journal)
            return
        self._path(key, _JOURNAL).unlink(missing_ok=True)
        self.release(key)
        _remove_if_empty(self._path(key, _BYTES).parent)

    def _path(self, key: SpoolKey, suffix: str) -> Path:
        return self._folder / key.device / key.clip / f"{key.object.value}{suffix}"


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    rest = memoryview(data)
    while rest:
        count = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[count:], offset + count


def _remove_if_empty(clip: Path) -> None:
    for folder in (clip, clip.parent):
        try:
            folder.rmdir()
        except OSError:
            return
