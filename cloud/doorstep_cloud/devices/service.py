"""Doorbells in the database: claims, enrolment, listing, presence."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from sqlalchemy import func, select

from doorstep_cloud.devices.authority import (
    Authority,
    moment_of,
    public_der,
    read_request,
    to_pem,
)
from doorstep_cloud.devices.rules import (
    HEARD_WITHIN_MS,
    Listing,
    Presence,
    is_online,
    listing_of,
)
from doorstep_cloud.devices.tables import ClaimRow, DeviceRow, PresenceRow
from doorstep_cloud.households.chain import read_head
from doorstep_cloud.store.databases import Unit
from doorstep_cloud.store.errors import ConflictError, NotFoundError
from doorstep_shared.claim import DeviceKeys
from doorstep_shared.errors import BadMessageError
from doorstep_shared.ids import DeviceId, HouseholdId
from doorstep_shared.wire import Health, Hello, Status, decode_body

CLAIM_MS: Final = 24 * 3600 * 1000
"""Long enough to write a card in the evening and build the doorbell the next day."""

MAX_OPEN_CLAIMS: Final = 32


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What a doorbell sends once: its id, its keys, and who vouches for them.

    Attributes:
        claim: 16 bytes derived from the claim's secret.
        csr: PEM of a request signed by the TLS key.
        manifest_key: Raw Ed25519 public key.
        mac: Over id and keys, by a key only the owner and the doorbell know.
    """

    claim: bytes
    device: DeviceId
    csr: str
    manifest_key: bytes
    age_recipient: str
    mac: bytes


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claim and, once a doorbell answered, its keys and their MAC."""

    expires_at_ms: int
    keys: DeviceKeys | None
    mac: bytes | None


@dataclass(frozen=True, slots=True)
class IngestDevice:
    """What ingest needs to know of a doorbell that sends something.

    Attributes:
        household: Whose it is.
        keys: Those of its enrolment; manifests are checked by them.
        listing: What the statement in force says of it.
    """

    household: HouseholdId
    keys: DeviceKeys
    listing: Listing


@dataclass(frozen=True, slots=True)
class Admissible:
    """Enrolled doorbells, by whether they may speak.

    Attributes:
        admitted: Listed, or not yet: it may ring before its owner has checked it.
        revoked: Shut out by their household.
    """

    admitted: tuple[DeviceId, ...]
    revoked: tuple[DeviceId, ...]


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """A doorbell as its household sees it.

    Attributes:
        last_heard_at_ms: None when it was never heard from; as all times Unix milliseconds.
    """

    id: DeviceId
    listing: Listing
    is_online: bool
    last_heard_at_ms: int | None
    agent: str | None
    enrolled_at_ms: int
    health: Health | None


def create_claim(unit: Unit, household: HouseholdId, claim: bytes, now_ms: int) -> int:
    """Write that ``household`` made a claim of this id; return when it ends.

    Raises:
        ConflictError: The id is taken, or too many claims of the household are open.
    """
    row = unit.main.get(ClaimRow, claim)
    if row is not None and row.household == household:
        return row.expires_at_ms
    if row is not None:
        raise ConflictError(
            "this claim id is taken", do="doorstep device add        (draws another)"
        )
    if _count_open_claims(unit, household, now_ms) >= MAX_OPEN_CLAIMS:
        raise ConflictError(f"at most {MAX_OPEN_CLAIMS} claims of a household are open at a time")
    row = ClaimRow(
        id=claim, household=household, created_at_ms=now_ms, expires_at_ms=now_ms + CLAIM_MS
    )
    unit.main.add(row)
    return row.expires_at_ms


def household_of_claim(unit: Unit, claim: bytes) -> HouseholdId | None:
    """Return who made the claim; None when nobody did."""
    row = unit.main.get(ClaimRow, claim)
    return None if row is None else HouseholdId(row.household)


def read_claim(unit: Unit, claim: bytes, now_ms: int) -> Claimed:
    """Return the claim, answered or waiting.

    Raises:
        NotFoundError: There is none of this id, or it ended unanswered.
    """
    row = unit.main.get(ClaimRow, claim)
    device = _device_of_claim(unit, claim)
    if row is None or (device is None and now_ms >= row.expires_at_ms):
        raise NotFoundError("there is no such claim, or it has ended", do="doorstep device add")
    if device is None:
        return Claimed(row.expires_at_ms, None, None)
    return Claimed(row.expires_at_ms, _keys(device), device.mac)


def enrol(unit: Unit, authority: Authority, enrolment: Enrolment, now_ms: int) -> str:
    """Write the doorbell that answers a claim; return its certificate in PEM.

    An answer may be lost on the way. So the same doorbell under the same claim
    gets the same certificate, and under a new claim of its household it is
    enrolled anew: the new claim stands in the place of the old one, which ends.
    The same doorbell is one with the same id and keys; its request is signed
    anew each time and never comes twice in the same bytes.

    Raises:
        NotFoundError: There is no such claim, or it has ended.
        ConflictError: The claim is answered, or the id or a key is taken.
        BadMessageError: The certificate request is not one.
    """
    key = read_request(enrolment.csr)
    keys = DeviceKeys(
        enrolment.device, public_der(key), enrolment.manifest_key, enrolment.age_recipient
    )
    answered = _device_of_claim(unit, enrolment.claim)
    if answered is not None:
        _refuse_other(answered, keys, enrolment.mac)
        return answered.certificate
    claim = unit.main.get(ClaimRow, enrolment.claim)
    if claim is None or now_ms >= claim.expires_at_ms:
        raise NotFoundError("there is no such claim, or it has ended", do="doorstep device add")
    known = unit.main.get(DeviceRow, enrolment.device)
    certificate = to_pem(authority.issue_device(key, enrolment.device, moment_of(now_ms)))
    if known is not None and known.household == claim.household and _keys(known) == keys:
        unit.main.get_one(ClaimRow, known.claim).expires_at_ms = now_ms
        known.claim, known.mac, known.certificate = claim.id, enrolment.mac, certificate
        return certificate
    _refuse_taken(unit, enrolment)
    unit.main.add(
        DeviceRow(
            id=keys.device,
            household=claim.household,
            claim=claim.id,
            tls_key=keys.tls_key,
            manifest_key=keys.manifest_key,
            age_recipient=keys.age_recipient,
            mac=enrolment.mac,
            certificate=certificate,
            enrolled_at_ms=now_ms,
        )
    )
    return certificate


def list_devices(unit: Unit, household: HouseholdId, now_ms: int) -> Sequence[DeviceFacts]:
    """Return the household's doorbells, newest first."""
    statement = read_head(unit, household).statement
    rows = unit.main.execute(
        select(DeviceRow, PresenceRow)
        .outerjoin(PresenceRow, PresenceRow.device == DeviceRow.id)
        .where(DeviceRow.household == household)
        .order_by(DeviceRow.enrolled_at_ms.desc(), DeviceRow.id)
    )
    return [
        _facts(device, presence, listing_of(statement, _keys(device)), now_ms)
        for device, presence in rows
    ]


