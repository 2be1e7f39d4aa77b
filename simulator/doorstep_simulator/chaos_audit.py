"""The audit after a fault lab: what the doorbells were promised against what the service has.

Values in, findings out: how the two were gathered is `chaos_evidence`'s business.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeVar

from doorstep_cloud.clips.service import object_key
from doorstep_shared.ids import ClipId, DeviceId, EventId
from doorstep_shared.manifest import ObjectName

K = TypeVar("K", bound=Hashable)


class Harm(StrEnum):
    """What is wrong."""

    LOST = "lost"
    DOUBLED = "doubled"
    STRAY = "stray"
    ALTERED = "altered"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        harm: How.
        what: The thing, in words.
    """

    harm: Harm
    what: str


@dataclass(frozen=True, slots=True)
class Bytes:
    """Some bytes, as far as an audit tells them apart."""

    length: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Promised:
    """What the doorbells said, and what is left on their cards.

    Attributes:
        noticed: Rings and motions; one whose record was cut off may never have been kept.
        events: Those that were durable on a card.
        clips: Those that were complete on a card, or said to be stored.
        waiting: What lies on a card without the service's word: its id, and in words.
    """

    noticed: Collection[str]
    events: Collection[str]
    clips: Collection[str]
    waiting: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeptClip:
    """A clip at the service, fetched and checked with the owner's keys.

    Attributes:
        clip: Its id.
        is_stored: Whether the service says that it has all of it.
        device: Who signed its manifest.
        seq: Its number in that doorbell's chain.
        events: What it shows.
        part: Of a long event.
        objects: The payloads that the manifest names.
        trouble: Why it, or one of its objects, does not open; empty if all do, or it is not
            stored.
    """

    clip: ClipId
    is_stored: bool
    device: DeviceId
    seq: int
    events: tuple[EventId, ...]
    part: int
    objects: Mapping[ObjectName, Bytes]
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the service has.

    Attributes:
        events: As its list tells them, in that order, repetitions included.
        clips: The same, of clips.
        bucket: Every key in the store.
        rows: Of each table that holds events or clips, the key of every row; parts of a key
            are joined by a slash.
        spool: Files of payloads under way.
    """

    events: tuple[str, ...]
    clips: tuple[KeptClip, ...]
    bucket: Mapping[str, Bytes]
    rows: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    spool: tuple[str, ...] = ()


def audit(promised: Promised, kept: Kept) -> tuple[Finding, ...]:
    """Return everything that is lost, there twice, there without reason, or altered."""
    return (
        *_judge_events(promised, kept),
        *_judge_clips(promised, kept.clips),
        *_judge_chains(kept.clips),
        *_judge_bucket(kept),
        *_judge_rows(kept),
        *_judge_waiting(promised, kept.clips),
        *(Finding(Harm.STRAY, f"the spool still holds {file}") for file in kept.spool),
    )


def _judge_events(promised: Promised, kept: Kept) -> Iterator[Finding]:
    listed = set(kept.events)
    for event in sorted(set(promised.events) - listed):
        yield Finding(Harm.LOST, f"the event {event} is not at the service")
    for event in sorted(listed - set(promised.noticed) - set(promised.events)):
        yield Finding(Harm.STRAY, f"no doorbell told of the event {event}")
    for event in _repeated(kept.events):
        yield Finding(Harm.DOUBLED, f"the event {event} is listed twice")


def _judge_clips(promised: Promised, clips: Collection[KeptClip]) -> Iterator[Finding]:
    stored = {clip.clip for clip in clips if clip.is_stored}
    for missing in sorted({*promised.clips, *(clip.clip for clip in clips)} - stored):
        yield Finding(Harm.LOST, f"the clip {missing} is not stored at the service")
    for repeated in _repeated(clip.clip for clip in clips):
        yield Finding(Harm.DOUBLED, f"the clip {repeated} is listed twice")
    once = {clip.clip: clip for clip in clips}.values()
    # The parts of a long visit share its events.
    shown = ((event, clip.part) for clip in once for event in clip.events)
    for event, part in _repeated(shown):
        yield Finding(Harm.DOUBLED, f"part {part} of the event {event} was recorded twice")
    for clip in once:
        if clip.trouble:
            yield Finding(Harm.ALTERED, f"the clip {clip.clip}: {clip.trouble}")


def _judge_waiting(promised: Promised, clips: Collection[KeptClip]) -> Iterator[Finding]:
    """What waits is lost as far as anybody knows; a clip that is not stored was found above."""
    missing = {*promised.clips, *(clip.clip for clip in clips)}
    missing -= {clip.clip for clip in clips if clip.is_stored}
    for name, what in sorted(promised.waiting.items()):
        if name not in missing:
            yield Finding(Harm.LOST, f"{what} still waits on its card")


def _judge_chains(clips: Collection[KeptClip]) -> Iterator[Finding]:
    """A doorbell numbers its clips: a number that is missing is a clip that is."""
    numbers: defaultdict[DeviceId, list[int]] = defaultdict(list)
    for clip in {clip.clip: clip for clip in clips}.values():
        numbers[clip.device].append(clip.seq)
    for device, found in sorted(numbers.items()):
        for seq in sorted(set(range(1, max(found) + 1)) - set(found)):
            yield Finding(Harm.LOST, f"clip number {seq} of the doorbell {device} is missing")
        for seq in _repeated(found):
            yield Finding(Harm.DOUBLED, f"two clips of the doorbell {device} have number {seq}")


def _judge_bucket(kept: Kept) -> Iterator[Finding]:
    signed = _signed_objects(kept.clips)
    stored = _signed_objects(clip for clip in kept.clips if clip.is_stored)
    for key in sorted(stored.keys() - kept.bucket.keys()):
        yield Finding(Harm.LOST, f"the object {key} is not in the bucket")
    for key in sorted(kept.bucket.keys() - signed.keys()):
        yield Finding(Harm.STRAY, f"no clip has the object {key} of the bucket")
    for key in sorted(signed.keys() & kept.bucket.keys()):
        if signed[key] != kept.bucket[key]:
            yield Finding(Harm.ALTERED, f"the object {key} is not what the doorbell signed")


def _signed_objects(clips: Iterable[KeptClip]) -> dict[str, Bytes]:
    return {
        object_key(clip.clip, name): facts for clip in clips for name, facts in clip.objects.items()
    }


def _judge_rows(kept: Kept) -> Iterator[Finding]:
    wanted = expected_rows(kept)
    for table, rows in sorted(kept.rows.items()):
        for key in sorted(wanted[table] - set(rows)):
            yield Finding(Harm.LOST, f"the row {key} of the table {table} is missing")
        for key in sorted(set(rows) - wanted[table]):
            yield Finding(Harm.STRAY, f"nothing listed has the row {key} of the table {table}")
        for key in _repeated(rows):
            yield Finding(Harm.DOUBLED, f"the row {key} of the table {table} is there twice")


def expected_rows(kept: Kept) -> Mapping[str, set[str]]:
    """Return the keys that what is listed has in each table: no more and no fewer."""
    objects = {f"{clip.clip}/{name.value}" for clip in kept.clips for name in clip.objects}
    return {
        "event": set(kept.events),
        "clip": {clip.clip for clip in kept.clips},
        "clip_event": {f"{clip.clip}/{event}" for clip in kept.clips for event in clip.events},
        "clip_object": objects,
        "clip_envelope": objects,
    }


TABLES: Final[Mapping[str, str]] = {
    "event": "id",
    "clip": "id",
    "clip_event": "clip || '/' || event",
    "clip_object": "clip || '/' || object",
    "clip_envelope": "clip || '/' || object",
}
"""The tables of events and clips, and the SQL of a row's key as an audit has it."""


def _repeated(values: Iterable[K]) -> list[K]:
    """Return what comes more than once, in the order of its first coming."""
    return [value for value, count in Counter(values).items() if count > 1]
