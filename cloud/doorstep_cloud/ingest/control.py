"""Events, announcements and presence: decoded, committed together, then acknowledged.

A batch is what waits already, never what might come: a ring on an idle service
is a batch of its own, and is acknowledged and told within milliseconds.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from doorstep_cloud.clips.deletion import ClipDeletedError, Tombstone
from doorstep_cloud.clips.service import announce
from doorstep_cloud.devices.commands import AnswerTaken, record_answer, waiting_commands
from doorstep_cloud.devices.service import (
    list_devices,
    record_health,
    record_hello,
    record_status,
)
from doorstep_cloud.events.hub import Hub
from doorstep_cloud.events.rules import EventItem
from doorstep_cloud.events.service import record_event
from doorstep_cloud.households.chain import (
    MAX_STATEMENT_BYTES,
    is_epoch,
    read_head,
    read_statements,
)
from doorstep_cloud.ingest.connection import Publish
from doorstep_cloud.ingest.counters import Count, IngestCounters
from doorstep_cloud.ingest.inbox import Inbox, Message
from doorstep_cloud.ingest.rules import (
    Accepted,
    Foreign,
    Greeting,
    NotYet,
    Refused,
    Sender,
    decide_announcement,
    is_greeted,
)
from doorstep_cloud.ingest.senders import find_sender
from doorstep_cloud.store.databases import Databases, Unit
from doorstep_cloud.store.errors import ConflictError
from doorstep_shared.errors import BadMessageError, TryLaterError
from doorstep_shared.ids import ClipId, DeviceId, EventId, HouseholdId
from doorstep_shared.manifest import ClipKind, read_manifest
from doorstep_shared.signing import Signed, SigningKey
from doorstep_shared.topics import DeviceTopic, Leaf
from doorstep_shared.wire import (
    MAX_ANNOUNCEMENT_BYTES,
    Ack,
    Announcement,
    Answer,
    Body,
    Event,
    Health,
    Hello,
    RefusedClip,
    Statements,
    Status,
    decode_body,
)

log = structlog.get_logger(__name__)

BATCH: Final = 32
"""Messages in one commit: about as many as fit into the time a commit takes."""

STATEMENTS_BYTES: Final = MAX_STATEMENT_BYTES
STATEMENTS_PER_MESSAGE: Final = 64
"""What a hello is answered with at most: one message, with the rest of it less than 64 KiB."""

_BODIES: Final[dict[Leaf, tuple[type[Body], int]]] = {
    Leaf.RING: (Event, 1024),
    Leaf.MOTION: (Event, 1024),
    Leaf.CLIP: (Announcement, MAX_ANNOUNCEMENT_BYTES),
    Leaf.HELLO: (Hello, 1024),
    Leaf.HEALTH: (Health, 2048),
    Leaf.STATUS: (Status, 1024),
    Leaf.DELETE_ANSWER: (Answer, 2048),
}

_STORED: Final = {ClipKind.RING: "ring_stored", ClipKind.MOTION: "motion_stored"}
_ANSWERS: Final = {
    AnswerTaken.NEW: Count.COMMAND_ANSWERED,
    AnswerTaken.REPEATED: Count.COMMAND_ANSWER_REPEATED,
    AnswerTaken.UNKNOWN: Count.DROPPED_UNKNOWN_COMMAND,
}
_KINDS: Final = {Leaf.RING: ClipKind.RING, Leaf.MOTION: ClipKind.MOTION}


@dataclass(frozen=True, slots=True)
class _Letter:
    """A decoded message."""

    device: DeviceId
    leaf: Leaf
    body: Body
    received_s: float


@dataclass(slots=True)
class _Answer:
    """What one doorbell is told once the batch is committed.

    Attributes:
        greeting: Its last hello, if it said one that is answered.
        statements: Those that follow the head named there.
        commands: Those that wait for it, once it holds the newest statement.
    """

    events: list[EventId] = field(default_factory=list)
    announced: list[ClipId] = field(default_factory=list)
    refused: list[RefusedClip] = field(default_factory=list)
    deletions: list[Signed] = field(default_factory=list)
    greeting: Greeting | None = None
    statements: Sequence[Signed] = ()
    commands: Sequence[bytes] = ()


@dataclass(slots=True)
class _Batch:
    """What a unit of work has gathered.

    Attributes:
        counts: Added up only when it is committed.
        news: For listeners.
    """

    answers: dict[DeviceId, _Answer] = field(default_factory=dict)
    senders: dict[DeviceId, Sender | None] = field(default_factory=dict)
    counts: list[Count] = field(default_factory=list)
    news: list[tuple[HouseholdId, EventItem]] = field(default_factory=list)

    def answer(self, device: DeviceId) -> _Answer:
        """Return the answer to ``device``, to be added to."""
        return self.answers.setdefault(device, _Answer())


def longest_body(leaf: Leaf) -> int:
    """Return how many bytes a message of this kind may have; 0 when doorbells send none."""
    return _BODIES[leaf][1] if leaf in _BODIES else 0


NoteSeconds = Callable[[float], None]
"""Is told how long something took."""


class ControlDesk:
    """Handles what waits in the inbox, on the thread that calls `run`."""

    def __init__(
        self,
        databases: Databases,
        inbox: Inbox,
        publish: Publish,
        hub: Hub,
        counters: IngestCounters,
        *,
        receipt_key: SigningKey,
        now_ms: Callable[[], int],
        monotonic_s: Callable[[], float] = time.monotonic,
        note_ring: NoteSeconds = lambda _seconds: None,
    ) -> None:
        self._databases = databases
        self._inbox = inbox
        self._publish = publish
        self._hub = hub
        self._counters = counters
        self._receipt_key = receipt_key
        self._now_ms = now_ms
        self._monotonic_s = monotonic_s
        self._note_ring = note_ring
        self._greeted: dict[DeviceId, Greeting] = {}

    def run(self) -> None:
        """Handle batch after batch until the inbox is closed."""
        while messages := self._inbox.take(BATCH):
            self._handle(list(self._decoded(messages)))

    def send_head(self, household: HouseholdId) -> None:
        """Send a household's newest statement to its doorbells, as after it was made.

        One that has missed an earlier one sees the gap, and says hello for all of them.
        """
        with self._databases.read() as unit:
            head = read_head(unit, household)
            devices = [device.id for device in list_devices(unit, household, self._now_ms())]
        body = Statements(statements=(head.signed,)).encode()
        for device in devices:
            self._publish(str(DeviceTopic(device, Leaf.STATEMENTS)), body)

    def send_commands(self, household: HouseholdId) -> None:
        """Send a household's doorbells what they have not answered yet."""
        now_ms = self._now_ms()
        with self._databases.read() as unit:
            devices = [device.id for device in list_devices(unit, household, now_ms)]
            waiting = {device: waiting_commands(unit, device, now_ms) for device in devices}
        for device, commands in waiting.items():
            self._send_commands(device, commands)

    def _send_commands(self, device: DeviceId, commands: Sequence[bytes]) -> None:
        for command in commands:
            self._publish(str(DeviceTopic(device, Leaf.DELETE)), command)

    def _decoded(self, messages: Iterable[Message]) -> Iterator[_Letter]:
        for message in messages:
            model, limit = _BODIES[message.leaf]
            try:
                body = decode_body(model, message.payload, limit_bytes=limit)
            except BadMessageError:
                self._counters.add(Count.DROPPED_MALFORMED)
            else:
                yield _Letter(message.device, message.leaf, body, message.received_s)

    def _handle(self, letters: Sequence[_Letter]) -> None:
        if not letters:
            return
        try:
            batch = self._commit(letters)
        except TryLaterError as error:
            # Nothing is acknowledged, so all of it comes again.
            self._counters.add(Count.DROPPED_DATABASE_AWAY, len(letters))
            log.warning("ingest_batch_put_off", fact=error.fact, messages=len(letters))
        except Exception:  # The boundary of this task: a batch must not stop the next.
            self._counters.add(Count.CRASHED)
            log.exception("ingest_batch_crashed", messages=len(letters))
            if len(letters) > 1:
                # Whoever sent what cannot be handled spoils nobody else's.
                for letter in letters:
                    self._handle([letter])
        else:
            self._tell(batch)
            self._note_rings(batch, letters)

    def _commit(self, letters: Sequence[_Letter]) -> _Batch:
        batch = _Batch()
        now = self._now_ms()
        with self._databases.write() as unit:
            for letter in letters:
                self._take(unit, batch, letter, now)
            # After all of them: a flood of hellos must not read the chain as often.
            _read_greeted(unit, batch, now)
            unit.commit()
        return batch

    def _tell(self, batch: _Batch) -> None:
        """Answer doorbells and wake listeners: all of it is committed."""
        # Counted first: who is answered finds it counted.
        for count in batch.counts:
            self._counters.add(count)
        for household, item in batch.news:
            # The fact first: a ring's facts then stand in the order in which it went.
            log.info(_STORED[item.kind], event_id=item.id, device=item.device)
            self._hub.tell(household, item)
        for device, answer in batch.answers.items():
            self._send(device, answer)

    def _note_rings(self, batch: _Batch, letters: Iterable[_Letter]) -> None:
        """Note how long each ring waited for its acknowledgement, repeated ones too."""
        for letter in letters:
            if letter.leaf is Leaf.RING and batch.senders[letter.device] is not None:
                self._note_ring(self._monotonic_s() - letter.received_s)

    def _send(self, device: DeviceId, answer: _Answer) -> None:
        if answer.events or answer.announced or answer.refused:
            ack = Ack(
                events=tuple(answer.events),
                announced=tuple(answer.announced),
                refused=tuple(answer.refused),
                deletions=tuple(answer.deletions),
            )
            self._publish(str(DeviceTopic(device, Leaf.ACK)), ack.encode())
        if answer.greeting is not None:
            self._greeted[device] = answer.greeting
        if answer.statements:
            body = Statements(statements=tuple(answer.statements)).encode()
            self._publish(str(DeviceTopic(device, Leaf.STATEMENTS)), body)
        self._send_commands(device, answer.commands)

    def _take(self, unit: Unit, batch: _Batch, letter: _Letter, now: int) -> None:
        device = letter.device
        if device not in batch.senders:
            batch.senders[device] = find_sender(unit, device)
        if (sender := batch.senders[device]) is None:
            batch.counts.append(Count.DROPPED_UNKNOWN_SENDER)
            return
        match letter.body:
            case Event() as event:
                _take_event(unit, batch, sender, _KINDS[letter.leaf], event, now=now)
            case Announcement() as announcement:
                self._take_announcement(unit, batch, sender, announcement, now)
            case Hello() as hello:
                record_hello(unit, device, hello, now)
                self._greet(batch, device, hello)
            case Health() as health:
                record_health(unit, device, health, now)
            case Status() as status:
                record_status(unit, device, status, now)
            case Answer() as said:
                batch.counts.append(_ANSWERS[record_answer(unit, device, said, now)])

    def _take_announcement(
        self, unit: Unit, batch: _Batch, sender: Sender, announcement: Announcement, now: int
    ) -> None:
        try:
            manifest = read_manifest(announcement.manifest)
        except BadMessageError:
            batch.counts.append(Count.DROPPED_MALFORMED)
            return
        is_own = is_epoch(unit, sender.household, manifest.epoch, manifest.recipient)
        verdict = decide_announcement(announcement, manifest, sender, is_own_epoch=is_own)
        if isinstance(verdict, Accepted):
            try:
                announce(unit, announcement.manifest, manifest, verdict.envelopes, now)
            except ConflictError as error:
                verdict = Refused(error.fact)
            except ClipDeletedError as error:
                verdict = Refused(error.fact)
                self._prove(batch, sender, error.tombstone)
        match verdict:
            case Accepted():
                batch.counts.append(Count.CLIP_ANNOUNCED)
                batch.answer(sender.device).announced.append(manifest.clip)
            case Refused(reason):
                batch.counts.append(Count.CLIP_REFUSED)
                refused = RefusedClip(clip=manifest.clip, reason=reason)
                batch.answer(sender.device).refused.append(refused)
            case NotYet():
                batch.counts.append(Count.CLIP_NOT_YET)
            case Foreign():
                batch.counts.append(Count.DROPPED_FOREIGN)

    def _prove(self, batch: _Batch, sender: Sender, tombstone: Tombstone) -> None:
        """Send the deletion along: a doorbell lets go of nothing for an unsigned word."""
        if (proof := tombstone.proof(self._receipt_key)) is not None:
            batch.answer(sender.device).deletions.append(proof)

    def _greet(self, batch: _Batch, device: DeviceId, hello: Hello) -> None:
        place = -1 if hello.statement is None else hello.statement.seq
        greeting = Greeting(place, self._monotonic_s())
        if is_greeted(self._greeted.get(device), greeting):
            batch.answer(device).greeting = greeting
        else:
            batch.counts.append(Count.HELLO_TOO_SOON)


def _take_event(
    unit: Unit, batch: _Batch, sender: Sender, kind: ClipKind, event: Event, *, now: int
) -> None:
    try:
        item = record_event(unit, sender.household, sender.device, kind, event, now=now)
    except ConflictError:
        # Acknowledged all the same: the doorbell has nothing better to send.
        batch.counts.append(Count.EVENT_CONFLICT)
    else:
        batch.counts.append(Count.EVENT_REPEATED if item is None else Count.EVENT_STORED)
        if item is not None:
            batch.news.append((sender.household, item))
    batch.answer(sender.device).events.append(event.event)


def _read_greeted(unit: Unit, batch: _Batch, now: int) -> None:
    """Read what follows the heads named, a message each: who takes it over says hello again.

    Whoever has all of them is told what to do: by whom, only the newest says.
    """
    for device, answer in batch.answers.items():
        sender = batch.senders[device]
        if answer.greeting is not None and sender is not None:
            answer.statements = read_statements(
                unit,
                sender.household,
                answer.greeting.place,
                limit=STATEMENTS_PER_MESSAGE,
                limit_bytes=STATEMENTS_BYTES,
            )
            if not answer.statements:
                answer.commands = waiting_commands(unit, device, now)
