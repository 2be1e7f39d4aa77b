"""What makes an object *stored*: hashed, put, read back, committed, in this order."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from doorstep_cloud.clips.deletion import note_objects_back
from doorstep_cloud.clips.service import ObjectState, find_object, object_key, record_stored
from doorstep_cloud.ingest.senders import find_sender
from doorstep_cloud.store.databases import Databases
from doorstep_cloud.store.objects import (
    ObjectConflictError,
    ObjectMissingError,
    ObjectStore,
    ObjectStoreError,
)
from doorstep_cloud.store.spool import SpoolKey
from doorstep_shared.errors import TryLaterError
from doorstep_shared.manifest import PayloadFacts
from doorstep_shared.receipts import Receipt, sign_receipt
from doorstep_shared.signing import SigningKey

RETRY_AFTER_MS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Stored:
    """It is stored, read back by checksum, and its row is committed.

    Attributes:
        receipt: The signed container for its doorbell.
    """

    receipt: bytes


@dataclass(frozen=True, slots=True)
class Mismatched:
    """The bytes that came are not those of the manifest."""


@dataclass(frozen=True, slots=True)
class Conflicted:
    """Other bytes are stored in its place."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Store or database are away, or the store did not keep what it was given.

    The spool is kept.

    Attributes:
        fact: Why, for the log.
    """

    retry_after_ms: int
    fact: str = ""


@dataclass(frozen=True, slots=True)
class NotHeard:
    """Its doorbell was revoked while it was under way: it is not stored."""


@dataclass(frozen=True, slots=True)
class NotAnnounced:
    """Its envelope was lost while it was under way: a receipt would be for what nobody can open."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """Its clip was deleted while it was under way: what was put is deleted again."""


Outcome: TypeAlias = Stored | Mismatched | Conflicted | Failed | NotHeard | NotAnnounced | Deleted


class StoreRoom:
    """Brings spooled payloads into the object store. Safe to use from any thread.

    Attributes:
        now_ms: The service's wall clock, Unix milliseconds.
    """

    def __init__(
        self,
        databases: Databases,
        objects: ObjectStore,
        receipt_key: SigningKey,
        now_ms: Callable[[], int],
    ) -> None:
        self._databases = databases
        self._objects = objects
        self._receipt_key = receipt_key
        self._now_ms = now_ms

    def keep(self, key: SpoolKey, facts: PayloadFacts, path: Path) -> Outcome:
        """Store the bytes in ``path`` as the object ``key`` whose manifest gave ``facts``."""
        if not _is_as_signed(path, facts):
            return Mismatched()
        try:
            return self._store(key, facts, path)
        except ObjectConflictError:
            return Conflicted()
        except ObjectMissingError:
            # Occupied a moment ago, and gone now.
            return Failed(RETRY_AFTER_MS, "the object store lost what it had just taken")
        except TryLaterError as error:
            after_ms = RETRY_AFTER_MS if error.after_s is None else round(error.after_s * 1000)
            return Failed(after_ms, error.fact)

    def _store(self, key: SpoolKey, facts: PayloadFacts, path: Path) -> Outcome:
        with self._databases.read() as unit:
            if find_sender(unit, key.device) is None:
                return NotHeard()
            if _is_deleted(find_object(unit, key.device, key.clip, key.object)):
                return Deleted()
        name = object_key(key.clip, key.object)
        is_new = self._objects.put_if_absent(name, path, facts.sha256)
        if flaw := self._flaw(name, facts, is_new=is_new):
            return flaw
        outcome = self._commit(key, facts)
        if isinstance(outcome, Deleted):
            with suppress(ObjectStoreError):  # then the worker goes there again
                self._objects.delete(name)
        return outcome

    def _flaw(self, name: str, facts: PayloadFacts, *, is_new: bool) -> Conflicted | Failed | None:
        """Return what is wrong with what the store says it has; None if it has the true bytes."""
        try:
            if self._objects.sha256_of(name) == facts.sha256:
                return None
        except ObjectMissingError:
            return Failed(RETRY_AFTER_MS, "the object store lost what it had just taken")
        if not is_new:
            return Conflicted()
        # Nobody else's: the store changed what we gave it. Left there, it would be in the way.
        self._objects.delete(name)
        return Failed(RETRY_AFTER_MS, "the object store kept other bytes than it was given")

    def _commit(
        self, key: SpoolKey, facts: PayloadFacts
    ) -> Stored | NotHeard | NotAnnounced | Deleted:
        """Commit the row of what was put, unless it is not wanted any more.

        Asked once more: the store takes its time, and nothing can come in between now.
        """
        receipt = Receipt(
            device=key.device,
            clip=key.clip,
            object=key.object,
            size=facts.length,
            sha256=facts.sha256,
        )
        signed = sign_receipt(receipt, self._receipt_key).encode()
        with self._databases.write() as unit:
            if find_sender(unit, key.device) is None:
                return NotHeard()
            state = find_object(unit, key.device, key.clip, key.object)
            if state is None:
                return NotAnnounced()
            if state.is_deleted:
                # The worker may have been there before the put arrived.
                note_objects_back(unit, key.clip)
            else:
                record_stored(unit, key.clip, key.object, signed, self._now_ms())
            unit.commit()
        return Deleted() if state.is_deleted else Stored(signed)


def _is_deleted(state: ObjectState | None) -> bool:
    return state is not None and state.is_deleted


def _is_as_signed(path: Path, facts: PayloadFacts) -> bool:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
            return file.tell() == facts.length and digest == facts.sha256
    except FileNotFoundError:
        return False
