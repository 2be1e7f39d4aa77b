"""The doorbell's own keys: made once, read again, never replaced."""

import pytest

from doorstep_device.identity import (
    ENROLMENT_PATH,
    TLS_KEY_PATH,
    DamagedIdentityError,
    NotEnrolledError,
    keys_or_new,
    read_enrolment,
    read_keys,
)
from doorstep_shared.ids import parse_device_id
from doorstep_simulator.disk import SimulatedDisk
from tests.people import random_from

FILES = ("device.json", "tls.key", "manifest.key", "age.key")


def test_keys_are_made_once_and_read_again() -> None:
    disk = SimulatedDisk()
    made = keys_or_new(disk, random_from("one"))
    assert keys_or_new(disk, random_from("other")).public == made.public
    assert read_keys(disk).public == made.public
    assert parse_device_id(made.public.device) == made.public.device


def test_two_doorbells_have_nothing_in_common() -> None:
    one, other = (keys_or_new(SimulatedDisk(), random_from(n)).public for n in ("one", "other"))
    assert one.device != other.device
    assert one.tls_key != other.tls_key
    assert one.manifest_key != other.manifest_key
    assert one.age_recipient != other.age_recipient


def test_a_doorbell_without_keys_belongs_to_nobody() -> None:
    with pytest.raises(NotEnrolledError):
        read_keys(SimulatedDisk())
    with pytest.raises(NotEnrolledError):
        read_enrolment(SimulatedDisk())


def test_a_power_cut_while_keys_are_made_leaves_none_or_all() -> None:
    disk = SimulatedDisk()
    made = keys_or_new(disk, random_from("keys"))
    for steps in range(len(disk.steps) + 1):
        found = disk.after_cut(steps, seed=steps)
        try:
            assert read_keys(found).public == made.public
        except NotEnrolledError:
            again = keys_or_new(found, random_from("again"))
            assert read_keys(found.after_cut()).public == again.public


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe", b"00", b'{"device": 7}', None])
def test_keys_that_cannot_be_read_are_told_and_left_alone(name: str, damage: bytes | None) -> None:
    disk = SimulatedDisk()
    keys_or_new(disk, random_from("keys"))
    if damage is None:
        if name == "device.json":
            return  # without it there are no keys yet
        disk.remove(f"identity/{name}")
    else:
        disk.write_whole(f"identity/{name}", damage)
    steps = len(disk.steps)
    with pytest.raises(DamagedIdentityError) as told:
        keys_or_new(disk, random_from("new"))
    assert "kept" in told.value.safe
    assert len(disk.steps) == steps


def test_a_tls_key_of_another_kind_is_damage() -> None:
    disk = SimulatedDisk()
    keys_or_new(disk, random_from("keys"))
    disk.write_whole(TLS_KEY_PATH, ED25519_PEM)
    with pytest.raises(DamagedIdentityError):
        read_keys(disk)


# Made for this test and used nowhere else (RFC 8410 section 10.3).
ED25519_PEM = b"""\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
"""


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b'{"url": "http://a"}'])
def test_an_enrolment_that_cannot_be_read_is_told(damage: bytes) -> None:
    disk = SimulatedDisk()
    disk.write_whole(ENROLMENT_PATH, damage)
    with pytest.raises(DamagedIdentityError):
        read_enrolment(disk)


def test_private_keys_are_never_printed() -> None:
    keys = keys_or_new(SimulatedDisk(), random_from("keys"))
    shown = repr(keys)
    assert keys.manifest.seed.hex() not in shown
    assert repr(keys.manifest.seed) not in shown
    assert str(keys.age) not in shown
