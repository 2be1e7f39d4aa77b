"""The doorbell's own enrolment against the service's own, with answers lost and power cut."""

import secrets

import pytest

from doorstep_cloud.devices.service import CLAIM_MS
from doorstep_device.enrolment import Answer, Ask, enrol
from doorstep_device.identity import CERTIFICATE_PATH, read_enrolment, read_keys
from doorstep_shared.claim import Claim, DeviceKeys
from doorstep_shared.encoding import from_base64url, to_base64url
from doorstep_shared.errors import DoorstepError, RefusedError, TryLaterError
from doorstep_simulator.disk import PowerCutError, SimulatedDisk
from tests.cast import STRANGER, Stage
from tests.people import OWNER

MINUTE_MS = 60_000


def asking(service: Stage) -> Ask:
    """Return what posts an enrolment to the service, as the doorbell's adapter does."""

    def ask(_url: str, fields: dict[str, str]) -> Answer:
        answer = service.client.post("/v1/enrolments", json=fields)
        told = answer.json()
        if answer.is_error:
            raise RefusedError(told["title"])
        return Answer(
            certificate=told["certificate"],
            ca_certificate=told["ca_certificate"],
            receipt_certificate=told["receipt_certificate"],
            broker_host=told["broker"]["host"],
            broker_port=told["broker"]["port"],
        )

    return ask


def losing(ask: Ask) -> Ask:
    """Return what asks, and loses the answer on the way."""

    def lost(url: str, fields: dict[str, str]) -> Answer:
        ask(url, fields)
        raise TryLaterError("the answer was lost on the way")

    return lost


def join(disk: SimulatedDisk, claim: Claim, ask: Ask) -> None:
    enrol(disk, str(claim), ask, secrets.token_bytes)


def joined_by_losing(disk: SimulatedDisk, claim: Claim, service: Stage) -> None:
    with pytest.raises(TryLaterError):
        join(disk, claim, losing(asking(service)))


def check_as_owner(service: Stage, claim: Claim, keys: DeviceKeys) -> None:
    """Check what the owner's client checks: these keys, vouched for under this claim."""
    path = f"/v1/claims/{to_base64url(claim.claim_id)}"
    device = service.client.get(path, headers=service.session(OWNER)).json()["device"]
    assert device["id"] == keys.device
    claim.check_binding(keys, from_base64url(device["mac"]))


def test_a_doorbell_whose_answer_was_lost_asks_again_and_is_enrolled(home: Stage) -> None:
    disk, claim = SimulatedDisk(), home.claim()
    joined_by_losing(disk, claim, home)
    first = home.client.get("/v1/devices", headers=home.session(OWNER)).json()["items"]
    join(disk, claim, asking(home))
    assert read_enrolment(disk).root == claim.root
    assert home.client.get("/v1/devices", headers=home.session(OWNER)).json()["items"] == first
    check_as_owner(home, claim, read_keys(disk).public)


def test_so_is_one_whose_power_went_too(home: Stage) -> None:
    disk, claim = SimulatedDisk(), home.claim()
    joined_by_losing(disk, claim, home)
    after = disk.after_cut()
    join(after, claim, asking(home))
    assert read_keys(after).public == read_keys(disk).public
    check_as_owner(home, claim, read_keys(after).public)


def test_the_power_may_go_at_any_step_after_the_answer(home: Stage) -> None:
    whole, begun = SimulatedDisk(), list[int]()
    ask = asking(home)

    def counting(url: str, fields: dict[str, str]) -> Answer:
        begun.append(len(whole.steps))
        return ask(url, fields)

    join(whole, home.claim("whole"), counting)
    assert len(whole.steps) - begun[0] > 10
    for step in range(begun[0], len(whole.steps)):
        home.clock.at_ms += MINUTE_MS  # Nobody may ask without an account more often than that.
        disk, claim = SimulatedDisk(), home.claim(f"step/{step}")
        disk.cut_after(step)
        with pytest.raises(PowerCutError):
            join(disk, claim, ask)
        after = disk.after_cut()
        join(after, claim, ask)
        assert after.read(CERTIFICATE_PATH).startswith(b"-----BEGIN CERTIFICATE")
        check_as_owner(home, claim, read_keys(after).public)


def test_under_a_new_claim_of_its_household_it_is_the_same_doorbell(home: Stage) -> None:
    disk, lost, new = SimulatedDisk(), home.claim("lost"), home.claim("new")
    joined_by_losing(disk, lost, home)
    join(disk, new, asking(home))
    keys = read_keys(disk).public
    check_as_owner(home, new, keys)
    devices = home.client.get("/v1/devices", headers=home.session(OWNER)).json()["items"]
    assert [device["id"] for device in devices] == [keys.device]
    # The lost claim has had its answer; nobody may give it another.
    with pytest.raises(RefusedError, match="no such claim"):
        join(SimulatedDisk(), lost, asking(home))


def test_a_claim_of_another_household_does_not_take_it(home: Stage) -> None:
    disk, own = SimulatedDisk(), home.claim("own")
    joined_by_losing(disk, own, home)
    with pytest.raises(RefusedError, match="already enrolled"):
        join(disk, home.claim("foreign", STRANGER), asking(home))
    check_as_owner(home, own, read_keys(disk).public)


def test_one_key_changed_on_the_way_is_another_doorbell(home: Stage) -> None:
    disk, claim = SimulatedDisk(), home.claim()
    joined_by_losing(disk, claim, home)
    other = SimulatedDisk()
    joined_by_losing(other, home.claim("other"), home)
    foreign = read_keys(other).public

    def changed(name: str, value: str) -> Ask:
        ask = asking(home)
        return lambda url, fields: ask(url, fields | {name: value})

    changes = {
        "manifest_key": to_base64url(foreign.manifest_key),
        "age_recipient": foreign.age_recipient,
        "mac": to_base64url(bytes(32)),
        "device": str(foreign.device),
    }
    for name, value in changes.items():
        with pytest.raises(DoorstepError, match="another doorbell has answered"):
            join(disk, claim, changed(name, value))
    home.clock.at_ms += CLAIM_MS
    join(disk, claim, asking(home))
