"""The household's statements: one signed chain that says who and with which keys.

Statement 0 lists one owner and is signed by that owner; there is no root key:
the household's *root* is SHA-256 of statement 0's body. Every later statement
names its predecessor's hash and counts only if an owner listed in that
predecessor signed it. Doorbells and clients keep the head and accept only its
direct successor, so a service can withhold a statement but never make one up.
"""

from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from doorstep_shared.age_keys import Recipient
from doorstep_shared.encoding import Base64Bytes, Base64Bytes32
from doorstep_shared.errors import BadMessageError, RefusedError
from doorstep_shared.fields import (
    Counter,
    DeviceIdField,
    HouseholdIdField,
    MemberIdField,
    Milliseconds,
    RecipientText,
)
from doorstep_shared.ids import DeviceId, HouseholdId
from doorstep_shared.signing import (
    Kind,
    Signed,
    SigningKey,
    VerifyKey,
    parse_canonical,
    read_body,
    sign,
    verify,
)

MAX_EPOCH_MS: Final = 45 * 24 * 3600 * 1000
"""An epoch key is announced for at most 45 days."""

MAX_MEMBERS: Final = 32
MAX_DEVICES: Final = 64


class BrokenChainError(RefusedError):
    """A statement does not follow from the one before it."""


class ForkedChainError(BrokenChainError):
    """Two different statements claim the same place in the chain: an alarm."""


class MissingStatementError(BrokenChainError):
    """A statement came before the one in front of it: ask for those in between."""


class Role(StrEnum):
    """What a member may do: an owner decides, a viewer watches."""

    OWNER = "owner"
    VIEWER = "viewer"


class DeviceState(StrEnum):
    """Whether the household still trusts a doorbell."""

    ACTIVE = "active"
    REVOKED = "revoked"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Member(_Part):
    """A person of the household.

    Attributes:
        sign_key: Raw Ed25519 public key.
        age_recipient: Where this member's keyring file is sealed to.
        from_epoch: The first epoch this member may open.
    """

    member: MemberIdField
    role: Role
    sign_key: Base64Bytes32
    age_recipient: RecipientText
    from_epoch: Annotated[Counter, Field(ge=1)]


class Device(_Part):
    """A doorbell of the household.

    Attributes:
        tls_key: DER SubjectPublicKeyInfo of its P-256 key.
        manifest_key: Raw Ed25519 public key its manifests are signed with.
        age_recipient: Where settings for the doorbell are sealed to.
    """

    id: DeviceIdField
    tls_key: Annotated[Base64Bytes, Field(min_length=64, max_length=256)]
    manifest_key: Base64Bytes32
    age_recipient: RecipientText
    state: DeviceState = DeviceState.ACTIVE


class Epoch(_Part):
    """The key that clips are sealed to for now.

    Attributes:
        n: Counts from 1.
        not_after: Unix milliseconds; past it a doorbell warns and goes on.
    """

    n: Annotated[Counter, Field(ge=1)]
    recipient: RecipientText
    not_after: Milliseconds


class Recovery(_Part):
    """The keys on the owner's printed recovery sheet."""

    sign_key: Base64Bytes32
    age_recipient: RecipientText


class Statement(_Part):
    """The body of a statement.

    Attributes:
        seq: Its place in the chain, from 0.
        prev: SHA-256 of the predecessor's body; None at 0.
        at: When it was made, by its maker's clock, Unix milliseconds.
        policy_hash: SHA-256 of the consent policy in force; None means
            everything off.
    """

    v: Literal[1] = 1
    household: HouseholdIdField
    seq: Counter
    prev: Base64Bytes32 | None
    at: Milliseconds
    roster: Annotated[tuple[Member, ...], Field(min_length=1, max_length=MAX_MEMBERS)]
    devices: Annotated[tuple[Device, ...], Field(max_length=MAX_DEVICES)] = ()
    epoch: Epoch
    recovery: Recovery | None = None
    policy_hash: Base64Bytes32 | None = None

    def device(self, device: DeviceId) -> Device | None:
        """Return the listed doorbell of that id, revoked or not."""
        return next((d for d in self.devices if d.id == device), None)

    @property
    def owner_keys(self) -> tuple[VerifyKey, ...]:
        """Return the signing keys of all owners."""
        return tuple(VerifyKey(m.sign_key) for m in self.roster if m.role is Role.OWNER)


@dataclass(frozen=True, slots=True)
class Head:
    """A chain verified up to here: the statement in force.

    Attributes:
        root: SHA-256 of statement 0's body: the household's root.
        signed: The container the statement came in.
        statement: Its parsed body.
    """

    root: bytes
    signed: Signed
    statement: Statement

    @property
    def household(self) -> HouseholdId:
        """Return whose chain this is."""
        return self.statement.household

    @property
    def epoch_recipient(self) -> Recipient:
        """Return the one recipient that clips are sealed to now."""
        return Recipient.parse(self.statement.epoch.recipient)


def sign_statement(statement: Statement, *owners: SigningKey) -> Signed:
    """Return ``statement`` signed by ``owners``."""
    return sign(Kind.STATEMENT, statement.model_dump(mode="json"), *owners)


