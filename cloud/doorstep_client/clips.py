"""Clips and events of the household: listed, fetched, checked, opened.

A list is what the service says. A clip is opened only after every check of
`doorstep_shared.opening`, with the id that was asked for: a service that
answers with another clip is found out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Final, Generic, Literal, TypeVar

import httpx
from pydantic import Field

from doorstep_client.answers import Answer, Moment, Word, read_answer
from doorstep_client.errors import OddAnswerError
from doorstep_client.household import Household
from doorstep_client.service import Progress, Service
from doorstep_shared.errors import BadMessageError
from doorstep_shared.fields import MAX_SAFE_INT, ClipIdField, Counter, DeviceIdField, EventIdField
from doorstep_shared.ids import parse_clip_id
from doorstep_shared.manifest import MAX_EVENTS, ClipKind, Manifest, ObjectName
from doorstep_shared.opening import (
    UnprovenClipError,
    VerifiedObject,
    check_manifest,
    open_object,
)
from doorstep_shared.signing import Signed

T = TypeVar("T", bound=Answer)

LATEST: Final = "latest"
PAGE_ITEMS: Final = 100

Seconds = Annotated[float, Field(ge=0, le=MAX_SAFE_INT)]


class EventItem(Answer):
    """An event, as the service tells it."""

    id: EventIdField
    kind: ClipKind
    device: DeviceIdField
    at: Moment
    received_at: Moment
    clock_synced: bool
    alert: Word
    is_missed: bool
    clip: ClipIdField | None


class StoredObject(Answer):
    """One of a clip's objects, as the service tells it."""

    size_bytes: Counter
    is_stored: bool


class ClipItem(Answer):
    """A clip, as the service tells it."""

    id: ClipIdField
    device: DeviceIdField
    kind: ClipKind
    events: Annotated[tuple[EventIdField, ...], Field(max_length=MAX_EVENTS)]
    started_at: Moment
    ended_at: Moment
    duration_s: Seconds
    pre_roll_s: Seconds
    part: Counter
    is_last: bool
    is_truncated: bool
    state: Literal["announced", "stored"]
    stored_at: Moment | None
    objects: Annotated[Mapping[Word, StoredObject | None], Field(max_length=16)]

    @property
    def file(self) -> StoredObject | None:
        """Return what is known of the video itself."""
        return self.objects.get(ObjectName.FILE)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events or clips to list.

    Attributes:
        since: RFC 3339 with its zone.
        until: Likewise: only before then.
        limit: At most so many.
    """

    kind: ClipKind | None = None
    device: str | None = None
    since: str | None = None
    limit: int = 50
    until: str | None = None


def list_events(household: Household, wanted: Filter) -> list[EventItem]:
    """Return the newest events first."""
    return list(_pages(household, Page[EventItem], "/v1/events", wanted))


def list_clips(household: Household, wanted: Filter) -> list[ClipItem]:
    """Return the newest clips first."""
    return list(_pages(household, Page[ClipItem], "/v1/clips", wanted))


def read_clip(household: Household, clip: str) -> ClipItem:
    """Return what the service says of ``clip``, an id or ``latest``.

    Raises:
        NotThereError: There is none.
    """
    known = named_clip(clip)
    return household.ask(lambda service: service.get(f"/v1/clips/{known}", ClipItem))


def moment(text: str | None, option: str = "--since") -> str | None:
    """Return ``text`` as the service wants a time; without a zone it is this computer's.

    Raises:
        BadMessageError: It is no time.
    """
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC).isoformat()
    except ValueError as error:
        raise BadMessageError(
            f"{text!r} is no time",
            safe="Nothing was asked.",
            do=f"{option} 2026-11-22, or {option} 2026-11-22T18:00",
        ) from error


def named_clip(text: str) -> str:
    """Return ``text`` if it names a clip: an id or ``latest``.

    Raises:
        BadMessageError: It does not.
    """
    try:
        return text if text == LATEST else parse_clip_id(text)
    except BadMessageError as error:
        raise BadMessageError(
            error.fact, safe="Nothing was fetched.", do="doorstep clip list        (shows the ids)"
        ) from error


def check_clip(household: Household, clip: str) -> Manifest:
    """Return the verified manifest of ``clip``, an id or ``latest``.

    Raises:
        UnprovenClipError, WrongSignatureError: No doorbell of this household
            recorded it.
    """
    known = read_clip(household, clip).id if clip == LATEST else named_clip(clip)
    signed = household.ask(lambda service: service.get(f"/v1/clips/{known}/manifest", Signed))
    manifest = check_manifest(signed, household.chain().statements)
    if manifest.clip != known:
        raise UnprovenClipError(
            "the service answered with another clip than the one asked for",
            safe="It was not opened.",
            do="doorstep clip list",
        )
    return manifest


def open_clip_object(
    household: Household,
    manifest: Manifest,
    name: ObjectName = ObjectName.FILE,
    progress: Progress | None = None,
) -> VerifiedObject:
    """Return object ``name`` of the clip of a checked ``manifest``, opened.

    Raises:
        NotThereError: It is not stored yet.
        UnprovenClipError, RefusedError, BadMessageError: It is not what the
            doorbell signed, or does not open.
    """
    path = f"/v1/clips/{manifest.clip}/{name.value}.age"
    facts = manifest.objects.get(name)
    # One that the manifest does not name is refused by `open_object`, whatever it holds.
    size_bytes = facts.envelope.length + facts.payload.length if facts else 0
    data = household.ask(lambda service: service.get_bytes(path, size_bytes, progress))
    return open_object(manifest, name, data, household.epochs())


def read_event(data: str) -> EventItem:
    """Return the event in a line of the stream.

    Raises:
        BadMessageError: It is none.
    """
    return read_answer(EventItem, data.encode(), "GET /v1/events/stream")


class Page(Answer, Generic[T]):
    """Some items of a list, and the address of the next page."""

    items: Annotated[tuple[T, ...], Field(max_length=PAGE_ITEMS)]
    next: Annotated[str, Field(max_length=2048)] | None

    def cursor(self, address: str) -> str | None:
        """Return the cursor in ``next``, which leads on in the list at ``address``.

        Raises:
            OddAnswerError: It leads elsewhere, or nowhere.
        """
        if self.next is None:
            return None
        try:
            onward, here = httpx.URL(self.next), httpx.URL(address)
        except httpx.InvalidURL as error:
            raise OddAnswerError("the service's next page has no address") from error
        if _place(onward) != _place(here):
            raise OddAnswerError("the service's next page is at another place than this one")
        if not (cursors := onward.params.get_list("cursor")):
            raise OddAnswerError("the service's next page has no beginning")
        return cursors[0]


def _place(url: httpx.URL) -> tuple[str, str, int | None, str]:
    return url.scheme, url.host, url.port, url.path


def _pages(household: Household, model: type[Page[T]], path: str, wanted: Filter) -> Iterator[T]:
    """Yield up to ``wanted.limit`` items, following the service's pages."""
    left, cursor = wanted.limit, None
    while left > 0:
        ask = partial(
            Service.get,
            path=path,
            model=model,
            kind=wanted.kind,
            device=wanted.device,
            since=wanted.since,
            until=wanted.until,
            limit=min(left, PAGE_ITEMS),
            cursor=cursor,
        )
        page = household.ask(ask)
        yield from page.items[:left]
        left -= len(page.items)
        cursor = page.cursor(household.account.url + path)
        if cursor is None or not page.items:
            return
