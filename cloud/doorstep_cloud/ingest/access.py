"""What the broker lets each doorbell say and hear: words for Mosquitto's dynamic security.

Everything is denied that is not allowed here, subscriptions too. The words are
the plugin's own, a JSON API on the topic `CONTROL` and a file of the same
shapes (mosquitto_dynamic_security, Mosquitto 2.0 and later).
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from pydantic import BaseModel, Field, ValidationError

from doorstep_shared.errors import BadMessageError
from doorstep_shared.ids import DeviceId
from doorstep_shared.topics import (
    INGEST_BULK_FILTERS,
    INGEST_CONTROL_FILTERS,
    INGEST_DOWN_FILTERS,
    common_name,
    down_filters,
    up_filters,
)

CONTROL: Final = "$CONTROL/dynamic-security/v1"
RESPONSES: Final = f"{CONTROL}/response"

INGEST: Final = "ingest"
"""Common name of ingest's certificate, and its name at the broker."""

PAGE: Final = 1000
"""Names asked for at a time: 60 KiB, which fits into one message."""

DEVICES_PER_MESSAGE: Final = 32
"""A doorbell takes under 4 KiB of a message, and the broker takes 160 KiB."""

Json = dict[str, object]


class Listed(BaseModel):
    """One page of the names the broker knows."""

    names: list[str] = Field(alias="clients")
    total: int = Field(alias="totalCount", ge=0)


class Answer(BaseModel):
    """What the broker says to one command; ``error`` is its words, if it refused."""

    command: str
    error: str | None = None
    data: Listed | None = None


class _Responses(BaseModel):
    responses: list[Answer]


def first_access_list() -> str:
    """Return the file a broker begins with: it knows ingest, which tells it the rest."""
    return json.dumps(
        {
            "defaultACLAccess": {
                "publishClientSend": False,
                "publishClientReceive": False,
                "subscribe": False,
                "unsubscribe": True,
            },
            "clients": [{"username": INGEST, "roles": [{"rolename": INGEST}]}],
            "groups": [],
            "roles": [{"rolename": INGEST, "acls": ingest_rights()}],
        },
        indent=1,
    )


def ingest_rights() -> list[Json]:
    """Return what ingest may do: hear every doorbell, answer it, and speak to the plugin."""
    heard = (*INGEST_CONTROL_FILTERS, *INGEST_BULK_FILTERS, RESPONSES)
    return [
        *_allow("subscribeLiteral", heard),
        *_allow("publishClientReceive", heard),
        *_allow("publishClientSend", (*INGEST_DOWN_FILTERS, CONTROL)),
    ]


def device_rights(device: DeviceId) -> list[Json]:
    """Return what a doorbell may do: say its up topics, hear its down topics."""
    heard = down_filters(device)
    return [
        *_allow("subscribeLiteral", heard),
        *_allow("publishClientReceive", heard),
        *_allow("publishClientSend", up_filters(device)),
    ]


def admissions(devices: Iterable[DeviceId]) -> list[Json]:
    """Return the commands that let ``devices`` in; one that is in already is not disturbed."""
    return [command for device in devices for command in _admission(device)]


def dismissals(names: Iterable[str]) -> list[Json]:
    """Return the commands that put ``names`` out, at once, and keep them out."""
    return [command for name in names for command in _dismissal(name)]


def list_names(offset: int) -> list[Json]:
    """Return the command that asks for a page of the names the broker knows."""
    return [{"command": "listClients", "verbose": False, "count": PAGE, "offset": offset}]


def in_messages(commands: Sequence[Json]) -> Iterator[bytes]:
    """Yield the bodies that carry ``commands``, none too long for the broker."""
    step = 2 * DEVICES_PER_MESSAGE
    for start in range(0, len(commands), step):
        yield json.dumps({"commands": commands[start : start + step]}).encode()


def read_responses(body: bytes) -> list[Answer]:
    """Return what the broker answered to each command of a message.

    Raises:
        BadMessageError: These are no answers.
    """
    try:
        return _Responses.model_validate_json(body).responses
    except ValidationError as error:
        raise BadMessageError("the broker's plugin answered with something else") from error


def _admission(device: DeviceId) -> Iterator[Json]:
    name = common_name(device)
    yield {"command": "createRole", "rolename": name, "acls": device_rights(device)}
    yield {"command": "createClient", "username": name, "roles": [{"rolename": name}]}


def _dismissal(name: str) -> Iterator[Json]:
    yield {"command": "deleteClient", "username": name}
    yield {"command": "deleteRole", "rolename": name}


def _allow(right: str, topics: Iterable[str]) -> Iterator[Json]:
    for topic in topics:
        yield {"acltype": right, "topic": topic, "allow": True}
