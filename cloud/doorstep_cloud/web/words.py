"""What is wrong with a request, in plain words: which part of it, and what that takes.

Never what was sent: it may be a secret with one wrong letter.
"""

from collections.abc import Mapping
from typing import Final, TypedDict

_TIME: Final = "a time like 2026-11-22T18:00:00Z"

TAKES: Final[Mapping[tuple[str, str], str]] = {
    ("query", "kind"): "ring or motion",
    ("query", "device"): "a doorbell's id, as in /v1/devices",
    ("query", "since"): _TIME,
    ("query", "until"): _TIME,
    ("query", "limit"): "a number from 1 to 200",
    ("query", "cursor"): "what stands behind cursor= in the `next` of the page before",
    ("query", "after"): "the number of the last one you have, 0 or more",
    ("path", "device"): "a doorbell's id, as in /v1/devices",
    ("path", "clip"): "a clip's id, as in /v1/clips, or latest",
    ("path", "name"): "file, thumb or details",
    ("path", "claim_id"): "the 22 characters that POST /v1/claims was given",
    ("path", "token_id"): "a token's id, as in /v1/tokens",
    ("header", "last-event-id"): "the id of an event heard before",
    ("query", "if_days"): "a number from 1 to 60",
    ("body", "retention_days"): "a number from 1 to 60",
    ("body", "name"): "1 to 64 characters, no control characters",
    ("body", "days"): "a number from 1 to 90",
    ("body", "scopes"): "a list of scopes such as events:read",
}
"""By where it stands and its name. Of a body only what people type; the rest programs write."""

_LONGEST_NAME: Final = 64
_OURS: Final = "value_error"


class Flaw(TypedDict):
    """What pydantic says of one flaw, as far as it is used here."""

    type: str
    loc: tuple[str | int, ...]
    msg: str


def describe(flaw: Flaw) -> str:
    """Return one flaw of a request as a fact."""
    where, *names = (str(part) for part in flaw["loc"])
    name = f"`{'.'.join(names)[:_LONGEST_NAME]}`" if names else f"the {where}"
    if flaw["type"] == "missing":
        return f"{name} is missing"
    if flaw["type"] == "extra_forbidden":
        return f"{name} is not known here"
    if names and (takes := TAKES.get((where, names[0].lower()))) is not None:
        return f"{name} takes {takes}"
    if flaw["type"] == _OURS:
        return f"{name}: {flaw['msg'].removeprefix('Value error, ')}"
    return f"{name} is not of the form it has here"