def accept_root(signed: Signed, root: bytes | None = None) -> Head:
    """Return the head of a chain that begins with ``signed``.

    Args:
        signed: Statement 0.
        root: The household's root where it is known, as from a claim.

    Raises:
        BrokenChainError: Another root, not statement 0, or not signed by its
            one owner.
        BadMessageError: Not a statement.
        WrongSignatureError: Nobody who may sign it signed it.
    """
    if root is not None and signed.body_hash != root:
        raise BrokenChainError("this is another household's first statement")
    statement = _parse(signed)
    if statement.seq != 0 or statement.prev is not None:
        raise BrokenChainError("a chain begins with statement 0")
    if [m.role for m in statement.roster] != [Role.OWNER]:
        raise BrokenChainError("statement 0 lists exactly one owner")
    _check_form(statement)
    verify(Kind.STATEMENT, signed, statement.owner_keys)
    return Head(root=signed.body_hash, signed=signed, statement=statement)


def accept_next(head: Head, signed: Signed) -> Head:
    """Return the head after ``signed``, which must be its direct successor.

    Raises:
        ForkedChainError: Another statement of the head's own place or before.
        MissingStatementError: Those in between are missing.
        BrokenChainError: Another household, or a change that no owner of
            ``head`` may make.
        BadMessageError: Not a statement.
        WrongSignatureError: No owner listed in ``head`` signed it.
    """
    statement = _parse(signed)
    before = head.statement
    if statement.household != before.household:
        raise BrokenChainError("this statement is another household's")
    if statement.seq > before.seq + 1:
        raise MissingStatementError(
            f"statement {statement.seq} came, but {before.seq + 1} is still missing"
        )
    if statement.seq <= before.seq or statement.prev != head.signed.body_hash:
        raise ForkedChainError(
            f"two different statements claim place {statement.seq} of this household's chain"
        )
    _check_form(statement)
    _check_change(before, statement)
    verify(Kind.STATEMENT, signed, before.owner_keys)
    return Head(root=head.root, signed=signed, statement=statement)


def verify_chain(chain: Sequence[Signed], root: bytes) -> tuple[Head, ...]:
    """Return the head after each statement of ``chain``, from ``root`` on; the last is in force.

    Raises:
        BrokenChainError, BadMessageError, WrongSignatureError: It is empty, or as
            `accept_root` and `accept_next`.
    """
    if not chain:
        raise BadMessageError("this household's history is shown without its beginning")
    return tuple(accumulate(chain[1:], accept_next, initial=accept_root(chain[0], root)))


def _parse(signed: Signed) -> Statement:
    parse_canonical(signed.body)
    return read_body(Kind.STATEMENT, signed.body, Statement)


def _check_form(statement: Statement) -> None:
    """Refuse what no household may say, whoever signed it."""
    _refuse_doubles("member", (m.member for m in statement.roster))
    _refuse_doubles("member key", (m.sign_key for m in statement.roster))
    _refuse_doubles("recipient", _recipients(statement))
    _refuse_doubles("device", (d.id for d in statement.devices))
    _refuse_doubles("device key", (d.manifest_key for d in statement.devices))
    if not statement.owner_keys:
        raise BrokenChainError("a household keeps at least one owner")
    if any(m.from_epoch > statement.epoch.n for m in statement.roster):
        raise BrokenChainError("a member may not wait for an epoch to come")
    if statement.epoch.not_after - statement.at > MAX_EPOCH_MS:
        raise BrokenChainError("an epoch lasts at most 45 days from its statement")


def _check_change(before: Statement, after: Statement) -> None:
    """Refuse a step that would loosen what the chain has already promised."""
    _check_epoch(before, after)
    kept = {d.id: d for d in after.devices}
    for device in before.devices:
        if (now := kept.get(device.id)) is None:
            raise BrokenChainError("a doorbell once listed stays listed, revoked or not")
        if device != now and now != device.model_copy(update={"state": DeviceState.REVOKED}):
            raise BrokenChainError("a listed doorbell's keys do not change")


def _check_epoch(before: Statement, after: Statement) -> None:
    if after.epoch.n not in {before.epoch.n, before.epoch.n + 1}:
        raise BrokenChainError("epochs follow one another")
    is_new = after.epoch.n > before.epoch.n
    if is_new and after.epoch.recipient == before.epoch.recipient:
        raise BrokenChainError("a new epoch has a new key")
    if not is_new and after.epoch != before.epoch:
        raise BrokenChainError("an announced epoch keeps its key and its end")
    if {m.member for m in before.roster} <= {m.member for m in after.roster}:
        return
    if not is_new:
        raise BrokenChainError("removing a member makes a new epoch")
    if before.recovery is not None and after.recovery == before.recovery:
        raise BrokenChainError("removing a member makes a new recovery sheet")


def _recipients(statement: Statement) -> Iterable[str]:
    yield from (m.age_recipient for m in statement.roster)
    yield from (d.age_recipient for d in statement.devices)
    yield statement.epoch.recipient
    if statement.recovery is not None:
        yield statement.recovery.age_recipient


def _refuse_doubles(what: str, values: Iterable[object]) -> None:
    if any(count > 1 for count in Tally(values).values()):
        raise BrokenChainError(f"the same {what} is listed twice")
