"""Moments as people and programs read them over HTTP: RFC 3339 in UTC, ending in Z."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from pydantic import PlainSerializer, WithJsonSchema

from doorstep_shared.fields import MAX_TIME_MS

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def to_rfc3339(at_ms: int) -> str:
    """Return Unix milliseconds as ``2026-11-22T09:30:00.000Z``.

    What is no date is shown as the nearest that is one: a row that was taken before
    times had bounds keeps its place in its list, and spoils no other's.
    """
    moment = _EPOCH + timedelta(milliseconds=min(max(at_ms, 0), MAX_TIME_MS))
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[
    int,
    PlainSerializer(to_rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
"""A pydantic field of an answer: Unix milliseconds in the model, RFC 3339 in JSON."""
