"""Deleting clips from end to end, each step in a unit of work of its own.

The order is docs/lifecycle.md's: hidden, what opens it deleted, the log cut, signed, and
the objects later. Cut anywhere, the same calls again come to the same end.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import structlog

from doorstep_cloud.clips.deletion import (
    bury,
    clips_over,
    drop_envelopes,
    envelopes_of_tombstones,
    find_tombstone,
    keep_receipt,
    note_objects_deleted,
    tombstones_with_objects,
    unopenable,
)
from doorstep_cloud.clips.service import object_key
from doorstep_cloud.store.databases import Databases, Unit
from doorstep_cloud.store.objects import ObjectStore, ObjectStoreError
from doorstep_shared.ids import ClipId, HouseholdId
from doorstep_shared.manifest import ObjectName
from doorstep_shared.signing import Signed, SigningKey

ClipListener = Callable[[Sequence[ClipId]], None]
"""Is told, after the commit, which clips have become tombstones; it must not block."""

BATCH: Final = 100
"""Clips in one unit of work: rings wait for no longer than that takes, some 10 ms."""

_IS_AWAY: Final = 10
"""Clips in a row whose objects do not go: then it is the store, and not an object."""

_log = structlog.get_logger(__name__)


class Deleter:
    """Deletes clips. Safe to use from any thread.

    Args:
        databases: Migrated.
        objects: Where payloads are.
        receipt_key: Signs for what is deleted.
        now_ms: The service's wall clock, Unix milliseconds.
        on_deleted: Told of every clip that has become a tombstone.
    """

    def __init__(
        self,
        databases: Databases,
        objects: ObjectStore,
        receipt_key: SigningKey,
        now_ms: Callable[[], int],
        on_deleted: ClipListener,
    ) -> None:
        self._databases = databases
        self._objects = objects
        self._receipt_key = receipt_key
        self._now_ms = now_ms
        self._on_deleted = on_deleted

    def conclude(self, clip: ClipId) -> Signed:
        """Return the receipt for a tombstone; the same every time.

        Raises:
            VaultBusyError: The vault's log cannot be cut now. The deletion stands.
            DatabaseUnavailableError: Likewise.
        """
        self._on_deleted([clip])
        with self._databases.write() as unit:
            drop_envelopes(unit, [clip])
            unit.commit()
        self._databases.forget_deleted()
        with self._databases.write() as unit:
            tombstone = find_tombstone(unit, clip)
            if tombstone is None:
                raise AssertionError("a tombstone does not rise again")
            kept = keep_receipt(unit, clip, tombstone.sign(self._receipt_key, self._now_ms()))
            unit.commit()
        _log.info("clip_deleted", clip_id=clip)
        return kept

    def expire(
        self,
        household: HouseholdId,
        days: int,
        now: int,
        *,
        go_on: Callable[[], None] = lambda: None,
    ) -> int:
        """Delete a household's clips that at ``now`` were kept for ``days``; return how many.

        Without receipts: nobody has asked. Their envelopes have left the tables on return, and
        the vault's files when `forget_envelopes` has returned. ``go_on`` raises where this is
        to be broken off.
        """

        def over(unit: Unit, after: str) -> tuple[list[ClipId], str | None]:
            return clips_over(unit, household, days, now, after=after, limit=BATCH)

        return sum(self.delete_silently(clips, now) for clips in self._found(over, go_on))

    def delete_silently(self, clips: Sequence[ClipId], now: int) -> int:
        """Make tombstones of ``clips`` and take what opens them; return how many were none."""
        return self._delete(lambda _: clips, now)

    def give_up(self, clips: Sequence[ClipId], now: int) -> int:
        """Do so with those of ``clips`` that nobody can open even now; return how many."""
        return self._delete(lambda unit: unopenable(unit, clips), now)

    def _delete(self, chosen: Callable[[Unit], Sequence[ClipId]], now: int) -> int:
        with self._databases.write() as unit:
            buried = bury(unit, chosen(unit), now)
            unit.commit()
        if buried:
            self._on_deleted(buried)
        with self._databases.write() as unit:
            drop_envelopes(unit, buried)
            unit.commit()
        return len(buried)

    def forget_envelopes(self) -> int:
        """Take what opens a tombstone, wherever a crash or a restored vault has left it.

        On return the vault's files hold nothing of it. Returns how many clips that were.

        Raises:
            VaultBusyError: The vault's log cannot be cut now; the tables hold nothing any more.
        """

        def left(unit: Unit, after: str) -> tuple[list[ClipId], str | None]:
            return envelopes_of_tombstones(unit, after, BATCH)

        count = 0
        for clips in self._found(left):
            with self._databases.write() as unit:
                drop_envelopes(unit, clips)
                unit.commit()
            count += len(clips)
        self._databases.forget_deleted()
        return count

    def delete_objects(self, go_on: Callable[[], None] = lambda: None) -> int:
        """Delete the objects of tombstones; return of how many.

        ``go_on`` raises where this is to be broken off.

        Raises:
            ObjectStoreError: The store let some not go, the first for this reason; they wait
                for the next time. After ten in a row it is away, and the rest is not tried.
        """

        def waiting(unit: Unit, after: str) -> tuple[list[ClipId], str | None]:
            clips = tombstones_with_objects(unit, after, BATCH)
            return clips, clips[-1] if len(clips) == BATCH else None

        count = in_a_row = 0
        first: ObjectStoreError | None = None
        for clips in self._found(waiting):
            # First what opens them, also of a clip whose deletion a crash broke off: a tombstone
            # is only noted as empty when nothing of it is anywhere.
            with self._databases.write() as unit:
                drop_envelopes(unit, clips)
                unit.commit()
            self._databases.forget_deleted()
            for clip in clips:
                go_on()
                try:
                    self._delete_objects_of(clip)
                except ObjectStoreError as error:
                    first, in_a_row = first or error, in_a_row + 1
                    if in_a_row == _IS_AWAY:
                        raise first from None
                else:
                    count, in_a_row = count + 1, 0
        if first is not None:
            raise first
        return count

    def _delete_objects_of(self, clip: ClipId) -> None:
        for name in ObjectName:
            self._objects.delete(object_key(clip, name))
        with self._databases.write() as unit:
            note_objects_deleted(unit, clip, self._now_ms())
            unit.commit()
        _log.info("clip_objects_deleted", clip_id=clip)

    def _found(
        self,
        find: Callable[[Unit, str], tuple[list[ClipId], str | None]],
        go_on: Callable[[], None] = lambda: None,
    ) -> Iterator[list[ClipId]]:
        """Yield what ``find`` finds, a batch at a time, each from a read unit of its own."""
        after: str | None = ""
        while after is not None:
            go_on()
            with self._databases.read() as unit:
                clips, after = find(unit, after)
            if clips:
                yield clips