def list_admissible(unit: Unit, household: HouseholdId | None = None) -> Admissible:
    """Return which enrolled doorbells may speak, of one household or of all."""
    rows = select(DeviceRow).order_by(DeviceRow.household, DeviceRow.id)
    if household is not None:
        rows = rows.where(DeviceRow.household == household)
    admitted: list[DeviceId] = []
    revoked: list[DeviceId] = []
    for owner, devices in groupby(unit.main.scalars(rows), key=lambda row: row.household):
        statement = read_head(unit, HouseholdId(owner)).statement
        for row in devices:
            is_revoked = listing_of(statement, _keys(row)) is Listing.REVOKED
            (revoked if is_revoked else admitted).append(DeviceId(row.id))
    return Admissible(tuple(admitted), tuple(revoked))


def count_online(unit: Unit, now_ms: int) -> int:
    """Return how many doorbells count as there; the rule is `is_online`, asked of all at once."""
    heard = select(func.count()).where(
        PresenceRow.is_connected, PresenceRow.last_heard_at_ms >= now_ms - HEARD_WITHIN_MS
    )
    return unit.main.scalars(heard).one()


def device_for_ingest(unit: Unit, device: DeviceId) -> IngestDevice | None:
    """Return the enrolled doorbell of that id; None when there is none."""
    row = unit.main.get(DeviceRow, device)
    if row is None:
        return None
    household = HouseholdId(row.household)
    statement = read_head(unit, household).statement
    return IngestDevice(household, _keys(row), listing_of(statement, _keys(row)))


def record_status(unit: Unit, device: DeviceId, status: Status, now_ms: int) -> bool:
    """Write what a doorbell, or its last will, says of its connection.

    Returns:
        False when it was older than what is known, and passed over.
    """
    row = _presence_row(unit, device, now_ms)
    heard = _presence(row).hear(status.boot, status.connections, is_connected=status.online)
    if heard is None:
        return False
    _keep(row, heard)
    # A last will is the broker's word, not the doorbell's: nobody was heard.
    if status.online:
        row.last_heard_at_ms = now_ms
    return True


