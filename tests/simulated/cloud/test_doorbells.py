"""Claims, enrolment, the list of doorbells, over the service's own HTTP."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import PolicyBuilder, Store

from doorstep_cloud.devices.rules import Listing
from doorstep_cloud.devices.service import (
    CLAIM_MS,
    MAX_OPEN_CLAIMS,
    device_for_ingest,
    record_health,
    record_hello,
    record_status,
)
from doorstep_cloud.devices.tables import PresenceRow
from doorstep_shared.claim import fingerprint
from doorstep_shared.encoding import from_base64url, to_base64url
from doorstep_shared.ids import DeviceId
from doorstep_shared.statements import DeviceState
from doorstep_shared.topics import common_name
from doorstep_shared.wire import Hello, Status
from tests.cast import OWN, STRANGER, Stage, enrolment_request
from tests.people import DAY_MS, FRONT_DOOR, OWNER, doorbell
from tests.scripted_doorbell import make_health

BOOT = "b" * 32


def claim_state(service: Stage, claim_id: bytes) -> dict[str, object]:
    """Return what the owner is told of the claim."""
    path = f"/v1/claims/{to_base64url(claim_id)}"
    answer = service.client.get(path, headers=service.session(OWNER))
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


def listed(service: Stage) -> dict[str, object]:
    """Return the one doorbell the owner sees."""
    items = service.client.get("/v1/devices", headers=service.session(OWNER)).json()["items"]
    assert len(items) == 1
    found: dict[str, object] = items[0]
    return found


def test_a_doorbell_answers_a_claim_and_its_owner_can_check_the_answer(home: Stage) -> None:
    claim = home.claim()
    assert claim_state(home, claim.claim_id) == {"state": "waiting", "device": None}
    enrolled = home.enrol(FRONT_DOOR, claim)
    device = claim_state(home, claim.claim_id)["device"]
    assert isinstance(device, dict)
    assert device == {
        "id": enrolled.device.id,
        "tls_key": to_base64url(enrolled.device.tls_key),
        "manifest_key": to_base64url(enrolled.device.manifest_key),
        "age_recipient": enrolled.device.age_recipient,
        "mac": enrolled.request["mac"],
    }


def test_a_doorbells_certificate_names_it_for_ten_years(home: Stage) -> None:
    enrolled = home.enrol(FRONT_DOOR, home.claim())
    pem = str(enrolled.answer["certificate"]).encode()
    certificate = x509.load_pem_x509_certificate(pem)
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert certificate.subject.rfc4514_string() == f"CN={common_name(enrolled.device.id)}"
    # And one day before, for a doorbell whose clock is behind.
    assert life.days == 10 * 365 + 1
    assert certificate.public_key() == enrolled.tls.public_key()
    ca = x509.load_pem_x509_certificate(str(enrolled.answer["ca_certificate"]).encode())
    assert fingerprint(ca.public_bytes(Encoding.DER)) == enrolled.claim.ca_sha256
    verifier = (
        PolicyBuilder()
        .store(Store([ca]))
        .time(certificate.not_valid_after_utc.replace(tzinfo=None))
    )
    found = verifier.build_client_verifier().verify(certificate, [])
    assert found.subjects == [
        x509.UniformResourceIdentifier(f"doorstep:device:{enrolled.device.id}")
    ]


def test_the_receipt_key_comes_signed_by_the_ca(home: Stage) -> None:
    answer = home.enrol(FRONT_DOOR, home.claim()).answer
    ca = x509.load_pem_x509_certificate(str(answer["ca_certificate"]).encode())
    receipt = x509.load_pem_x509_certificate(str(answer["receipt_certificate"]).encode())
    receipt.verify_directly_issued_by(ca)
    key = receipt.public_key()
    assert isinstance(key, ed25519.Ed25519PublicKey)
    assert key.public_bytes_raw() == home.keys.receipt_key.public.raw
    assert answer["broker"] == {"host": "127.0.0.1", "port": 8883}


def test_the_same_enrolment_again_gets_the_same_answer_even_after_the_claim(home: Stage) -> None:
    enrolled = home.enrol(FRONT_DOOR, home.claim())
    home.clock.at_ms += CLAIM_MS
    again = home.client.post("/v1/enrolments", json=enrolled.request)
    assert (again.status_code, again.json()) == (201, enrolled.answer)


def test_a_claim_is_answered_once(home: Stage) -> None:
    claim = home.claim()
    home.enrol(FRONT_DOOR, claim)
    second = doorbell("second").device
    asked = enrolment_request(second, ec.generate_private_key(ec.SECP256R1()), claim)
    answer = home.client.post("/v1/enrolments", json=asked)
    assert answer.status_code == 409
    assert "another doorbell has answered" in answer.json()["title"]


def test_nobody_takes_an_enrolled_doorbells_id_or_key(home: Stage) -> None:
    home.enrol(FRONT_DOOR, home.claim())
    other = doorbell("second").device
    tls = ec.generate_private_key(ec.SECP256R1())
    changes: list[dict[str, object]] = [
        {"id": FRONT_DOOR.device.id},
        {"manifest_key": FRONT_DOOR.device.manifest_key},
    ]
    for number, change in enumerate(changes):
        claim = home.claim(f"other/{number}", STRANGER)
        asked = enrolment_request(other.model_copy(update=change), tls, claim)
        answer = home.client.post("/v1/enrolments", json=asked)
        assert answer.status_code == 409
        assert "already enrolled" in answer.json()["title"]


def test_a_claim_ends_after_a_day(home: Stage) -> None:
    claim = home.claim()
    home.clock.at_ms += CLAIM_MS
    tls = ec.generate_private_key(ec.SECP256R1())
    asked = enrolment_request(FRONT_DOOR.device, tls, claim)
    assert home.client.post("/v1/enrolments", json=asked).status_code == 404
    path = f"/v1/claims/{to_base64url(claim.claim_id)}"
    assert home.client.get(path, headers=home.session(OWNER)).status_code == 404


def test_a_request_not_signed_by_its_own_p256_key_is_refused(home: Stage) -> None:
    claim = home.claim()
    good = enrolment_request(FRONT_DOOR.device, ec.generate_private_key(ec.SECP256R1()), claim)
    wrong_curve = enrolment_request(
        FRONT_DOOR.device, ec.generate_private_key(ec.SECP384R1()), claim
    )["csr"]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    no_curve = builder.sign(ed25519.Ed25519PrivateKey.generate(), None)
    request = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    der = bytearray(request.public_bytes(Encoding.DER))
    der[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM).decode()
    for csr in ("no csr", wrong_curve, no_curve.public_bytes(Encoding.PEM).decode(), forged):
        answer = home.client.post("/v1/enrolments", json=good | {"csr": csr})
        assert answer.status_code == 400, csr
    assert home.client.post("/v1/enrolments", json=good).status_code == 201


def test_a_claim_is_its_households_alone(home: Stage) -> None:
    claim = home.claim()
    asked = {"claim_id": to_base64url(claim.claim_id)}
    stranger = home.session(STRANGER)
    assert home.client.post("/v1/claims", json=asked, headers=stranger).status_code == 409
    path = f"/v1/claims/{asked['claim_id']}"
    assert home.client.get(path, headers=stranger).status_code == 404
    # Announced again by its own household it is the same claim.
    owner = home.session(OWNER)
    assert home.client.post("/v1/claims", json=asked, headers=owner).status_code == 201


def test_a_household_has_at_most_32_open_claims(home: Stage) -> None:
    session = home.session(OWNER)
    asked = [{"claim_id": to_base64url(bytes([n]) * 16)} for n in range(MAX_OPEN_CLAIMS + 1)]
    answers = [home.client.post("/v1/claims", json=one, headers=session) for one in asked]
    assert [a.status_code for a in answers] == [201] * MAX_OPEN_CLAIMS + [409]
    home.clock.at_ms += CLAIM_MS
    assert home.client.post("/v1/claims", json=asked[-1], headers=session).status_code == 201


@pytest.mark.parametrize("claim_id", ["AAAA", "A" * 21 + "B", "A" * 23, "%00"])
def test_a_claim_id_that_is_none_is_refused(home: Stage, claim_id: str) -> None:
    session = home.session(OWNER)
    assert home.client.get(f"/v1/claims/{claim_id}", headers=session).status_code == 400


def test_the_statement_in_force_says_whether_a_doorbell_counts(home: Stage) -> None:
    device = home.enrol(FRONT_DOOR, home.claim()).device
    assert listed(home)["state"] == "unlisted"
    home.list_devices(device)
    assert listed(home)["state"] == "active"
    with home.databases.read() as unit:
        known = device_for_ingest(unit, device.id)
        assert known is not None
        assert (known.household, known.listing) == (OWN, Listing.ACTIVE)
        assert known.keys.manifest_key == device.manifest_key
        assert device_for_ingest(unit, DeviceId("00-" + "a" * 26)) is None
    home.list_devices(device.model_copy(update={"state": DeviceState.REVOKED}))
    assert listed(home)["state"] == "revoked"


def test_a_listing_with_other_keys_does_not_count(home: Stage) -> None:
    device = home.enrol(FRONT_DOOR, home.claim()).device
    home.list_devices(device.model_copy(update={"tls_key": bytes(91)}))
    assert listed(home)["state"] == "unlisted"


def test_a_doorbell_is_online_while_it_is_heard_from(home: Stage) -> None:
    device = home.enrol(FRONT_DOOR, home.claim()).device.id
    assert listed(home)["is_online"] is False
    assert listed(home)["last_heard_at"] is None
    hello = Hello(boot=BOOT, connections=1, agent="doorstep 0.1", statement=None)
    with home.databases.write() as unit:
        assert record_hello(unit, device, hello, home.clock())
        unit.commit()
    assert listed(home)["is_online"] is True
    assert listed(home)["agent"] == "doorstep 0.1"
    home.clock.at_ms += 150_001
    assert listed(home)["is_online"] is False


def test_health_is_shown_and_keeps_a_doorbell_online(home: Stage) -> None:
    device = home.enrol(FRONT_DOOR, home.claim()).device.id
    health = make_health(home.clock(), BOOT)
    with home.databases.write() as unit:
        assert record_health(unit, device, health, home.clock())
        unit.commit()
    rebooted = Hello(boot="c" * 32, connections=1, agent="doorstep 0.2", statement=None)
    with home.databases.write() as unit:
        assert record_hello(unit, device, rebooted, home.clock())
        assert not record_health(unit, device, health, home.clock())
        assert not record_hello(unit, device, rebooted.model_copy(update={"boot": BOOT}), 0)
        unit.commit()
    found = listed(home)
    assert found["is_online"] is True
    shown = found["health"]
    assert isinstance(shown, dict)
    assert shown["camera"] == "watching"
    assert (shown["dropped_clips"], shown["dropped_events"]) == (4, 6)
    assert shown["at"].endswith("Z")
    assert "boot" not in shown


def test_health_taken_before_times_had_bounds_is_left_out(home: Stage) -> None:
    device = home.enrol(FRONT_DOOR, home.claim()).device.id
    health = make_health(home.clock(), BOOT)
    with home.databases.write() as unit:
        assert record_health(unit, device, health, home.clock())
        unit.main.flush()
        row = unit.main.get_one(PresenceRow, device)
        row.health = health.model_copy(update={"at": 2**53 - 1}).encode().decode()
        unit.commit()
    found = listed(home)
    assert (found["is_online"], found["health"]) == (True, None)


def test_a_late_last_will_does_not_put_a_returned_doorbell_offline(home: Stage) -> None:
    device = home.enrol(FRONT_DOOR, home.claim()).device.id
    for boot, connections, online, is_taken in (
        (BOOT, 1, True, True),
        (BOOT, 2, True, True),
        (BOOT, 1, False, False),
        ("c" * 32, 1, True, True),
        (BOOT, 9, False, False),
    ):
        status = Status(boot=boot, connections=connections, online=online)
        with home.databases.write() as unit:
            assert record_status(unit, device, status, home.clock()) is is_taken
            unit.commit()
        assert listed(home)["is_online"] is True
    with home.databases.write() as unit:
        gone = Status(boot="c" * 32, connections=1, online=False)
        assert record_status(unit, device, gone, home.clock() + DAY_MS)
        unit.commit()
    assert listed(home)["is_online"] is False
    # Nobody was heard: the broker spoke for it.
    assert listed(home)["last_heard_at"] != "2026-09-22T14:13:20.002Z"


def test_a_claim_tells_the_service_nothing_it_could_bind_keys_with(home: Stage) -> None:
    claim = home.claim()
    home.enrol(FRONT_DOOR, claim)
    kept = b"".join(path.read_bytes() for path in home.folder.glob("*.db*"))
    assert claim.claim_id in kept
    assert claim.secret not in kept
    assert from_base64url(to_base64url(claim.setup_key)) not in kept
