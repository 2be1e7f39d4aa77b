"""Moments as people and programs read them over HTTP: RFC 3339 in UTC, ending in Z."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import PlainSerializer, WithJsonSchema


def to_rfc3339(at_ms: int) -> str:
    """Return Unix milliseconds as ``2026-11-22T09:30:00.000Z``."""
    moment = datetime.fromtimestamp(at_ms / 1000, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[
    int,
    PlainSerializer(to_rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
"""A pydantic field of an answer: Unix milliseconds in the model, RFC 3339 in JSON."""
