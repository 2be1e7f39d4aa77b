"""Joining a household by claim, whatever the service answers."""

import json
import ssl
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from doorstep_cloud.devices.authority import Authority, moment_of, to_pem
from doorstep_device.enrolment import (
    AlreadyEnrolledError,
    Answer,
    Ask,
    WrongServiceError,
    enrol,
)
from doorstep_device.identity import (
    CA_PATH,
    CERTIFICATE_PATH,
    ENROLMENT_PATH,
    NotEnrolledError,
    keys_or_new,
    read_enrolment,
    read_keys,
)
from doorstep_shared.claim import Claim, DeviceKeys, fingerprint
from doorstep_shared.encoding import from_base64url, to_base64url
from doorstep_shared.errors import BadMessageError, TryLaterError
from doorstep_shared.ids import draw_device_id, parse_device_id
from doorstep_simulator.disk import SimulatedDisk
from tests.people import NOW_MS, first_head, random_from

NOW = moment_of(NOW_MS)
SERVICE = Authority.create(NOW)
OTHER = Authority.create(NOW)
RECEIPTS = ed25519.Ed25519PrivateKey.generate()
CLAIM = Claim.draw(
    random_from("claim"),
    ca_sha256=fingerprint(SERVICE.certificate.public_bytes(Encoding.DER)),
    root=first_head().root,
    url="http://127.0.0.1:8080",
)

Change = Callable[[Answer], Answer]


def answer_of(fields: dict[str, str], authority: Authority = SERVICE) -> Answer:
    """Return what an honest service answers."""
    request = x509.load_pem_x509_csr(fields["csr"].encode())
    key = request.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    device = parse_device_id(fields["device"])
    return Answer(
        certificate=to_pem(authority.issue_device(key, device, NOW)),
        ca_certificate=to_pem(authority.certificate),
        receipt_certificate=to_pem(authority.issue_receipt(RECEIPTS.public_key(), NOW)),
        broker_host="broker.example",
        broker_port=8883,
    )


def service(change: Change = lambda answer: answer, asked: list[str] | None = None) -> Ask:
    """Return a service whose answers are changed."""

    def ask(url: str, fields: dict[str, str]) -> Answer:
        if asked is not None:
            asked.append(url)
        return change(answer_of(fields))

    return ask


def always(answer: Answer) -> Ask:
    """Return a service that gives this answer, whatever it is asked."""
    return lambda _url, _fields: answer


def join(disk: SimulatedDisk, ask: Ask, claim: Claim = CLAIM) -> None:
    enrol(disk, str(claim), ask, random_from("doorbell"))


def test_it_is_enrolled_as_claim_and_service_say() -> None:
    disk, asked = SimulatedDisk(), list[str]()
    join(disk, service(asked=asked))
    enrolment = read_enrolment(disk.after_cut())
    assert asked == [CLAIM.url]
    assert (enrolment.root, enrolment.url) == (CLAIM.root, CLAIM.url)
    assert enrolment.setup_key == CLAIM.setup_key
    assert enrolment.receipt_key == RECEIPTS.public_key().public_bytes_raw()
    assert (enrolment.broker_host, enrolment.broker_port) == ("broker.example", 8883)
    assert disk.read(CA_PATH) == to_pem(SERVICE.certificate).encode()
    assert b"BEGIN CERTIFICATE" in disk.read(CERTIFICATE_PATH)


def test_the_owners_client_can_tell_that_these_keys_are_this_doorbells() -> None:
    disk, sent = SimulatedDisk(), list[dict[str, str]]()

    def ask(_: str, fields: dict[str, str]) -> Answer:
        sent.append(fields)
        return answer_of(fields)

    join(disk, ask)
    keys = read_keys(disk).public
    (fields,) = sent
    assert from_base64url(fields["claim_id"]) == CLAIM.claim_id
    CLAIM.check_binding(keys, from_base64url(fields["mac"]))
    told = DeviceKeys(
        device=parse_device_id(fields["device"]),
        tls_key=keys.tls_key,
        manifest_key=from_base64url(fields["manifest_key"]),
        age_recipient=fields["age_recipient"],
    )
    assert told == keys


def test_nothing_that_is_sent_tells_the_claims_secret() -> None:
    sent = list[dict[str, str]]()

    def ask(_: str, fields: dict[str, str]) -> Answer:
        sent.append(fields)
        return answer_of(fields)

    join(SimulatedDisk(), ask)
    said = json.dumps(sent)
    for secret in (CLAIM.secret, CLAIM.setup_key):
        assert to_base64url(secret) not in said
        assert secret.hex() not in said


def with_certificate(make: Callable[[], x509.Certificate]) -> Change:
    return lambda answer: replace(answer, certificate=to_pem(make()))


def own_key() -> ec.EllipticCurvePublicKey:
    return ec.generate_private_key(ec.SECP256R1()).public_key()


def another_device(answer: Answer) -> Answer:
    """Return a certificate over the right key, under another doorbell's name."""
    key = x509.load_pem_x509_certificate(answer.certificate.encode()).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    other = draw_device_id(random_from("other"))
    return replace(answer, certificate=to_pem(SERVICE.issue_device(key, other, NOW)))


def resigned_by_another(answer: Answer) -> Answer:
    certificate = x509.load_pem_x509_certificate(answer.certificate.encode())
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    device = parse_device_id(str(name.value).partition("/")[2])
    return replace(answer, certificate=to_pem(OTHER.issue_device(key, device, NOW)))


def foreign_receipts(answer: Answer) -> Answer:
    return replace(
        answer, receipt_certificate=to_pem(OTHER.issue_receipt(RECEIPTS.public_key(), NOW))
    )


