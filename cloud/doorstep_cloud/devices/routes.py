"""HTTP: claims, enrolment, the list of doorbells."""

from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from cryptography.hazmat.primitives.serialization import Encoding
from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from doorstep_cloud.access.policy import Action, Resource
from doorstep_cloud.devices import service
from doorstep_cloud.devices.authority import Authority
from doorstep_cloud.devices.rules import Listing
from doorstep_cloud.households.principal import (
    ActorDep,
    DatabasesDep,
    KnownActorDep,
    ListenerDep,
    NowDep,
    authorize,
    count_attempt,
    household_of,
    speaker,
)
from doorstep_cloud.store.moments import Moment
from doorstep_shared.claim import fingerprint
from doorstep_shared.encoding import Base64Bytes, Base64Bytes32, from_base64url
from doorstep_shared.errors import BadMessageError
from doorstep_shared.fields import Counter, DeviceIdField, RecipientText
from doorstep_shared.wire import CameraState

router: Final = APIRouter(tags=["doorbells"])

_CLAIM_ID_BYTES: Final = 16
_ClaimId = Annotated[Base64Bytes, Field(min_length=_CLAIM_ID_BYTES, max_length=_CLAIM_ID_BYTES)]


@dataclass(frozen=True, slots=True)
class Enroller:
    """What enrolment needs of the service.

    Attributes:
        authority: Signs the doorbell's certificate.
        ca_certificate: PEM.
        receipt_certificate: PEM.
        broker_host: Where doorbells reach the broker.
    """

    authority: Authority = field(repr=False)
    ca_certificate: str
    receipt_certificate: str
    broker_host: str
    broker_port: int

    @property
    def ca_sha256(self) -> bytes:
        """Return SHA-256 of the CA certificate in DER."""
        return fingerprint(self.authority.certificate.public_bytes(Encoding.DER))


def enroller(request: Request) -> Enroller:
    """Return the enroller this app was composed with."""
    found = request.app.state.enroller
    if not isinstance(found, Enroller):
        raise TypeError("the app was composed without an enroller")
    return found


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ClaimWish(_Asked):
    """The 16 bytes derived from a claim's secret; the secret stays with the owner."""

    claim_id: _ClaimId


class ClaimAnswer(BaseModel):
    """A claim that waits for its doorbell, and the hash of the CA that the claim's text names."""

    claim_id: Base64Bytes
    expires_at: Moment
    ca_sha256: Base64Bytes32


class AnsweringDevice(BaseModel):
    """The doorbell that answered. The owner's client checks ``mac`` before it lists these keys."""

    id: DeviceIdField
    tls_key: Base64Bytes
    manifest_key: Base64Bytes32
    age_recipient: RecipientText
    mac: Base64Bytes32


class ClaimState(BaseModel):
    """Whether a doorbell answered the claim yet."""

    state: Literal["waiting", "answered"]
    device: AnsweringDevice | None


class EnrolmentWish(_Asked):
    """A doorbell's one request: its id, its keys, and the MAC that vouches for them."""

    claim_id: _ClaimId
    device: DeviceIdField
    csr: Annotated[str, Field(max_length=4096)]
    manifest_key: Base64Bytes32
    age_recipient: RecipientText
    mac: Base64Bytes32

    def to_model(self) -> service.Enrolment:
        """Return the enrolment asked for."""
        return service.Enrolment(
            claim=self.claim_id,
            device=self.device,
            csr=self.csr,
            manifest_key=self.manifest_key,
            age_recipient=self.age_recipient,
            mac=self.mac,
        )


class BrokerAddress(BaseModel):
    """Where doorbells reach the broker."""

    host: str
    port: int


class EnrolmentAnswer(BaseModel):
    """All a doorbell needs from the service; certificates are PEM."""

    certificate: str
    ca_certificate: str
    receipt_certificate: str
    broker: BrokerAddress


class HealthAnswer(BaseModel):
    """What a doorbell last said of itself."""

    at: Moment
    clock_synced: bool
    uptime_s: Counter
    camera: CameraState
    waiting_events: Counter
    waiting_clips: Counter
    waiting_bytes: Counter
    dropped_clips: Counter
    dropped_events: Counter
    disk_free_bytes: Counter


