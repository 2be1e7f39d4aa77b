"""The outbox's folder: its format, and setting aside one that is not ours."""

import itertools
from collections.abc import Iterator
from typing import Final

from doorstep_device.chain import CHAIN_PATH, Chain, Link
from doorstep_device.clip_folder import OUTBOX, UNREADABLE
from doorstep_device.ports.disk import Disk, DiskBrokenError
from doorstep_shared.errors import BadMessageError

_FORMAT: Final = b"doorstep-outbox 1\n"
_FORMAT_PATH: Final = f"{OUTBOX}/format"
_NEW_OUTBOX: Final = frozenset({"format.tmp", "chain.json", "chain.json.tmp"})

OWN_NAMES: Final = frozenset({"format", *_NEW_OUTBOX})
"""What lies in the folder beside clips and logs."""


def prepare_folder(disk: Disk) -> tuple[str, ...]:
    """Make the outbox's folder, or set aside one in a format that is not ours.

    Returns:
        The paths of all that were ever set aside.
    """
    # Also when it exists: whoever made it may have been stopped before it was durable.
    if not disk.exists(_FORMAT_PATH):
        disk.make_dir(OUTBOX)
    if not _is_ours(disk):
        disk.rename(OUTBOX, next(path for path in _aside_paths() if not disk.exists(path)))
        disk.make_dir(OUTBOX)
    asides = tuple(itertools.takewhile(disk.exists, _aside_paths()))
    if not disk.exists(_FORMAT_PATH):
        # The numbers of manifests go on where the other outbox left off.
        if asides and not disk.exists(CHAIN_PATH) and disk.exists(f"{asides[-1]}/chain.json"):
            disk.write_whole(CHAIN_PATH, disk.read(f"{asides[-1]}/chain.json"))
        disk.write_whole(_FORMAT_PATH, _FORMAT)
    return asides


def open_chain(disk: Disk) -> Chain:
    """Return the chain; one that cannot be read is set aside.

    The manifests of the clips that are still here then say how far it had come.
    """
    try:
        return Chain.open(disk)
    except (BadMessageError, DiskBrokenError):
        disk.rename(CHAIN_PATH, CHAIN_PATH + UNREADABLE)
        return Chain(disk, Link())


def _is_ours(disk: Disk) -> bool:
    if disk.exists(_FORMAT_PATH):
        return disk.read(_FORMAT_PATH) == _FORMAT
    return set(disk.list_dir(OUTBOX)) <= _NEW_OUTBOX


def _aside_paths() -> Iterator[str]:
    return (f"{OUTBOX}.kept-{number}" for number in itertools.count(1))
