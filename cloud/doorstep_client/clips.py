"""Clips and events of the household: listed, fetched, checked, opened.

A list is what the service says. A clip is opened only after every check of
`doorstep_shared.opening`, with the id that was asked for: a service that
answers with another clip is found out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Final, Literal, TypeVar

import httpx
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from doorstep_client.household import Household
from doorstep_client.service import Progress, Service
from doorstep_shared.errors import BadMessageError
from doorstep_shared.fields import ClipIdField, DeviceIdField, EventIdField
from doorstep_shared.ids import parse_clip_id
from doorstep_shared.manifest import ClipKind, Manifest, ObjectName
from doorstep_shared.opening import (
    UnprovenClipError,
    VerifiedObject,
    check_manifest,
    open_object,
)
from doorstep_shared.signing import decode_signed

M = TypeVar("M", bound="_Answer")

LATEST: Final = "latest"
PAGE_ITEMS: Final = 100


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class EventItem(_Answer):
    """An event, as the service tells it."""

    id: EventIdField
    kind: ClipKind
    device: DeviceIdField
    at: AwareDatetime
    received_at: AwareDatetime
    clock_synced: bool
    alert: str
    is_missed: bool
    clip: ClipIdField | None


class StoredObject(_Answer):
    """One of a clip's objects, as the service tells it."""

    size_bytes: Annotated[int, Field(ge=0)]
    is_stored: bool


class ClipItem(_Answer):
    """A clip, as the service tells it."""

    id: ClipIdField
    device: DeviceIdField
    kind: ClipKind
    events: tuple[EventIdField, ...]
    started_at: AwareDatetime
    ended_at: AwareDatetime
    duration_s: float
    pre_roll_s: float
    part: int
    is_last: bool
    is_truncated: bool
    state: Literal["announced", "stored"]
    stored_at: AwareDatetime | None
    objects: Mapping[str, StoredObject | None]

    @property
    def file(self) -> StoredObject | None:
        """Return what is known of the video itself."""
        return self.objects.get(ObjectName.FILE)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events or clips to list.

    Attributes:
        since: RFC 3339 with its zone.
        limit: At most so many.
    """

    kind: ClipKind | None = None
    device: str | None = None
    since: str | None = None
    limit: int = 50


def list_events(household: Household, wanted: Filter) -> list[EventItem]:
    """Return the newest events first."""
    return list(_pages(household, EventItem, "/v1/events", wanted))


def list_clips(household: Household, wanted: Filter) -> list[ClipItem]:
    """Return the newest clips first."""
    return list(_pages(household, ClipItem, "/v1/clips", wanted))


def read_clip(household: Household, clip: str) -> ClipItem:
    """Return what the service says of ``clip``, an id or ``latest``.

    Raises:
        NotThereError: There is none.
    """
    known = named_clip(clip)
    return _model(ClipItem, household.ask(lambda service: service.get(f"/v1/clips/{known}")))


def moment(text: str | None) -> str | None:
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
            do="--since 2026-11-22, or --since 2026-11-22T18:00",
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
    data = household.ask(lambda service: service.get_bytes(f"/v1/clips/{known}/manifest"))
    manifest = check_manifest(decode_signed(data), household.chain().statements)
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
    data = household.ask(lambda service: service.get_bytes(path, progress))
    return open_object(manifest, name, data, household.epochs())


def read_event(data: str) -> EventItem:
    """Return the event in a line of the stream.

    Raises:
        BadMessageError: It is none.
    """
    try:
        return EventItem.model_validate_json(data)
    except ValidationError as error:
        raise BadMessageError("the service sent an event that is none") from error


def _pages(household: Household, model: type[M], path: str, wanted: Filter) -> Iterator[M]:
    """Yield up to ``wanted.limit`` items, following the service's pages."""
    left, cursor = wanted.limit, None
    while left > 0:
        page = _model(_Page, household.ask(partial(_get_page, path, wanted, left, cursor)))
        yield from (_model(model, item) for item in page.items)
        left -= len(page.items)
        cursor = page.cursor
        if cursor is None or not page.items:
            return


def _get_page(path: str, wanted: Filter, left: int, cursor: str | None, service: Service) -> object:
    return service.get(
        path,
        kind=wanted.kind,
        device=wanted.device,
        since=wanted.since,
        limit=min(left, PAGE_ITEMS),
        cursor=cursor,
    )


class _Page(_Answer):
    items: list[dict[str, object]]
    next: str | None

    @property
    def cursor(self) -> str | None:
        """Return the cursor in ``next``; its address is the service's business, not ours."""
        return httpx.URL(self.next).params.get("cursor") if self.next else None


def _model(model: type[M], data: object) -> M:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise BadMessageError(f"the service's answer is no {model.__name__}") from error
