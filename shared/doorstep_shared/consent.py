"""The household's consent policy: signed versions of who may be asked for a clip.

No policy means that everything is off. Versions are a chain of their own, and
the newest one's hash stands in the household's statement, so a service can
neither make one up nor go back to an older one. Tightening takes any owner and
holds at once. Loosening takes as many owners as the policy in force asks for;
with fewer it holds 72 hours later, and everybody sees it coming. Where it takes
two, an owner counts from their 72nd hour on: one alone lists whom they like.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from doorstep_shared.encoding import Base64Bytes32
from doorstep_shared.errors import RefusedError
from doorstep_shared.fields import Counter, HouseholdIdField, Milliseconds
from doorstep_shared.signing import (
    Kind,
    Signed,
    SigningKey,
    parse_canonical,
    read_body,
    sign,
    verify,
)
from doorstep_shared.statements import Statement

NOTICE_MS: Final = 72 * 3600 * 1000
"""How long everybody can see a loosening coming that not all have signed."""


class BrokenPolicyError(RefusedError):
    """A consent policy does not follow from the one before it."""


class Requests(StrEnum):
    """Whether questions of a sort are shown to the household at all."""

    OFF = "off"
    ASK = "ask"


class ShowMyName(StrEnum):
    """Whether an agency may learn who gave a clip."""

    NEVER = "never"
    ASK = "ask"


class AgencyKind(StrEnum):
    """Who may put a question."""

    POLICE = "police"
    FIRE = "fire"
    AMBULANCE = "ambulance"
    MISSING_PERSONS = "missing_persons"
    OTHER = "other"


class Choices(BaseModel):
    """What an owner chooses; as it comes, everything is off.

    Attributes:
        agency_requests: Public questions of agencies.
        agency_kinds: Whose questions are shown, when they are.
        emergency_requests: Questions where a life is in danger.
        owners_needed: How many owners a release, or a loosening of this, takes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    agency_requests: Requests = Requests.OFF
    agency_kinds: Annotated[tuple[AgencyKind, ...], Field(max_length=len(AgencyKind))] = ()
    emergency_requests: Requests = Requests.OFF
    show_my_name: ShowMyName = ShowMyName.NEVER
    owners_needed: Annotated[int, Field(ge=1, le=2)] = 1


EVERYTHING_OFF: Final = Choices()


class ConsentPolicy(Choices):
    """The body of one version.

    Attributes:
        version: Counts from 1.
        prev: SHA-256 of the version before it; None at 1.
        at: When it was signed.
        in_force_at: From when on it holds; until then the one before it does.
    """

    v: Literal[1] = 1
    household: HouseholdIdField
    version: Annotated[Counter, Field(ge=1)]
    prev: Base64Bytes32 | None
    at: Milliseconds
    in_force_at: Milliseconds

    @property
    def choices(self) -> Choices:
        """Return what it chooses, without where it stands in the chain."""
        return Choices(**{name: getattr(self, name) for name in Choices.model_fields})


def is_loosening(before: Choices, after: Choices) -> bool:
    """Return whether ``after`` lets through anything that ``before`` does not.

    Kinds count only while questions are shown; the number of owners always does.
    """
    return (
        not shown_kinds(after) <= shown_kinds(before)
        or (after.emergency_requests is Requests.ASK and before.emergency_requests is Requests.OFF)
        or (after.show_my_name is ShowMyName.ASK and before.show_my_name is ShowMyName.NEVER)
        or after.owners_needed < before.owners_needed
    )


def earliest_in_force(
    chain: Sequence[ConsentPolicy], choices: Choices, signers: int, now_ms: int
) -> int:
    """Return when ``choices`` may begin to hold, signed now by ``signers`` owners.

    At once, unless they loosen what holds now and fewer sign than that asks for.
    What is announced and does not hold yet is not judged: ``choices`` replace it.
    """
    held = policy_in_force(chain, now_ms)
    if is_loosening(held, choices) and signers < held.owners_needed:
        return now_ms + NOTICE_MS
    return now_ms


def policy_in_force(chain: Sequence[ConsentPolicy], now_ms: int) -> Choices:
    """Return what holds at ``now_ms``: the choices of `version_in_force`, else everything off."""
    version = version_in_force(chain, now_ms)
    return version.choices if version else EVERYTHING_OFF


def version_in_force(chain: Sequence[ConsentPolicy], now_ms: int) -> ConsentPolicy | None:
    """Return the newest version whose time has come at ``now_ms``, and came; None before any."""
    later: ConsentPolicy | None = None
    for policy in reversed(chain):
        if policy.in_force_at <= now_ms and not is_replaced(policy, later):
            return policy
        later = policy
    return None


def is_replaced(policy: ConsentPolicy, later: ConsentPolicy | None) -> bool:
    """Return whether ``policy`` still waited when ``later``, the next version, was signed.

    Then it never holds, whenever ``later`` does: what waits is replaced, not queued. Else an
    announced *off* with an *on* behind it would loosen in less than 72 hours.
    """
    return later is not None and policy.in_force_at > later.at


