"""Custody records: the service's word on how a released clip came, and no more than that."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from doorstep_shared.custody import (
    CustodyRecord,
    WrongCustodyError,
    sign_custody,
    verify_custody,
)
from doorstep_shared.errors import BadMessageError
from doorstep_shared.ids import ReleaseId
from doorstep_shared.manifest import read_manifest
from doorstep_shared.signing import Kind, SigningKey, WrongSignatureError, decode_signed, sign
from tests.people import NOW_MS, OWNER, random_from
from tests.questions import AGENCY, AGENCY_KEY, REQUEST

MANIFEST = Path(__file__).parents[2] / "golden" / "manifest-v1.json"
RECEIPT_KEY = SigningKey.generate(random_from("receipt"))
SIGNED_MANIFEST = decode_signed(MANIFEST.read_bytes())
READ = read_manifest(SIGNED_MANIFEST)
RECORD = CustodyRecord(
    release=ReleaseId("e" * 26),
    request=REQUEST.request,
    request_sha256=bytes(range(32)),
    agency=AGENCY.agency,
    agency_key=AGENCY_KEY.public.key_id,
    recipient=REQUEST.recipient,
    file_sha256=bytes(range(1, 33)),
    file_length=READ.file.payload.length + 168,
    payload_sha256=READ.file.payload.sha256,
    manifest_sha256=SIGNED_MANIFEST.body_hash,
    manifest=None,
    grant_sha256=bytes(range(2, 34)),
    name=None,
    start=READ.start,
    end=READ.end,
    clock_synced=True,
    received_at=NOW_MS + 20_000,
    available_at=NOW_MS + 3_600_000,
    at=NOW_MS + 3_600_001,
)
NAMED = RECORD.model_copy(update={"name": "Ada", "manifest": MANIFEST.read_bytes()})


@pytest.mark.parametrize("record", [RECORD, NAMED])
def test_a_record_is_the_services(record: CustodyRecord) -> None:
    assert verify_custody(sign_custody(record, RECEIPT_KEY), RECEIPT_KEY.public) == record


def test_without_a_name_it_names_no_household_doorbell_or_clip() -> None:
    said = sign_custody(RECORD, RECEIPT_KEY).body.decode()
    for told in (READ.household, READ.device, READ.clip, *READ.events):
        assert told not in said


def test_a_record_that_another_key_signed_is_refused() -> None:
    with pytest.raises(WrongSignatureError):
        verify_custody(sign_custody(RECORD, OWNER.sign), RECEIPT_KEY.public)


def test_a_receipt_is_no_record() -> None:
    signed = sign(Kind.RECEIPT, RECORD.model_dump(mode="json"), RECEIPT_KEY)
    with pytest.raises(WrongSignatureError):
        verify_custody(signed, RECEIPT_KEY.public)


@pytest.mark.parametrize(
    "changes",
    [
        {"manifest_sha256": bytes(32)},
        {"payload_sha256": bytes(32)},
        {"start": 0},
        {"end": READ.end + 1},
        {"clock_synced": False},
    ],
)
def test_a_manifest_in_it_is_the_clips(changes: dict[str, object]) -> None:
    signed = sign_custody(NAMED.model_copy(update=changes), RECEIPT_KEY)
    with pytest.raises(WrongCustodyError, match="another clip's"):
        verify_custody(signed, RECEIPT_KEY.public)


def test_a_manifest_in_it_that_is_none_is_refused() -> None:
    for junk in (b"", b"{}", sign_custody(RECORD, RECEIPT_KEY).encode()):
        signed = sign_custody(NAMED.model_copy(update={"manifest": junk}), RECEIPT_KEY)
        with pytest.raises(BadMessageError):
            verify_custody(signed, RECEIPT_KEY.public)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Ada"}, "only with one"),
        ({"manifest": b"{}"}, "only with one"),
        ({"end": READ.start - 1}, "ends after it starts"),
        ({"name": "Ada\n", "manifest": b"{}"}, "name"),
        ({"file_length": 0}, "file_length"),
        ({"release": "01a0c450-6c00-7000-8000-00000000000c"}, "release"),
    ],
)
def test_a_record_holds_together(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        CustodyRecord.model_validate({**RECORD.model_dump(), **changes})
