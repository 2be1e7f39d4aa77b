"""The page on formats says what the code writes."""

import re
from typing import Final

import pytest
from pydantic import BaseModel

from doorstep_cloud.ingest import access
from doorstep_device.clip_folder import ClipRecord, ClipState
from doorstep_device.identity import Enrolment
from doorstep_shared import (
    agencies,
    areas,
    claim,
    fields,
    grants,
    manifest,
    requests,
    seal,
    signing,
    statements,
    tail,
    topics,
    wire,
)
from doorstep_shared.agencies import AgencyRecord
from doorstep_shared.commands import Command
from doorstep_shared.consent import AgencyKind, ConsentPolicy
from doorstep_shared.custody import CustodyRecord
from doorstep_shared.deletions import Deletion
from doorstep_shared.grants import Grant
from doorstep_shared.receipts import Receipt
from doorstep_shared.requests import AssistanceRequest, Purpose
from tests.people import doorbell
from tests.unit.docs.pages import DOCS, blocks, inline_code, rows, section

FORMATS: Final = (DOCS / "formats.md").read_text()

BODIES: Final[dict[topics.Leaf, type[BaseModel]]] = {
    topics.Leaf.HELLO: wire.Hello,
    topics.Leaf.RING: wire.Event,
    topics.Leaf.MOTION: wire.Event,
    topics.Leaf.CLIP: wire.Announcement,
    topics.Leaf.HEALTH: wire.Health,
    topics.Leaf.STATUS: wire.Status,
    topics.Leaf.ACK: wire.Ack,
    topics.Leaf.STATEMENTS: wire.Statements,
}


WORDS = {"subscribeLiteral": "hears", "publishClientSend": "says"}


def test_the_topics_are_those_of_the_code_with_their_fields() -> None:
    table = {row[0].strip("`"): row for row in rows(section(FORMATS, "On the wire"))}
    assert set(table) == {leaf.levels for leaf in topics.Leaf}
    for leaf in topics.Leaf:
        assert table[leaf.levels][1] == leaf.way.value
        if leaf in BODIES:
            assert inline_code(table[leaf.levels][2]) == list(BODIES[leaf].model_fields)


def test_the_rights_are_those_that_brokers_are_given() -> None:
    device = doorbell("front").device.id
    rights = [("ingest", right) for right in access.ingest_rights()]
    rights += [("doorbell", right) for right in access.device_rights(device)]
    lines = [
        f"{who:9}{WORDS[right['acltype']]:6}{right['topic']}".replace(
            topics.common_name(device), "{shard}/{device}"
        )
        for who, right in rights
        if right["acltype"] in WORDS and not str(right["topic"]).startswith("$")
    ]
    assert "\n".join(lines) + "\n" in blocks(FORMATS)


@pytest.mark.parametrize(
    ("title", "models"),
    [
        (
            "Statement",
            [statements.Statement, statements.Member, statements.Device, statements.Epoch],
        ),
        ("Manifest", [manifest.Manifest, manifest.ObjectFacts, manifest.PayloadFacts]),
        ("Receipt", [Receipt]),
        ("Deletion", [Deletion]),
        ("Command", [Command]),
        ("Consent policy", [ConsentPolicy]),
        ("On the doorbell's card", [ClipRecord, Enrolment]),
    ],
)
def test_no_field_is_left_out(title: str, models: list[type[BaseModel]]) -> None:
    said = set(re.findall(r"\w+", section(FORMATS, title)))
    unwritten = {"refusal", "stored_at"}  # the card's own notes on a clip, in no other format
    for model in models:
        assert set(model.model_fields) - said - unwritten == set()


def test_the_first_column_of_a_signed_body_is_its_fields_in_order() -> None:
    for title, model in (
        ("Statement", statements.Statement),
        ("Manifest", manifest.Manifest),
        ("Agency", AgencyRecord),
        ("Assistance request", AssistanceRequest),
        ("Grant", Grant),
        ("Custody record", CustodyRecord),
    ):
        column = [name for row in rows(section(FORMATS, title)) for name in inline_code(row[0])]
        assert column == list(model.model_fields)


