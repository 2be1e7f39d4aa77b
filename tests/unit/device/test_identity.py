"""The doorbell's own keys: made once, read again, never replaced."""

import warnings

import pytest

from doorstep_cloud.devices.authority import Authority, moment_of, to_pem
from doorstep_device.identity import (
    CERTIFICATE_PATH,
    ENROLMENT_PATH,
    TLS_KEY_PATH,
    DamagedIdentityError,
    NotEnrolledError,
    keys_or_new,
    read_certificate_start,
    read_enrolment,
    read_keys,
)
from doorstep_shared.ids import parse_device_id
from doorstep_simulator.disk import SimulatedDisk
from tests.people import NOW_MS, random_from

NOW = moment_of(NOW_MS)
CA = Authority.create(NOW)
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


@pytest.mark.parametrize("name", ["tls.key", "tls.pem"])
def test_a_flipped_bit_in_a_pem_file_is_told_as_damage_or_harmless(name: str) -> None:
    disk = SimulatedDisk()
    keys = keys_or_new(disk, random_from("keys"))
    certificate = CA.issue_device(keys.tls.public_key(), keys.public.device, NOW)
    disk.write_whole(CERTIFICATE_PATH, to_pem(certificate).encode())
    good = disk.read(f"identity/{name}")
    told = 0
    for bit in range(8 * len(good)):
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        changed = Changed(disk, f"identity/{name}", bytes(damaged))
        try:
            with warnings.catch_warnings(action="ignore"):  # of what is allowed for now
                read_keys(changed)
                read_certificate_start(changed)
        except DamagedIdentityError:
            told += 1
    assert told > 4 * len(good)


class Changed(SimulatedDisk):
    """Another disk, but for one file."""

    def __init__(self, disk: SimulatedDisk, path: str, data: bytes) -> None:
        super().__init__()
        self._files = disk._files
        self._changed = {path: data}

    def read(self, path: str) -> bytes:
        return self._changed.get(path) or super().read(path)


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
