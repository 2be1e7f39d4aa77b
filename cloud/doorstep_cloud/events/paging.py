"""Long lists, a page at a time, newest first.

A cursor is the sort key of the last item shown: a time in Unix milliseconds and
an id. Pages stay whole while new items arrive in front of them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, Generic, TypeVar
from urllib.parse import urlencode

from fastapi import Response
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from doorstep_shared.fields import MAX_SAFE_INT, DeviceIdField
from doorstep_shared.ids import UUID7_PATTERN
from doorstep_shared.manifest import ClipKind

MAX_ITEMS: Final = 200
DEFAULT_ITEMS: Final = 50

_CURSOR: Final = re.compile(rf"(\d{{1,16}})\.({UUID7_PATTERN.strip('^$')})")

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a list an item stands.

    Attributes:
        at: Its time, Unix milliseconds.
        id: Its id, to order items of one millisecond.
    """

    at: int
    id: str

    def __str__(self) -> str:
        """Return the place as a cursor."""
        return f"{self.at}.{self.id}"


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some items, and where the next page begins; None at the end."""

    items: Sequence[Item]
    next: Place | None


def _cursor(text: str) -> str:
    _parse(text)
    return text


def _parse(text: str) -> Place:
    found = _CURSOR.fullmatch(text)
    if found is None or int(found[1]) > MAX_SAFE_INT:
        raise ValueError("this is no cursor of this service; take it from `next`")
    return Place(int(found[1]), found[2])


class ListQuery(BaseModel):
    """What every list may be asked. An unknown name is refused by name.

    Attributes:
        since: From this time on.
        until: Up to, not including, this time.
        cursor: From an earlier page's `next`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: ClipKind | None = None
    device: DeviceIdField | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_ITEMS)] = DEFAULT_ITEMS
    cursor: Annotated[str, AfterValidator(_cursor)] | None = None

    def conditions(
        self,
        *,
        kind: InstrumentedAttribute[str],
        device: InstrumentedAttribute[str],
        at: InstrumentedAttribute[int],
        id_: InstrumentedAttribute[str],
    ) -> list[ColumnElement[bool]]:
        """Return what a row must fulfil, given the columns that play these parts."""
        wanted: list[ColumnElement[bool]] = []
        if self.kind is not None:
            wanted.append(kind == self.kind.value)
        if self.device is not None:
            wanted.append(device == self.device)
        if self.since is not None:
            wanted.append(at >= _ms(self.since))
        if self.until is not None:
            wanted.append(at < _ms(self.until))
        if self.cursor is not None:
            place = _parse(self.cursor)
            wanted.append(tuple_(at, id_) < tuple_(place.at, place.id))
        return wanted

    def link(self, address: str, place: Place | None) -> str | None:
        """Return the address of the page of the list at ``address`` that begins after ``place``."""
        if place is None:
            return None
        asked = self.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        return f"{address}?{urlencode({**asked, 'cursor': str(place)})}"


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def add_link(response: Response, address: str | None) -> str | None:
    """Name the next page in the ``Link`` header too (RFC 8288), and return it."""
    if address is not None:
        response.headers["Link"] = f'<{address}>; rel="next"'
    return address
