"""The standing cast, on a real service in this process: owner, viewer, stranger, token, doorbell.

`Stage` is the service on a folder of its own, its clock in the test's hand. It
founds households, signs people in and enrols doorbells over HTTP, as clients do.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from fastapi import FastAPI
from starlette.testclient import TestClient

from doorstep_cloud.app.credentials import Credentials, read_credentials
from doorstep_cloud.devices.routes import Enroller
from doorstep_cloud.events.hub import Hub
from doorstep_cloud.households.invites import create_invite
from doorstep_cloud.store.databases import Databases
from doorstep_cloud.store.objects import ObjectStore
from doorstep_shared.claim import Claim, DeviceKeys, fingerprint
from doorstep_shared.consent import Choices, ConsentPolicy, sign_policy
from doorstep_shared.encoding import to_base64url
from doorstep_shared.ids import HouseholdId
from doorstep_shared.signing import Kind, Signed, sign
from doorstep_shared.statements import (
    Device,
    Head,
    Role,
    Statement,
    accept_next,
    accept_root,
    sign_statement,
)
from tests.cloud_world import URL, app_over, migrated_folder
from tests.people import (
    NOW_MS,
    OWNER,
    Doorbell,
    Person,
    first_statement,
    next_statement,
    person,
    random_from,
)
from tests.services import store_nowhere

PUBLIC_URL: Final = URL
OWN: Final = HouseholdId("h" * 26)
FOREIGN: Final = HouseholdId("s" * 26)
VIEWER: Final = person("viewer", Role.VIEWER)
STRANGER: Final = person("stranger")


@dataclass(slots=True)
class TestClock:
    """A clock that moves when the test says so."""

    __test__ = False

    at_ms: int = NOW_MS

    def __call__(self) -> int:
        return self.at_ms


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A doorbell that has enrolled: what it sent, what it got, and its private keys."""

    doorbell: Doorbell
    tls: ec.EllipticCurvePrivateKey
    device: Device
    request: Mapping[str, str]
    answer: Mapping[str, object]
    claim: Claim


@dataclass(slots=True)
class Stage:
    """A running service and whoever is known to it.

    Attributes:
        heads: The head of each household's chain.
        claims: Those announced, by the name they were drawn from.
        told: Households whose chain has grown, as the service told it.
    """

    folder: Path
    databases: Databases
    keys: Credentials
    clock: TestClock
    app: FastAPI
    client: TestClient
    heads: dict[HouseholdId, Head] = field(default_factory=dict)
    claims: dict[str, Claim] = field(default_factory=dict)
    told: list[HouseholdId] = field(default_factory=list)

    def invite(self) -> str:
        """Return a fresh invite."""
        with self.databases.write() as unit:
            invite = create_invite(unit, self.clock(), random_from(f"invite/{self.clock()}"))
            unit.commit()
        self.clock.at_ms += 1
        return invite.code

    def founding(self, owner: Person, household: HouseholdId) -> dict[str, object]:
        """Return the request that founds ``household``."""
        signed = sign_statement(first_statement(owner, household), owner.sign)
        return {
            "invite": self.invite(),
            "statement": as_json(signed),
            "keyring": keyring_files([owner]),
        }

    def found(self, owner: Person = OWNER, household: HouseholdId = OWN) -> Head:
        """Found ``household`` over HTTP; return its head."""
        asked = self.founding(owner, household)
        answer = self.client.post("/v1/households", json=asked)
        assert answer.status_code == 201, answer.text
        signed = Signed.model_validate_json(json.dumps(asked["statement"]))
        self.heads[household] = accept_root(signed)
        return self.heads[household]

    def session(self, who: Person) -> dict[str, str]:
        """Sign ``who`` in over HTTP; return the header that says so."""
        answer = self.client.post("/v1/sessions", json={"signed": as_json(self.sign_in(who))})
        assert answer.status_code == 201, answer.text
        return bearer(answer.json()["token"])

    def sign_in(self, who: Person, audience: str = PUBLIC_URL, at_ms: int | None = None) -> Signed:
        """Return a sign-in by ``who`` over a fresh challenge."""
        challenge = self.client.post("/v1/sign-in/challenge", json={}).json()
        return sign(
            Kind.SIGN_IN,
            {
                "aud": audience,
                "client": to_base64url(who.sign.public.key_id),
                "server_nonce": challenge["server_nonce"],
                "at": self.clock() if at_ms is None else at_ms,
            },
            who.sign,
        )

    def token(self, who: Person, *scopes: str) -> dict[str, str]:
        """Make a token of ``who`` over HTTP; return the header that bears it."""
        wish = {"name": "program", "scopes": list(scopes), "days": 30}
        answer = self.client.post("/v1/tokens", json=wish, headers=self.session(who))
        assert answer.status_code == 201, answer.text
        return bearer(answer.json()["token"])

    def next_statement(self, household: HouseholdId = OWN, **changes: object) -> Statement:
        """Return the successor of the household's head, with ``changes``."""
        return next_statement(self.heads[household], **changes)

    def append(self, statement: Statement, who: Person = OWNER) -> None:
        """Sign ``statement`` and append it over HTTP."""
        signed = sign_statement(statement, who.sign)
        answer = self.client.post("/v1/statements", json=as_json(signed), headers=self.session(who))
        assert answer.status_code == 201, answer.text
        self._accept(signed)

    def add_members(self, *people: Person, who: Person = OWNER) -> None:
        """Put ``people`` on the roster over HTTP, with a keyring file for everybody."""
        roster = (who.member, *(one.member for one in people))
        signed = sign_statement(self.next_statement(roster=roster), who.sign)
        change = {"statement": as_json(signed), "files": keyring_files([who, *people])}
        answer = self.client.put("/v1/keyring.age", json=change, headers=self.session(who))
        assert answer.status_code == 200, answer.text
        self._accept(signed)

    def claim(self, name: str = "claim", who: Person = OWNER) -> Claim:
        """Announce a claim over HTTP and return it."""
        household = OWN if who is OWNER else FOREIGN
        claim = Claim.draw(
            random_from(name),
            ca_sha256=fingerprint(self.keys.authority.certificate.public_bytes(Encoding.DER)),
            root=self.heads[household].root,
            url=PUBLIC_URL,
        )
        asked = {"claim_id": to_base64url(claim.claim_id)}
        answer = self.client.post("/v1/claims", json=asked, headers=self.session(who))
        assert answer.status_code == 201, answer.text
        self.claims[name] = claim
        return claim

    def enrol(self, doorbell: Doorbell, claim: Claim) -> Enrolled:
        """Enrol ``doorbell`` over HTTP with the claim it was given."""
        tls = ec.generate_private_key(ec.SECP256R1())
        device = doorbell.device.model_copy(update={"tls_key": public_der(tls)})
        asked = enrolment_request(device, tls, claim)
        answer = self.client.post("/v1/enrolments", json=asked)
        assert answer.status_code == 201, answer.text
        return Enrolled(doorbell, tls, device, asked, answer.json(), claim)

    def consent_change(
        self, choices: Choices, *owners: Person, version: int = 1, **changes: object
    ) -> dict[str, object]:
        """Return the request that sets ``choices``, signed by ``owners``, to hold at once."""
        head = self.heads[OWN].statement
        values = {
            **choices.model_dump(),
            "household": OWN,
            "version": version,
            "prev": head.policy_hash,
            "at": self.clock(),
            "in_force_at": self.clock(),
        }
        policy = ConsentPolicy.model_validate({**values, **changes})
        signed = sign_policy(policy, *(one.sign for one in owners or (OWNER,)))
        statement = sign_statement(self.next_statement(policy_hash=signed.body_hash), OWNER.sign)
        return {"policy": as_json(signed), "statement": as_json(statement)}

    def set_consent(self, choices: Choices, *owners: Person, **changes: object) -> object:
        """Set ``choices`` over HTTP; return the answer."""
        version = 1 + len(self.read_consent()["policies"])
        change = self.consent_change(choices, *owners, **{"version": version} | changes)  # type: ignore[arg-type]  # the policy's own model judges them
        answer = self.client.put("/v1/consent-policy", json=change, headers=self.session(OWNER))
        assert answer.status_code == 200, answer.text
        self._accept(Signed.model_validate_json(json.dumps(change["statement"])))
        return answer.json()

    def read_consent(self) -> dict[str, Any]:
        """Return what the service says of our household's consent."""
        answer = self.client.get("/v1/consent-policy", headers=self.session(OWNER))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def list_devices(self, *devices: Device, who: Person = OWNER) -> None:
        """Append a statement that lists ``devices``."""
        household = OWN if who is OWNER else FOREIGN
        self.append(self.next_statement(household, devices=devices), who)

    def _accept(self, signed: Signed) -> None:
        household = Statement.model_validate_json(signed.body).household
        self.heads[household] = accept_next(self.heads[household], signed)