class DeviceAnswer(BaseModel):
    """A doorbell; ``state`` is what the household's statement in force says of it."""

    id: DeviceIdField
    state: Listing
    is_online: bool
    last_heard_at: Moment | None
    agent: str | None
    enrolled_at: Moment
    health: HealthAnswer | None


class DeviceList(BaseModel):
    """The household's doorbells, newest first."""

    items: list[DeviceAnswer]
    next: str | None = None


@router.post("/v1/claims", status_code=201)
def create_claim(
    databases: DatabasesDep,
    actor: KnownActorDep,
    now: NowDep,
    asked: ClaimWish,
    service_of: Annotated[Enroller, Depends(enroller)],
) -> ClaimAnswer:
    """Announce a claim, so that the doorbell that knows its secret may enrol. Lasts a day."""
    with databases.write() as unit:
        authorize(unit, actor, Action.CREATE_CLAIM, household_of(actor), now)
        household = speaker(actor).household
        expires_at_ms = service.create_claim(unit, household, asked.claim_id, now)
        unit.commit()
    return ClaimAnswer(
        claim_id=asked.claim_id, expires_at=expires_at_ms, ca_sha256=service_of.ca_sha256
    )


@router.get("/v1/claims/{claim_id}")
def show_claim(
    databases: DatabasesDep,
    actor: ActorDep,
    now: NowDep,
    claim_id: Annotated[str, Path(description="base64url of 16 bytes", max_length=22)],
) -> ClaimState:
    """Return whether a doorbell answered the claim, and with which keys."""
    claim = _claim_bytes(claim_id)
    with databases.read() as unit:
        resource = Resource(service.household_of_claim(unit, claim))
        authorize(unit, actor, Action.READ_CLAIM, resource, now)
        claimed = service.read_claim(unit, claim, now)
    if claimed.keys is None or claimed.mac is None:
        return ClaimState(state="waiting", device=None)
    keys = claimed.keys
    device = AnsweringDevice(
        id=keys.device,
        tls_key=keys.tls_key,
        manifest_key=keys.manifest_key,
        age_recipient=keys.age_recipient,
        mac=claimed.mac,
    )
    return ClaimState(state="answered", device=device)


@router.post("/v1/enrolments", status_code=201, dependencies=[Depends(count_attempt)])
def create_enrolment(
    databases: DatabasesDep,
    now: NowDep,
    service_of: Annotated[Enroller, Depends(enroller)],
    listener: ListenerDep,
    asked: EnrolmentWish,
) -> EnrolmentAnswer:
    """Enrol the doorbell that answers a claim: once; the same doorbell gets the same answer.

    The service takes the keys as they come. Whether they are the doorbell's own, the
    owner's client finds out by the MAC; until then nothing is recorded.
    """
    with databases.write() as unit:
        enrolment = asked.to_model()
        certificate = service.enrol(unit, service_of.authority, enrolment, now)
        household = service.household_of_claim(unit, enrolment.claim)
        unit.commit()
    if household is not None:
        listener(household)
    return EnrolmentAnswer(
        certificate=certificate,
        ca_certificate=service_of.ca_certificate,
        receipt_certificate=service_of.receipt_certificate,
        broker=BrokerAddress(host=service_of.broker_host, port=service_of.broker_port),
    )


@router.get("/v1/devices")
def list_devices(databases: DatabasesDep, actor: ActorDep, now: NowDep) -> DeviceList:
    """Return the household's doorbells, newest first."""
    with databases.read() as unit:
        authorize(unit, actor, Action.READ_DEVICES, household_of(actor), now)
        found = service.list_devices(unit, speaker(actor).household, now)
    return DeviceList(items=[_answer(device) for device in found])


def _claim_bytes(text: str) -> bytes:
    claim = from_base64url(text)
    if len(claim) != _CLAIM_ID_BYTES:
        raise BadMessageError("a claim id is 16 bytes in base64url")
    return claim


def _answer(device: service.DeviceFacts) -> DeviceAnswer:
    health = device.health
    return DeviceAnswer(
        id=device.id,
        state=device.listing,
        is_online=device.is_online,
        last_heard_at=device.last_heard_at_ms,
        agent=device.agent,
        enrolled_at=device.enrolled_at_ms,
        health=None if health is None else HealthAnswer.model_validate(health.model_dump()),
    )