def shown_kinds(choices: Choices) -> frozenset[AgencyKind]:
    """Return whose questions ``choices`` let through: kinds count only while any are shown."""
    is_shown = choices.agency_requests is Requests.ASK
    return frozenset(choices.agency_kinds) if is_shown else frozenset()


def waiting_policy(chain: Sequence[ConsentPolicy], now_ms: int) -> ConsentPolicy | None:
    """Return the newest version if its time has not come; None otherwise."""
    return chain[-1] if chain and chain[-1].in_force_at > now_ms else None


def sign_policy(policy: ConsentPolicy, *owners: SigningKey) -> Signed:
    """Return ``policy`` signed by ``owners``."""
    return sign(Kind.CONSENT_POLICY, policy.model_dump(mode="json"), *owners)


def accept_policy(
    chain: Sequence[ConsentPolicy],
    signed: Signed,
    before: Statement,
    after: Statement,
    past: Iterable[Statement],
) -> ConsentPolicy:
    """Return the policy in ``signed``, which follows ``chain``.

    Args:
        chain: The versions so far, oldest first, at least from the one on that held at
            the date of ``signed``.
        signed: The next version.
        before: The statement in force; its owners decide.
        after: The statement that comes with ``signed`` and names its hash.
        past: ``before`` and those in front of it, newest first; read back as far as 72
            hours. Whoever knows when they came may date them later, by that.

    Raises:
        BrokenPolicyError: Out of place or time, not the one ``after`` names, more
            than its signatures allow, or two owners asked of one.
        WrongSignatureError: No owner listed in ``before`` signed it.
        BadMessageError: It is not a version 1 policy.
    """
    policy = parse_policy(signed)
    if policy.household != before.household:
        raise BrokenPolicyError("this consent policy is another household's")
    prev = chain[-1] if chain else None
    if policy.version != (prev.version + 1 if prev else 1) or policy.prev != before.policy_hash:
        raise BrokenPolicyError("this consent policy does not follow the one before it")
    # An older date would be judged by what held then: by an owner's word that counts no more.
    if prev and policy.at < prev.at:
        raise BrokenPolicyError("this consent policy is dated before the one before it")
    if policy.at < before.at:
        raise BrokenPolicyError("this consent policy is dated before the statement in force")
    if after.policy_hash != signed.body_hash:
        raise BrokenPolicyError("the household's statement names another consent policy")
    if policy.owners_needed > len(after.owner_keys):
        raise BrokenPolicyError("a household of one owner cannot ask for two")
    signers = verify(Kind.CONSENT_POLICY, signed, before.owner_keys)
    counted = count_owners(signers, before, past, policy.at)
    if policy.in_force_at < earliest_in_force(chain, policy.choices, counted, policy.at):
        raise BrokenPolicyError(
            "this loosens the consent policy: it takes more owners, all of them for 72 hours, or"
            " 72 hours in which all see it"
        )
    return policy


def verify_policies(
    policies: Sequence[Signed], statements: Sequence[Statement]
) -> tuple[ConsentPolicy, ...]:
    """Return the household's consent policies, every one checked against its statements.

    Args:
        policies: Every version, oldest first.
        statements: The verified chain, from the first one on.

    Raises:
        BrokenPolicyError: A version is missing, or there is one too many; else as
            `accept_policy`.
    """
    waiting = list(policies)
    chain: list[ConsentPolicy] = []
    for place, (before, after) in enumerate(pairwise(statements)):
        if after.policy_hash == before.policy_hash:
            continue
        if not waiting:
            raise BrokenPolicyError("a version of this household's consent policy is withheld")
        past = (statements[at] for at in range(place, -1, -1))
        chain.append(accept_policy(chain, waiting.pop(0), before, after, past))
    if waiting or statements[0].policy_hash is not None:
        raise BrokenPolicyError("no statement of the household names this consent policy")
    return tuple(chain)


def parse_policy(signed: Signed) -> ConsentPolicy:
    """Return the policy in ``signed``, its signatures and its place not checked.

    Raises:
        BadMessageError: It is not a version 1 policy.
    """
    parse_canonical(signed.body)
    return read_body(Kind.CONSENT_POLICY, signed.body, ConsentPolicy)


def count_owners(
    signers: frozenset[bytes], statement: Statement, past: Iterable[Statement], at_ms: int
) -> int:
    """Return for how many owners ``signers`` count at ``at_ms``.

    Any one owner is one. More are counted only of those who were owners all of the 72
    hours before, because one owner alone could list a second key of their own.

    Args:
        signers: Ids of keys that signed; at least one is an owner's of ``statement``.
        statement: The one in force.
        past: As `accept_policy` takes it.
        at_ms: When they signed.
    """
    return max(1, len(signers & _settled_owners(past, statement, at_ms)))


def _settled_owners(past: Iterable[Statement], before: Statement, at_ms: int) -> frozenset[bytes]:
    """Return the keys' ids of who was an owner at ``at_ms`` and all of the 72 hours before."""
    settled = _owner_ids(before)
    for statement in past:
        settled &= _owner_ids(statement)
        if statement.at <= at_ms - NOTICE_MS:
            return settled
    return frozenset()


def _owner_ids(statement: Statement) -> frozenset[bytes]:
    return frozenset(key.key_id for key in statement.owner_keys)
