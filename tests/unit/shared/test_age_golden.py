"""Sealed bytes that may never change: old clips must open, old slots must be found.

Each value of `tests/golden/age/sealed-v1.json` was made once; the envelope and payload in
it were opened with `age` 1.1.1 and pyrage 1.4.0.
"""

import hashlib
import json
from pathlib import Path

from doorstep_shared.age_keys import Identity, Recipient
from doorstep_shared.crc32c import crc32c
from doorstep_shared.seal import FileKey, PayloadWriter, Sealed, seal_bytes, seal_envelope
from doorstep_shared.tail import SLOT_OFFSETS, RecordingCipher, Slot, parse_slot
from doorstep_shared.unseal import open_age_file

FILE = Path(__file__).parents[2] / "golden" / "age" / "sealed-v1.json"
GOLDEN: dict[str, str] = json.loads(FILE.read_text())

SECRET = bytes(range(32))
FILE_KEY = bytes(range(100, 116))
EPHEMERAL = bytes(range(200, 232))
NONCE = bytes(range(16))
PLAINTEXT = b"A visitor at the door."
FRAGMENTS = (bytes.fromhex("0000000c6d64617400010203"), bytes.fromhex("000000086d646174"))


def seal_golden_box() -> Sealed:
    # The order in which sealing draws its randomness is part of what is pinned here.
    drawn = iter([FILE_KEY, EPHEMERAL, NONCE])
    return seal_bytes(PLAINTEXT, Identity(SECRET).recipient(), lambda _: next(drawn))


def test_keys_are_spelled_as_ever() -> None:
    assert str(Identity(SECRET)) == GOLDEN["identity"]
    assert str(Identity(SECRET).recipient()) == GOLDEN["recipient"]
    assert Identity.parse(GOLDEN["identity"]).secret == SECRET
    assert Recipient.parse(GOLDEN["recipient"]) == Identity(SECRET).recipient()


def test_an_envelope_and_a_payload_are_made_as_ever() -> None:
    box = seal_golden_box()
    assert box.envelope.decode() == GOLDEN["envelope"]
    assert box.payload.hex() == GOLDEN["payload"]


def test_an_old_box_opens() -> None:
    box = GOLDEN["envelope"].encode() + bytes.fromhex(GOLDEN["payload"])
    assert open_age_file(box, [Identity.parse(GOLDEN["identity"])]) == PLAINTEXT


def test_a_payload_of_several_chunks_is_made_as_ever() -> None:
    writer = PayloadWriter(FileKey(FILE_KEY), NONCE)
    payload = writer.write(bytes(200_000)) + writer.finish()
    assert hashlib.sha256(payload).hexdigest() == GOLDEN["payload_of_200000_zeros_sha256"]


def test_an_envelope_for_two_is_made_as_ever() -> None:
    drawn = iter([EPHEMERAL, SECRET])
    recipients = [Identity(SECRET).recipient(), Identity(EPHEMERAL).recipient()]
    envelope = seal_envelope(FileKey(FILE_KEY), recipients, lambda _: next(drawn))
    assert envelope.decode() == GOLDEN["envelope_for_two"]


def test_a_tick_is_written_as_ever() -> None:
    cipher = RecordingCipher(FileKey(FILE_KEY), NONCE)
    body, slot = cipher.tick(FRAGMENTS[0], 1500)
    assert (body.offset, body.data) == (0, NONCE)
    assert slot.offset == SLOT_OFFSETS[0] == 34603008
    assert hashlib.sha256(slot.data).hexdigest() == GOLDEN["first_slot_sha256"]
    last = cipher.finish(FRAGMENTS[1], 1700).writes
    assert [write.offset for write in last] == [16, SLOT_OFFSETS[1], 65568]
    assert last[1].offset == 34734080
    assert last[1].data.hex() == GOLDEN["last_slot"]


def test_an_old_slot_is_found() -> None:
    data = bytes.fromhex(GOLDEN["last_slot"])
    # Read by the layout in the module's docstring, without its code.
    chunk = data[44:-4]
    assert data[:4] == (1).to_bytes(4, "big")
    assert data[4:8] == (1700).to_bytes(4, "big")
    assert data[40:44] == len(chunk).to_bytes(4, "big")
    assert data[-4:] == crc32c(data[:-4]).to_bytes(4, "big")
    assert parse_slot(data) == Slot(1, 1700, data[8:40], chunk)
