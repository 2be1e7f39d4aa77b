"""A download gives its place back however it ends."""

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from doorstep_cloud.clips.downloads import Download, DownloadPlaces, TooManyDownloadsError
from doorstep_cloud.clips.rules import Span
from doorstep_cloud.clips.service import SealedObject
from doorstep_cloud.store.objects import connect_objects

NOWHERE = connect_objects(
    endpoint="http://127.0.0.1:9", bucket="none", access_key="", secret_key="", connections=1
)
SEALED = SealedObject(envelope=b"envelope", payload_length=10, payload_sha256=bytes(32), key="key")
SCOPE = {"type": "http", "asgi": {"spec_version": "2.4"}}


def begin(places: DownloadPlaces) -> Download:
    return Download(NOWHERE, places, SEALED, span=Span(0, 8), headers={})


async def never() -> Message:
    raise AssertionError("nothing is waited for")


async def test_a_place_is_held_until_the_last_byte_is_sent() -> None:
    places = DownloadPlaces(1)
    download = begin(places)
    with pytest.raises(TooManyDownloadsError):
        begin(places)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await download(SCOPE, never, send)
    assert b"".join(message.get("body", b"") for message in sent) == b"envelope"
    with places.taken():
        assert download.status_code == 206


async def test_a_reader_who_leaves_gives_the_place_back() -> None:
    places = DownloadPlaces(1)
    download = begin(places)

    async def gone(_: Message) -> None:
        raise ConnectionResetError

    with pytest.raises(ClientDisconnect):
        await download(SCOPE, never, gone)
    with places.taken():
        assert download.status_code == 206