def record_hello(unit: Unit, device: DeviceId, hello: Hello, now_ms: int) -> bool:
    """Write that a doorbell said hello, and its agent's version; False when it is an old word."""
    row = _presence_row(unit, device, now_ms)
    heard = _presence(row).hear(hello.boot, hello.connections, is_connected=True)
    if heard is None:
        return False
    _keep(row, heard)
    row.last_heard_at_ms = now_ms
    row.agent = hello.agent
    return True


def record_health(unit: Unit, device: DeviceId, health: Health, now_ms: int) -> bool:
    """Write a doorbell's health; False when it is of an earlier boot, and passed over."""
    row = _presence_row(unit, device, now_ms)
    before = _presence(row)
    if health.boot in before.earlier_boots:
        return False
    if health.boot != before.boot:
        _keep(row, before.hear(health.boot, 0, is_connected=True) or before)
    row.last_heard_at_ms = now_ms
    row.is_connected = True
    row.health = health.encode().decode()
    row.health_at_ms = now_ms
    return True


def _presence_row(unit: Unit, device: DeviceId, now_ms: int) -> PresenceRow:
    row = unit.main.get(PresenceRow, device)
    if row is None:
        row = PresenceRow(device=device, last_heard_at_ms=now_ms)
        _keep(row, Presence())
        unit.main.add(row)
    return row


def _presence(row: PresenceRow) -> Presence:
    return Presence(row.boot, row.connections, row.is_connected, tuple(row.earlier_boots.split()))


def _keep(row: PresenceRow, presence: Presence) -> None:
    row.boot = presence.boot
    row.connections = presence.connections
    row.is_connected = presence.is_connected
    row.earlier_boots = " ".join(presence.earlier_boots)


def _count_open_claims(unit: Unit, household: HouseholdId, now_ms: int) -> int:
    return (
        unit.main.scalar(
            select(func.count())
            .select_from(ClaimRow)
            .outerjoin(DeviceRow, DeviceRow.claim == ClaimRow.id)
            .where(
                ClaimRow.household == household,
                ClaimRow.expires_at_ms > now_ms,
                DeviceRow.id.is_(None),
            )
        )
        or 0
    )


def _device_of_claim(unit: Unit, claim: bytes) -> DeviceRow | None:
    return unit.main.scalar(select(DeviceRow).where(DeviceRow.claim == claim))


def _refuse_other(answered: DeviceRow, keys: DeviceKeys, mac: bytes) -> None:
    if (_keys(answered), answered.mac) != (keys, mac):
        raise ConflictError(
            "another doorbell has answered this claim",
            safe="It records nothing until the owner has checked it.",
            do="doorstep device add        (makes a new claim)",
        )


def _refuse_taken(unit: Unit, enrolment: Enrolment) -> None:
    taken = unit.main.scalar(
        select(DeviceRow.id).where(
            (DeviceRow.id == enrolment.device) | (DeviceRow.manifest_key == enrolment.manifest_key)
        )
    )
    if taken is not None:
        raise ConflictError(
            "this doorbell's id or key is already enrolled",
            safe="Nothing was changed.",
            do="doorstep-device enrol -        (draws a new identity)",
        )


def _keys(row: DeviceRow) -> DeviceKeys:
    return DeviceKeys(
        device=DeviceId(row.id),
        tls_key=row.tls_key,
        manifest_key=row.manifest_key,
        age_recipient=row.age_recipient,
    )


def _facts(
    device: DeviceRow, presence: PresenceRow | None, listing: Listing, now_ms: int
) -> DeviceFacts:
    heard_at_ms = presence.last_heard_at_ms if presence else None
    known = _presence(presence) if presence else Presence()
    health = presence.health if presence else None
    return DeviceFacts(
        id=DeviceId(device.id),
        listing=listing,
        is_online=is_online(known, heard_at_ms, now_ms),
        last_heard_at_ms=heard_at_ms,
        agent=presence.agent if presence else None,
        enrolled_at_ms=device.enrolled_at_ms,
        health=_health(health) if health else None,
    )


def _health(kept: str) -> Health | None:
    """Return the health that was kept; None if it was taken before times had bounds.

    The doorbell's next one, within a minute, takes its place.
    """
    try:
        return decode_body(Health, kept.encode())
    except BadMessageError:
        return None