@contextmanager
def stage(objects: ObjectStore | None = None) -> Iterator[Stage]:
    """Run a service on a new folder until the block ends."""
    folder = Path(mkdtemp(prefix="doorstep-stage-"))
    shutil.copytree(migrated_folder(), folder, dirs_exist_ok=True)
    databases, keys, clock = Databases.open(folder), read_credentials(folder), TestClock()
    told: list[HouseholdId] = []
    enroller = Enroller(
        authority=keys.authority,
        ca_certificate=keys.ca_certificate,
        receipt_certificate=keys.receipt_certificate,
        broker_host="127.0.0.1",
        broker_port=8883,
    )
    app = app_over(
        databases,
        objects or store_nowhere(),
        Hub(),
        enroller=enroller,
        receipt_key=keys.receipt_key,
        household_listener=told.append,
        clock=clock,
    )
    try:
        with TestClient(app, base_url=PUBLIC_URL) as client:
            yield Stage(folder, databases, keys, clock, app, client, told=told)
    finally:
        databases.close()
        shutil.rmtree(folder)


def as_json(signed: Signed) -> object:
    """Return a container as a client puts it into a request."""
    return signed.model_dump(mode="json")


def bearer(code: str) -> dict[str, str]:
    """Return the header that bears ``code``."""
    return {"Authorization": f"Bearer {code}"}


def keyring_files(people: Sequence[Person]) -> dict[str, str]:
    """Return what looks like a keyring file for each of ``people``, as JSON.

    The service cannot tell it from a real one; that is the client's business.
    """
    return {
        one.member.member: to_base64url(b"age-encryption.org/v1\nfor " + one.member.member.encode())
        for one in people
    }


def enrolment_request(
    device: Device, tls: ec.EllipticCurvePrivateKey, claim: Claim
) -> dict[str, str]:
    """Return the request by which a doorbell with these keys enrols."""
    csr = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device.id)])
    )
    keys = DeviceKeys(device.id, public_der(tls), device.manifest_key, device.age_recipient)
    return {
        "claim_id": to_base64url(claim.claim_id),
        "device": device.id,
        "csr": csr.sign(tls, hashes.SHA256()).public_bytes(Encoding.PEM).decode(),
        "manifest_key": to_base64url(device.manifest_key),
        "age_recipient": device.age_recipient,
        "mac": to_base64url(claim.bind(keys)),
    }


def public_der(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the public half as statements spell it."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