def receipts_of_another_kind(answer: Answer) -> Answer:
    device = draw_device_id(random_from("other"))
    certificate = SERVICE.issue_device(own_key(), device, NOW)
    return replace(answer, receipt_certificate=to_pem(certificate))


def signed_otherwise(answer: Answer) -> Answer:
    """Return a receipt certificate without a hash: signed with Ed25519, which has none."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receipt")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(RECEIPTS.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
        .sign(RECEIPTS, None)
    )
    return replace(answer, receipt_certificate=to_pem(certificate))


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (lambda a: replace(a, ca_certificate=to_pem(OTHER.certificate)), "another CA"),
        (resigned_by_another, "not signed by the service's CA"),
        (another_device, "another doorbell's"),
        (
            with_certificate(
                lambda: SERVICE.issue_device(own_key(), draw_device_id(random_from("o")), NOW)
            ),
            "another doorbell's",
        ),
        (foreign_receipts, "not signed by the service's CA"),
        (receipts_of_another_kind, "of another kind"),
        (signed_otherwise, "of another kind"),
    ],
    ids=["ca", "issuer", "name", "key", "receipt issuer", "receipt kind", "signature kind"],
)
def test_an_answer_that_does_not_fit_the_claim_enrols_nothing(change: Change, fact: str) -> None:
    disk = SimulatedDisk()
    with pytest.raises(WrongServiceError, match=fact):
        join(disk, service(change))
    with pytest.raises(NotEnrolledError):
        read_enrolment(disk)
    assert not disk.exists(CERTIFICATE_PATH)
    join(disk, service())
    assert read_enrolment(disk).root == CLAIM.root


def test_a_ca_of_another_kind_is_not_ours_even_if_the_claim_names_it() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Doorstep")])
    ca = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
        .sign(key, SHA256())
    )
    claim = replace(CLAIM, ca_sha256=fingerprint(ca.public_bytes(Encoding.DER)))
    with pytest.raises(WrongServiceError, match="of another kind"):
        join(SimulatedDisk(), service(lambda a: replace(a, ca_certificate=to_pem(ca))), claim)


@pytest.mark.parametrize("field", ["certificate", "ca_certificate", "receipt_certificate"])
@pytest.mark.parametrize("text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_an_answer_without_certificates_is_none(field: str, text: str) -> None:
    disk = SimulatedDisk()
    with pytest.raises(BadMessageError):
        join(disk, service(lambda answer: replace(answer, **{field: text})))  # type: ignore[arg-type]  # a text field
    assert not disk.exists(ENROLMENT_PATH)


def test_a_certificate_that_a_hostile_service_has_bent_is_never_more_than_refused() -> None:
    disk, answers = SimulatedDisk(), list[Answer]()
    keys_or_new(disk, random_from("doorbell"))

    def remember(answer: Answer) -> Answer:
        answers.append(answer)
        return answer

    join(disk.after_cut(), service(remember))
    (good,) = answers
    der = x509.load_pem_x509_certificate(good.certificate.encode()).public_bytes(Encoding.DER)
    for place in range(len(der)):
        bent = bytearray(der)
        bent[place] ^= 1 << place % 8
        answer = replace(good, certificate=ssl.DER_cert_to_PEM_cert(bytes(bent)))
        with (
            warnings.catch_warnings(action="ignore"),  # of what is allowed for now
            pytest.raises((BadMessageError, WrongServiceError)) as told,
        ):
            join(disk, always(answer))
        assert told.value.safe == "This doorbell was not enrolled."
    assert not disk.exists(ENROLMENT_PATH)


def test_the_same_claim_again_asks_nobody_and_changes_nothing() -> None:
    disk, asked = SimulatedDisk(), list[str]()
    join(disk, service(asked=asked))
    before = dict(disk.everything())
    join(disk, service(asked=asked))
    assert len(asked) == 1
    assert dict(disk.everything()) == before


@pytest.mark.parametrize("other", ["another claim", "another household"])
def test_an_enrolled_doorbell_takes_no_other_claim(other: str) -> None:
    disk, asked = SimulatedDisk(), list[str]()
    join(disk, service(asked=asked))
    before = dict(disk.everything())
    claim = (
        replace(CLAIM, secret=bytes(16))
        if other == "another claim"
        else replace(CLAIM, root=bytes(32))
    )
    with pytest.raises(AlreadyEnrolledError):
        join(disk, service(asked=asked), claim)
    assert len(asked) == 1
    assert dict(disk.everything()) == before


def test_a_service_that_is_away_costs_nothing_but_time() -> None:
    disk = SimulatedDisk()

    def away(_: str, __: dict[str, str]) -> Answer:
        raise TryLaterError("the service does not answer")

    with pytest.raises(TryLaterError):
        join(disk, away)
    keys = read_keys(disk).public
    join(disk, service())
    assert read_keys(disk).public == keys


def test_a_power_cut_anywhere_leaves_it_enrolled_or_ready_for_the_same_claim() -> None:
    disk = SimulatedDisk()
    join(disk, service())
    for steps in range(len(disk.steps) + 1):
        found = disk.after_cut(steps, seed=steps)
        join(found, service())
        keys = read_keys(found).public
        certificate = x509.load_pem_x509_certificate(found.read(CERTIFICATE_PATH))
        (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        assert keys.device in str(name.value)
        assert read_enrolment(found).root == CLAIM.root


@pytest.mark.parametrize("text", ["", "DS1.", "DS1.AAAA", "hello", "DS1.%%%"])
def test_what_is_no_claim_is_refused_before_anything_is_made(text: str) -> None:
    disk = SimulatedDisk()
    with pytest.raises(BadMessageError):
        enrol(disk, text, service(), random_from("doorbell"))
    assert disk.steps == ()
