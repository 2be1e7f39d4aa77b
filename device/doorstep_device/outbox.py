"""The outbox: events and clips promised to the service; they survive power loss.

    outbox/format          ``doorstep-outbox 1``
           chain.json      number and hash of the newest manifest
           events-N.log    see `event_log`
           {clip}/         see `clip_folder`

What it cannot read it keeps, and says so; it never deletes what it does not know.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

from doorstep_device.chain import Chain, Link
from doorstep_device.clip_ending import Ending, manifest_of, seal_objects
from doorstep_device.clip_folder import (
    GONE,
    OUTBOX,
    UNREADABLE,
    ClipFolder,
    ClipRecord,
    ClipState,
    Opening,
)
from doorstep_device.clip_writer import ClipWriter
from doorstep_device.event_log import EVENT_LOG, EventLog, PendingEvent
from doorstep_device.outbox_folder import OWN_NAMES, open_chain, prepare_folder
from doorstep_device.ports.disk import Disk, DiskFullError
from doorstep_device.rules.deletion import Begun, decide_begun_until
from doorstep_device.rules.eviction import KeptClip, Worth, decide_evictions, is_cache_over
from doorstep_shared.age_keys import Recipient
from doorstep_shared.deletions import verify_deletion
from doorstep_shared.errors import BadMessageError, RefusedError, TryLaterError
from doorstep_shared.ids import (
    ClipId,
    DeviceId,
    EventId,
    HouseholdId,
    Random,
    draw_clip_id,
    parse_clip_id,
)
from doorstep_shared.manifest import (
    ClipKind,
    Manifest,
    ObjectName,
    PayloadFacts,
    sign_manifest,
)
from doorstep_shared.receipts import verify_receipt
from doorstep_shared.signing import Signed, SigningKey, VerifyKey, WrongSignatureError
from doorstep_shared.tail import MAX_SLOT_BYTES, recover, was_safe_once
from doorstep_shared.wire import Announcement, Event

__all__ = [
    "ClipGoneError",
    "Outbox",
    "OutboxKeys",
    "PendingClip",
    "PendingEvent",
    "Problem",
    "Sealing",
    "Start",
    "Usage",
]

# Clips leave this much of the card to events, records and logs.
_RESERVE_BYTES: Final = 8 * 1024 * 1024
# A clip is not begun for less: some seconds of video.
_LEAST_CLIP_BYTES: Final = 2 * 1024 * 1024
# What a clip takes besides its payloads: clip.json, and every file's last page.
_FOLDER_BYTES: Final = 16 * 1024
_NOT_WHOLE: Final = "it could not be read whole"
_SMALLEST_FIRST: Final = (ObjectName.THUMB, ObjectName.DETAILS, ObjectName.FILE)


class ClipGoneError(RefusedError):
    """The outbox holds no such clip (any more)."""


@dataclass(frozen=True, slots=True)
class OutboxKeys:
    """Whose outbox it is.

    Attributes:
        device: This doorbell.
        manifest_key: Signs its manifests.
        receipt_key: The service's, pinned at enrolment; None before that.
    """

    device: DeviceId
    manifest_key: SigningKey
    receipt_key: VerifyKey | None = None


@dataclass(frozen=True, slots=True)
class Sealing:
    """Whom clips are sealed to: from a verified statement that lists this doorbell's keys.

    Attributes:
        household: Whose statement it is.
        epoch: Its number, from 1.
        recipient: The epoch's key.
    """

    household: HouseholdId
    epoch: int
    recipient: Recipient


@dataclass(frozen=True, slots=True)
class Start:
    """What is known of a clip when it begins.

    Attributes:
        kind: As of now: a ring may still come.
        events: As of now, 1 to 32.
        part: Counts an episode's parts from 1.
        pre_roll_ms: How much of the clip lies before its first event, at most 60 s.
        start_ms: Wall time of its first frame, Unix milliseconds.
        clock_synced: Whether that clock was set from outside.
    """

    kind: ClipKind
    events: tuple[EventId, ...]
    part: int
    pre_roll_ms: int
    start_ms: int
    clock_synced: bool


@dataclass(frozen=True, slots=True)
class Problem:
    """Something on the card that nobody here can read; it is kept as it is.

    Attributes:
        path: Where it lies, under the doorbell's root.
        fact: What is wrong, one sentence.
    """

    path: str
    fact: str


@dataclass(frozen=True, slots=True)
class PendingClip:
    """A finished clip that the service has not stored whole yet.

    Attributes:
        clip: Which.
        manifest: What it consists of.
        is_announced: Whether the service has acknowledged its manifest since `Outbox.open`.
        missing: Objects without a receipt, the smallest first: thumb, details, file.
    """

    clip: ClipId
    manifest: Manifest
    is_announced: bool
    missing: tuple[ObjectName, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """What the outbox holds, as health tells it.

    Attributes:
        waiting_events: Events without an ack.
        waiting_clips: Clips not stored whole yet, the one being recorded included.
        waiting_bytes: Their bytes on the disk.
        cached_clips: Clips stored by the service and kept here for up to a day.
        total_bytes: All clips' bytes on the disk.
        free_bytes: What the disk has left.
        dropped_clips: Clips given up for want of room since `Outbox.open`.
        dropped_events: Events given up, likewise.
    """

    waiting_events: int
    waiting_clips: int
    waiting_bytes: int
    cached_clips: int
    total_bytes: int
    free_bytes: int
    dropped_clips: int
    dropped_events: int


@dataclass(slots=True)
class _Kept:
    """A finished clip, as in its folder; `is_announced` is not."""

    folder: ClipFolder
    record: ClipRecord
    manifest: Manifest
    is_announced: bool = False

    @property
    def worth(self) -> Worth:
        if self.record.state is ClipState.STORED:
            return Worth.STORED
        return Worth.RING if self.manifest.kind is ClipKind.RING else Worth.MOTION

    @property
    def size_bytes(self) -> int:
        payloads = (facts.payload.length for facts in self.manifest.objects.values())
        return sum(payloads) + _FOLDER_BYTES

    @property
    def missing(self) -> tuple[ObjectName, ...]:
        has = self.manifest.objects.keys() - self.record.receipts.keys()
        return tuple(name for name in _SMALLEST_FIRST if name in has)


class Outbox:
    """Events and clips on the doorbell's own disk.

    Synchronous and for two threads: `put_event`, `pending_events` and `mark_events_acked`
    for one, so that a ring waits for no clip, everything else for the other. They share
    nothing but the disk. Methods that write raise the disk's errors; what was durable
    before such an error still is.
    """

    def __init__(
        self,
        disk: Disk,
        keys: OutboxKeys,
        chain: Chain,
        events: EventLog,
        *,
        random: Random,
        cap_bytes: int,
    ) -> None:
        self._disk: Final = disk
        self._keys: Final = keys
        self._random: Final = random
        self._cap_bytes: Final = cap_bytes
        self._chain: Final = chain
        self._events: Final = events
        self._kept: Final[dict[ClipId, _Kept]] = {}
        self._recording: ClipWriter | None = None
        # Recordings that broke off, whose disk has not let them be ended yet.
        self._unsettled: Final[dict[ClipId, ClipFolder]] = {}
        # To be deleted, and not gone yet: being recorded, or the disk does not let them go.
        self._doomed: Final[set[ClipId]] = set()
        self._problems: Final[list[Problem]] = []
        self._dropped_clips = 0

    @classmethod
    def open(cls, disk: Disk, keys: OutboxKeys, *, random: Random, cap_bytes: int) -> Self:
        """Return the outbox under ``outbox/``, made if missing.

        Rebuilds the index, ends recordings that were cut, and forgets what a cut left half
        removed. What it cannot read it keeps and lists in `problems`.

        Args:
            disk: The doorbell's.
            keys: Whose outbox it is.
            random: For file keys, nonces and ids.
            cap_bytes: How much clips may take on the disk; the oldest give way.
        """
        asides = prepare_folder(disk)
        chain, events = open_chain(disk), EventLog.open(disk)
        outbox = cls(disk, keys, chain, events, random=random, cap_bytes=cap_bytes)
        fact = "this outbox has a format that this version cannot read"
        outbox._problems.extend(Problem(aside, fact) for aside in asides)
        outbox._problems.extend(Problem(path, _NOT_WHOLE) for path in events.damaged)
        outbox._load()
        return outbox

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What was found unreadable; kept, and for a person to look at."""
        return tuple(self._problems)

    def put_event(self, kind: ClipKind, event: Event) -> None:
        """Keep an event until it is acknowledged; durable on return. Repeating is harmless."""
        self._events.put(kind, event)

    def pending_events(self) -> tuple[PendingEvent, ...]:
        """Return the events without an ack, rings first, each kind oldest first."""
        pending = self._events.pending
        return tuple(sorted(pending, key=lambda waiting: waiting.kind is not ClipKind.RING))

    def mark_events_acked(self, events: Iterable[EventId]) -> None:
        """Forget events the service has committed; durable. Unknown ones are passed over."""
        self._events.forget(events)

    def begin_clip(self, sealing: Sealing, start: Start) -> ClipWriter:
        """Return a writer for a new clip; its folder is durable on return.

        One clip is recorded at a time. If power fails before the writer's first tick, the
        clip was never there.

        Raises:
            DiskFullError: There is no room, and nothing that may give way.
        """
        if self._recording is not None:
            raise ValueError("another clip is being recorded")
        self._make_room(_LEAST_CLIP_BYTES, start.kind)
        folder = ClipFolder(self._disk, draw_clip_id(start.start_ms, self._random))
        opening = Opening(
            household=sealing.household,
            epoch=sealing.epoch,
            recipient=str(sealing.recipient),
            kind=start.kind,
            events=start.events,
            part=start.part,
            pre_roll_ms=start.pre_roll_ms,
            start=start.start_ms,
            clock_synced=start.clock_synced,
        )
        # Until it has ended well, it is one that a recovery would have to end.
        self._unsettled[folder.clip] = folder
        self._recording = ClipWriter(folder, opening, self._random)
        return self._recording

    def tick_clip(self, writer: ClipWriter, fragments: bytes, media_ms: int) -> None:
        """Make whole fragments durable, with one sync; older clips give way.

        Raises:
            DiskFullError: There is no room, and nothing that may give way.
        """
        self._make_room(len(fragments) + MAX_SLOT_BYTES, writer.kind)
        writer.tick(fragments, media_ms)

    def finish_clip(self, writer: ClipWriter, fragments: bytes, ending: Ending) -> Manifest:
        """End a clip with its last fragments: signed, durable and pending on return."""
        finished = writer.finish(fragments, ending.media_ms)
        payload = PayloadFacts(length=finished.payload_bytes, sha256=finished.sha256)
        manifest = self._conclude(writer.folder, writer.record, payload, ending)
        writer.file.close()
        self._recording = None
        self._bury()
        return manifest

    def break_off_clip(self, writer: ClipWriter) -> Manifest | None:
        """End a clip that the disk failed, with what is whole of it.

        Returns:
            Its manifest; None if nothing of it was durable, if it was to be deleted, or if
            the disk does not even let it be ended: then `tidy` or the next start does.
        """
        self._recording = None
        # What closing has to say of a file that failed already changes nothing.
        with suppress(RefusedError, TryLaterError):
            writer.file.close()
        self._bury()
        self._settle()
        kept = self._kept.get(writer.clip)
        return None if kept is None else kept.manifest

    def pending_clips(self) -> tuple[PendingClip, ...]:
        """Return finished clips that are not stored whole, rings first, each kind oldest first."""
        waiting = [
            kept
            for clip, kept in self._kept.items()
            if kept.record.state is ClipState.FINISHED and clip not in self._doomed
        ]
        waiting.sort(key=lambda kept: (-kept.worth, kept.manifest.seq))
        return tuple(
            PendingClip(kept.folder.clip, kept.manifest, kept.is_announced, kept.missing)
            for kept in waiting
        )

    def announcement(self, clip: ClipId) -> Announcement:
        """Return the body of ``ev/clip``.

        Raises:
            ClipGoneError: No such finished clip.
        """
        record = self._find(clip).record
        return Announcement(manifest=record.signed, envelopes=record.envelopes)

    def read_payload(self, clip: ClipId, name: ObjectName, offset: int, size: int) -> bytes:
        """Return bytes of an object's payload, fewer only at its end.

        Raises:
            ClipGoneError: No such finished clip or object; it may have been evicted.
        """
        kept = self._find(clip)
        if (facts := kept.manifest.objects.get(name)) is None:
            raise _gone(clip)
        size = min(size, max(facts.payload.length - offset, 0))
        with kept.folder.open_object(name) as file:
            return file.read_at(offset, size)

    def mark_announced(self, clip: ClipId) -> None:
        """Note, until the next `open`, that the service knows the clip, if it is still here."""
        if (kept := self._kept.get(clip)) is not None:
            kept.is_announced = True

    def mark_receipt(self, receipt: Signed, now_ms: int) -> ClipId | None:
        """Note that the service has stored an object; durable on return.

        Args:
            receipt: As it came.
            now_ms: Wall time, Unix milliseconds.

        Returns:
            The clip if all its objects are now stored, so that it only stays as cache. None
            also for a clip that is not here.

        Raises:
            WrongSignatureError: Not under the pinned key, or none is pinned.
            BadMessageError: Not a receipt, or for other bytes than the manifest's.
        """
        if self._keys.receipt_key is None:
            raise WrongSignatureError("this doorbell has no key to check receipts with")
        body = verify_receipt(receipt, self._keys.receipt_key)
        if (kept := self._kept.get(body.clip)) is None:
            return None
        facts = kept.manifest.objects.get(body.object)
        stored = PayloadFacts(length=body.size, sha256=body.sha256)
        if body.device != self._keys.device or facts is None or facts.payload != stored:
            raise BadMessageError("this receipt is for other bytes than this doorbell recorded")
        if body.object in kept.missing:
            self._note_receipt(kept, body.object, receipt, now_ms)
        return None if kept.missing else body.clip

    def mark_deleted(self, deletion: Signed) -> ClipId | None:
        """Delete a clip of which the service has signed that it was deleted.

        Args:
            deletion: As it came.

        Returns:
            The clip; None if it is not here, or another one of that id is.

        Raises:
            WrongSignatureError: Not under the pinned key, or none is pinned.
            BadMessageError: Not a deletion.
        """
        if self._keys.receipt_key is None:
            raise WrongSignatureError("this doorbell has no key to check deletions with")
        body = verify_deletion(deletion, self._keys.receipt_key)
        kept = self._kept.get(body.clip)
        # A deletion for what this doorbell never signed is none of its clips'.
        if kept is None or kept.record.signed.body_hash != body.manifest:
            return None
        self.delete([body.clip])
        return body.clip

    def clips_among(self, clips: Iterable[ClipId]) -> tuple[ClipId, ...]:
        """Return those of ``clips`` of which anything is here, readable or not."""
        return tuple(clip for clip in clips if ClipFolder(self._disk, clip).has_traces())

    def clips_begun_until(self, until_ms: int) -> tuple[ClipId, ...]:
        """Return the clips that began until ``until_ms``, the one being recorded too.

        What cannot be read began nobody knows when: it is not among them.
        """
        manifests = sorted((kept.manifest for kept in self._kept.values()), key=lambda m: m.seq)
        begun = [Begun(m.clip, m.start, m.clock_synced) for m in manifests]
        for clip in sorted(self._unsettled):
            with suppress(BadMessageError, RefusedError):
                opening = self._unsettled[clip].read_record().opening
                begun.append(Begun(clip, opening.start, opening.clock_synced))
        return decide_begun_until(begun, until_ms)

    def delete(self, clips: Iterable[ClipId]) -> None:
        """Delete clips, delivered or not; their events stay. Unknown ones are passed over.

        None is delivered any more on return. One that is being recorded goes once it has
        ended; one that the disk does not let go, with a later `tidy`: see `is_deleting`.
        """
        self._doomed.update(clips)
        self._bury()

    def is_deleting(self, clips: Iterable[ClipId]) -> bool:
        """Return whether any of ``clips`` was to be deleted and is still here."""
        return not self._doomed.isdisjoint(clips)

    def tidy(self, now_ms: int) -> None:
        """Forget clips stored a day ago, keep the byte cap, end what could not be ended before.

        To be called every minute or so.
        """
        for kept in list(self._kept.values()):
            stored_at = kept.record.stored_at
            if stored_at is not None and is_cache_over(stored_at, now_ms):
                self._remove(kept)
        self._evict(0, sparing=None)
        self._bury()
        self._settle()

    def usage(self) -> Usage:
        """Return what the outbox holds now."""
        waiting = [kept for kept in self._kept.values() if kept.record.state is ClipState.FINISHED]
        cached = sum(kept.record.state is ClipState.STORED for kept in self._kept.values())
        recording_bytes = 0 if self._recording is None else self._recording.disk_bytes
        return Usage(
            waiting_events=self._events.count,
            waiting_clips=len(waiting) + len(self._unsettled),
            waiting_bytes=sum(kept.size_bytes for kept in waiting) + recording_bytes,
            cached_clips=cached,
            total_bytes=self._total_bytes(),
            free_bytes=self._disk.free_bytes(),
            dropped_clips=self._dropped_clips,
            dropped_events=self._events.dropped,
        )

    # ── the start ──

    def _load(self) -> None:
        for name in self._disk.list_dir(OUTBOX):
            path = f"{OUTBOX}/{name}"
            try:
                self._load_entry(name, path)
            except (BadMessageError, RefusedError) as error:
                self._problems.append(Problem(path, error.fact))
            except TryLaterError:
                # A card that takes no writes can still be read, and delivered.
                continue
        with suppress(TryLaterError):
            self._chain.save()
        self._settle()

    def _load_entry(self, name: str, path: str) -> None:
        if name in OWN_NAMES or EVENT_LOG.fullmatch(name.removesuffix(".tmp")):
            return
        if name.endswith(UNREADABLE):
            raise BadMessageError(f"{_NOT_WHOLE}, and was set aside")
        clip = parse_clip_id(name.removesuffix(GONE))
        if name.endswith(GONE):
            self._disk.remove_tree(path)
            return
        folder = ClipFolder(self._disk, clip)
        if folder.is_barely_begun():
            folder.remove()
            return
        record = folder.read_record()
        if record.state is ClipState.RECORDING:
            self._unsettled[clip] = folder
            return
        self._keep(folder, record, folder.read_manifest(record))

    def _keep(self, folder: ClipFolder, record: ClipRecord, manifest: Manifest) -> None:
        self._kept[folder.clip] = _Kept(folder, record, manifest)
        self._chain.catch_up(Link(manifest.seq, record.signed.body_hash))

    # ── the end of a clip ──

    def _settle(self) -> None:
        """End the recordings that broke off; one that the disk does not let be ended stays."""
        under_way = None if self._recording is None else self._recording.clip
        for clip, folder in list(self._unsettled.items()):
            if clip == under_way:
                continue
            try:
                self._recover(folder)
            except TryLaterError:
                continue
            except (BadMessageError, RefusedError) as error:
                self._problems.append(Problem(folder.path, error.fact))
            self._unsettled.pop(clip, None)

    def _recover(self, folder: ClipFolder) -> None:
        """End a recording with what was whole at its last tick; with nothing, it never was."""
        if not folder.exists():
            return
        record = folder.read_record()
        if record.state is not ClipState.RECORDING:
            # Its manifest was durable after all, and the error came behind it.
            self._keep(folder, record, folder.read_manifest(record))
            return
        with folder.open_object(ObjectName.FILE) as file:
            size = file.size()
            found = recover(file.read_at, size)
            if found is None and was_safe_once(file.read_at, size):
                raise BadMessageError("its recording was cut and then damaged; nobody can end it")
            if found is None:
                folder.remove()
                return
            file.write_at(found.write.offset, found.write.data)
            file.sync()
            payload = PayloadFacts(length=found.payload_bytes, sha256=found.sha256)
            ending = Ending(media_ms=found.media_ms, is_last=True, is_truncated=True)
            self._conclude(folder, record, payload, ending)

    def _conclude(
        self, folder: ClipFolder, record: ClipRecord, payload: PayloadFacts, ending: Ending
    ) -> Manifest:
        """Sign for a clip whose payload is whole and synced; durable on return.

        In this order: the objects, then ``clip.json`` with the manifest, then the chain, and
        only then the tail slots go. Cut anywhere, the next start goes on from what is there.
        """
        envelopes, objects = seal_objects(folder, record, payload, ending, self._random)
        manifest = manifest_of(
            folder.clip,
            record.opening,
            objects,
            ending,
            device=self._keys.device,
            newest=self._chain.newest,
        )
        finished = {
            "state": ClipState.FINISHED,
            "envelopes": envelopes,
            "manifest": sign_manifest(manifest, self._keys.manifest_key),
        }
        record = record.model_copy(update=finished)
        folder.write_record(record)
        self._unsettled.pop(folder.clip, None)
        self._keep(folder, record, manifest)
        self._chain.save()
        folder.cut_payload(payload.length)
        return manifest

    # ── the service's answers ──

    def _find(self, clip: ClipId) -> _Kept:
        if (kept := self._kept.get(clip)) is None or clip in self._doomed:
            raise _gone(clip)
        return kept

    def _note_receipt(self, kept: _Kept, name: ObjectName, receipt: Signed, now_ms: int) -> None:
        receipts = {**kept.record.receipts, name: receipt}
        if kept.missing == (name,):
            self._change(kept, state=ClipState.STORED, receipts=receipts, stored_at=now_ms)
        else:
            self._change(kept, receipts=receipts)

    def _change(self, kept: _Kept, **changes: object) -> None:
        record = kept.record.model_copy(update=changes)
        kept.folder.write_record(record)
        kept.record = record

    # ── room ──

    def _total_bytes(self) -> int:
        recording_bytes = 0 if self._recording is None else self._recording.disk_bytes
        return sum(kept.size_bytes for kept in self._kept.values()) + recording_bytes

    def _excess_bytes(self, needed_bytes: int) -> int:
        above_cap = self._total_bytes() + needed_bytes - self._cap_bytes
        return max(above_cap, needed_bytes + _RESERVE_BYTES - self._disk.free_bytes())

    def _make_room(self, needed_bytes: int, kind: ClipKind) -> None:
        # A ring is never given up for motion.
        self._evict(needed_bytes, sparing=Worth.RING if kind is ClipKind.MOTION else None)
        if self._excess_bytes(needed_bytes) > 0:
            raise DiskFullError(
                "there is no room left for a clip",
                safe="What was recorded before is kept, and rings are still told.",
                do="let the doorbell deliver what waits, or give it a bigger card",
            )

    def _evict(self, needed_bytes: int, *, sparing: Worth | None) -> None:
        excess_bytes = self._excess_bytes(needed_bytes)
        if excess_bytes <= 0:
            return
        kept = [
            KeptClip(clip, kept.worth, kept.manifest.seq, kept.size_bytes)
            for clip, kept in self._kept.items()
        ]
        for clip in decide_evictions(kept, excess_bytes, sparing=sparing):
            self._dropped_clips += self._kept[clip].worth is not Worth.STORED
            self._remove(self._kept[clip])

    def _remove(self, kept: _Kept) -> None:
        self._chain.save()
        del self._kept[kept.folder.clip]
        kept.folder.remove()

    def _bury(self) -> None:
        """Remove what is to be deleted; one that the disk does not let go stays doomed."""
        under_way = None if self._recording is None else self._recording.clip
        for clip in self._doomed - {under_way}:
            with suppress(RefusedError, TryLaterError):
                # The number of a manifest that nobody will see is not used again.
                self._chain.save()
                folder = ClipFolder(self._disk, clip)
                folder.remove()
                self._kept.pop(clip, None)
                self._unsettled.pop(clip, None)
                self._problems[:] = [p for p in self._problems if p.path != folder.path]
                self._doomed.discard(clip)


def _gone(clip: ClipId) -> ClipGoneError:
    return ClipGoneError(f"clip {clip} is not in the outbox (any more)")
