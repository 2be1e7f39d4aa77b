"""A download gives its place back however it ends."""

import asyncio
from contextlib import ExitStack
from unittest.mock import patch

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from doorstep_cloud.clips import downloads
from doorstep_cloud.clips.downloads import (
    PER_HOUSEHOLD,
    Download,
    DownloadPlaces,
    TooManyDownloadsError,
)
from doorstep_cloud.clips.rules import Span
from doorstep_cloud.clips.service import SealedObject
from doorstep_cloud.store.objects import connect_objects
from doorstep_shared.ids import ClipId, HouseholdId

NOWHERE = connect_objects(
    endpoint="http://127.0.0.1:9", bucket="none", access_key="", secret_key="", connections=1
)
SEALED = SealedObject(envelope=b"envelope", payload_length=10, payload_sha256=bytes(32), key="key")
OWN, NEIGHBOUR = HouseholdId("h" * 26), HouseholdId("n" * 26)
CLIP = ClipId("01a0c450-6c00-7000-8000-00000000000c")
SCOPE = {"type": "http", "asgi": {"spec_version": "2.4"}}


def begin(places: DownloadPlaces) -> Download:
    return Download(
        NOWHERE,
        places,
        SEALED,
        clip=CLIP,
        is_there=lambda: True,
        household=OWN,
        span=Span(0, 8),
        headers={},
    )


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
    with places.taken(OWN):
        assert download.status_code == 206


async def test_a_reader_who_leaves_gives_the_place_back() -> None:
    places = DownloadPlaces(1)
    download = begin(places)

    async def gone(_: Message) -> None:
        raise ConnectionResetError

    with pytest.raises(ClientDisconnect):
        await download(SCOPE, never, gone)
    with places.taken(OWN):
        assert download.status_code == 206


async def test_a_reader_who_stops_reading_gives_the_place_back_too() -> None:
    places = DownloadPlaces(1)
    download = begin(places)

    async def stalled(_: Message) -> None:
        await asyncio.Event().wait()

    with patch.object(downloads, "PIECE_S", 0.01):
        await download(SCOPE, never, stalled)
    with places.taken(OWN):
        assert download.status_code == 206


async def test_a_reader_who_stops_is_noticed_under_an_older_server_too() -> None:
    # Such a server says when the reader has gone, and Starlette waits for its word.
    places = DownloadPlaces(1)
    download = begin(places)

    async def nothing() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def stalled(_: Message) -> None:
        await asyncio.Event().wait()

    with patch.object(downloads, "PIECE_S", 0.01):
        await download(SCOPE | {"asgi": {"spec_version": "2.0"}}, nothing, stalled)
    with places.taken(OWN):
        assert download.status_code == 206


def test_one_household_does_not_take_all_places() -> None:
    places = DownloadPlaces(8)
    with ExitStack() as held:
        for _ in range(PER_HOUSEHOLD):
            held.enter_context(places.taken(OWN))
        with pytest.raises(TooManyDownloadsError, match="this household"), places.taken(OWN):
            pass
        with places.taken(NEIGHBOUR):
            assert len({OWN, NEIGHBOUR}) == 2
    with places.taken(OWN):
        pass
