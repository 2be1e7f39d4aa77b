"""What enrolment leaves on a card is for ever: cards in the field must be read, and read alike.

A difference from `tests/golden/card-v1/` is a doorbell that has forgotten who it is after an
update, and a card that somebody has to write again. The outbox has its own files.
"""

import shutil
from pathlib import Path

import pytest

from doorstep_device.adapters.disk import FolderDisk
from doorstep_device.household import Membership
from doorstep_device.identity import (
    ENROLMENT_PATH,
    FOLDER,
    Enrolment,
    keys_or_new,
    read_enrolment,
    read_keys,
)
from doorstep_shared.claim import DeviceKeys
from doorstep_shared.signing import decode_signed
from doorstep_shared.statements import verify_chain
from tests.people import FRONT_DOOR, OWNER, random_from

GOLDEN = Path(__file__).parents[2] / "golden" / "card-v1"
CHAIN = GOLDEN.parent / "statements"
ROOT = bytes.fromhex((CHAIN / "root.hex").read_text())
DEVICE = FRONT_DOOR.device
KEYS = DeviceKeys(DEVICE.id, DEVICE.tls_key, DEVICE.manifest_key, DEVICE.age_recipient)
ENROLMENT = Enrolment(
    url="https://doorstep.example",
    root=ROOT,
    setup_key=bytes(range(32)),
    receipt_key=OWNER.sign.public.raw,
    broker_host="broker.doorstep.example",
    broker_port=8883,
)


@pytest.fixture
def disk(tmp_path: Path) -> FolderDisk:
    return FolderDisk(tmp_path)


def test_the_keys_of_a_card_are_written_as_they_always_were(
    disk: FolderDisk, tmp_path: Path
) -> None:
    keys_or_new(disk, random_from("card"))
    written = {path.name: path.read_bytes() for path in (tmp_path / FOLDER).iterdir()}
    # The one for TLS is PEM, drawn by the library.
    assert written.pop("tls.key").startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert written == {path.name: path.read_bytes() for path in (GOLDEN / FOLDER).iterdir()}


def test_the_keys_of_an_old_card_are_read(disk: FolderDisk, tmp_path: Path) -> None:
    fresh = keys_or_new(disk, random_from("another card"))
    shutil.copytree(GOLDEN / FOLDER, tmp_path / FOLDER, dirs_exist_ok=True)
    old = read_keys(disk)
    assert old.public.tls_key == fresh.public.tls_key
    assert old.public.device == "18-s4icteojjplqiuk5k2myusbs6i"
    assert old.manifest.seed.hex() == (GOLDEN / FOLDER / "manifest.key").read_text()
    assert str(old.age) == (GOLDEN / FOLDER / "age.key").read_text()


def test_an_enrolment_is_written_as_it_always_was() -> None:
    assert ENROLMENT.model_dump_json().encode() == (GOLDEN / ENROLMENT_PATH).read_bytes()


def test_an_old_enrolment_is_read(disk: FolderDisk, tmp_path: Path) -> None:
    shutil.copy(GOLDEN / ENROLMENT_PATH, tmp_path)
    assert read_enrolment(disk) == ENROLMENT


def test_the_chain_is_kept_as_it_always_was(disk: FolderDisk, tmp_path: Path) -> None:
    chain = (CHAIN / "chain-v1.jsonl").read_bytes()
    Membership(disk, ROOT, KEYS).accept([decode_signed(line) for line in chain.splitlines()])
    assert (tmp_path / "statements.json").read_bytes() == chain


def test_an_old_chain_is_taken_up(disk: FolderDisk, tmp_path: Path) -> None:
    shutil.copy(CHAIN / "chain-v1.jsonl", tmp_path / "statements.json")
    member = Membership(disk, ROOT, KEYS)
    chain = [
        decode_signed(line) for line in (tmp_path / "statements.json").read_bytes().splitlines()
    ]
    assert member.problems == ()
    assert member.head == verify_chain(chain, ROOT)[-1]