def test_the_kinds_of_agencies_and_the_purposes_of_requests_are_all_named() -> None:
    for title, field, values in (
        ("Agency", "`kind`", AgencyKind),
        ("Assistance request", "`purpose`", Purpose),
    ):
        (row,) = (row for row in rows(section(FORMATS, title)) if row[0] == field)
        assert inline_code(row[1]) == list(values)


def test_the_kinds_that_are_signed_are_all_named() -> None:
    named = inline_code(section(FORMATS, "Signed container").partition("Kinds:")[2])
    assert named == [kind.value for kind in signing.Kind]


def test_the_states_of_a_clip_are_all_named_in_order() -> None:
    text = section(FORMATS, "On the doorbell's card")
    named = inline_code(text.partition("A clip's `state` is ")[2])
    assert named[: len(ClipState)] == [state.value for state in ClipState]


def test_the_numbers_are_those_of_the_code() -> None:
    mib = 1024 * 1024
    minute = 60 * 1000
    day = 24 * 60 * minute
    assert (33 * mib, 33 * mib + 128 * 1024) == tail.SLOT_OFFSETS
    assert seal.SEALED_CHUNK_BYTES == 65552
    assert "chunk n begins at 16 + 65552·n" in FORMATS
    assert (seal.chunk_offset(0), seal.chunk_offset(1)) == (16, 16 + 65552)
    longest = [manifest.MAX_PAYLOAD_BYTES, manifest.MAX_THUMB_BYTES]
    assert longest == [32 * mib, 256 * 1024]
    assert (manifest.MAX_ENVELOPE_BYTES, manifest.MAX_EVENTS) == (2 * 1024, 32)
    assert (statements.MAX_MEMBERS, statements.MAX_DEVICES) == (32, 64)
    assert statements.MAX_EPOCH_MS == 45 * 24 * 3600 * 1000
    assert (claim.MAX_URL_BYTES, claim.MAX_PART_CHARS) == (200, 64)
    assert (signing.MAX_BODY_BYTES, signing.MAX_DEPTH, signing.MAX_SIGNATURES) == (48 * 1024, 8, 16)
    assert (areas.MIN_CELLS, areas.MAX_CELLS, areas.MAX_AREA_KM2) == (3, 12, 1.295)
    assert (fields.MAX_NAME_CHARS, agencies.MAX_CONTACT_CHARS) == (100, 200)
    assert (requests.MAX_REFERENCE_CHARS, requests.MAX_QUESTION_CHARS) == (64, 1000)
    assert (15 * minute, 12 * 60 * minute) == (requests.MIN_WINDOW_MS, requests.MAX_WINDOW_MS)
    assert (30 * day, 7 * day) == (requests.MAX_AGE_MS, requests.MAX_OPEN_MS)
    assert (7 * day, 5 * minute) == (grants.FETCH_MS, grants.MAX_CLOCK_OFF_MS)
    assert wire.MAX_ANNOUNCEMENT_BYTES == 8 * 1024


def test_a_slot_is_laid_out_as_its_table_says() -> None:
    slot = tail.Slot(index=1, media_ms=2, body_sha256=b"\x03" * 32, chunk=b"\x04" * 16)
    data = tail.encode_slot(slot)
    widths = {
        row[0]: int(row[1])
        for row in rows(section(FORMATS, "On the doorbell's card"))
        if row[1].isdigit()
    }
    assert widths == {"index": 4, "media_ms": 4, "body_sha256": 32, "chunk_bytes": 4, "crc32c": 4}
    assert data[:44] == b"\0\0\0\1\0\0\0\2" + b"\x03" * 32 + b"\0\0\0\x10"
    assert len(data) == sum(widths.values()) + len(slot.chunk)
