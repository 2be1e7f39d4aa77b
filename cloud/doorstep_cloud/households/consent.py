"""A household's consent policy, as the service keeps it: every version as it was signed.

The service checks each version as the household's clients do, so that a broken
one is refused where somebody can still be told. It can make none itself, and
nothing it keeps here opens a clip: a policy says what may be asked, no more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select

from doorstep_cloud.households import chain
from doorstep_cloud.households.chain import Place
from doorstep_cloud.households.restoring import RESTORED
from doorstep_cloud.households.tables import PolicyRow
from doorstep_cloud.store.databases import Unit
from doorstep_cloud.store.passes import last_pass
from doorstep_shared.consent import (
    Choices,
    ConsentPolicy,
    accept_policy,
    is_replaced,
    parse_policy,
    policy_in_force,
    waiting_policy,
)
from doorstep_shared.errors import RefusedError
from doorstep_shared.ids import HouseholdId
from doorstep_shared.signing import Signed, decode_signed
from doorstep_shared.statements import Statement

MAX_LISTED: Final = 256
"""Versions in one answer; whoever wants more asks again after the last."""

MAX_CLOCK_OFF_MS: Final = 5 * 60 * 1000
"""How far a policy's date may be from our clock. Notice is counted from that date: dated back, a
loosening would be seen for less than its 72 hours."""

GIVEN_BACK_MS: Final = 30 * 24 * 3600 * 1000
"""How long after main was put back from a backup clients may bring versions that it lost."""

_READ_AT_ONCE: Final = 8

MAX_CHANGE_BYTES: Final = 96 * 1024
"""A policy and a statement that lists all doorbells there can be."""


@dataclass(frozen=True, slots=True)
class Consent:
    """What holds, and what will.

    Attributes:
        waiting: The newest version, if its time has not come.
    """

    in_force: Choices
    waiting: ConsentPolicy | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """A version that is kept, and where the statement that names it stands."""

    policy: ConsentPolicy
    place: Place


def read_policies(unit: Unit, household: HouseholdId, after: int) -> Sequence[Signed]:
    """Return the versions that follow ``after``, oldest first; 0 for all from the first on."""
    rows = unit.main.scalars(
        select(PolicyRow.signed)
        .where(PolicyRow.household == household, PolicyRow.version > after)
        .order_by(PolicyRow.version)
        .limit(MAX_LISTED)
    )
    return [decode_signed(signed) for signed in rows]


def read_consent(unit: Unit, household: HouseholdId, now_ms: int) -> Consent:
    """Return what holds at ``now_ms`` and what waits; without a version everything is off."""
    newest = _newest(unit, household, now_ms)
    return Consent(policy_in_force(newest, now_ms), waiting_policy(newest, now_ms))


def write_policy(
    unit: Unit, household: HouseholdId, policy: Signed, statement: Signed, now_ms: int
) -> Accepted:
    """Write the next version together with the statement that names it.

    The same two again get the same answer and change nothing.

    Args:
        unit: A write unit; the caller ends it.
        household: Whose policy; both must be of it.
        policy: The version.
        statement: The direct successor of the household's head.
        now_ms: Unix milliseconds.

    Raises:
        BrokenPolicyError: It does not follow, or loosens more than its signatures allow.
        RefusedError: It is dated more than five minutes from ``now_ms``, and was not
            lost with a database put back since; or as `chain.append_statement`.
        BadMessageError: One of the two is no policy, or no statement.
    """
    before = chain.read_head(unit, household).statement
    place = chain.append_statement(
        unit, household, statement, None, now_ms, policy_hash=policy.body_hash
    )
    after = Statement.model_validate_json(statement.body)  # it was verified just now, or before
    is_repeated = after.seq <= before.seq and after.policy_hash == policy.body_hash
    if is_repeated and (known := _known(unit, household, policy)) is not None:
        return Accepted(known, place)
    # Judged by its own date, as everybody will judge it who reads the chain later.
    at_ms = parse_policy(policy).at
    is_given_back = _is_given_back(unit, household, at_ms, after, now_ms)
    past = _past(unit, household, after, by_arrival=not is_given_back)
    accepted = accept_policy(_newest(unit, household, at_ms), policy, before, after, past)
    if not is_given_back:
        _refuse_date(accepted, now_ms)
    unit.main.add(
        PolicyRow(
            household=household,
            version=accepted.version,
            body_sha256=policy.body_hash,
            signed=policy.encode(),
            received_at_ms=now_ms,
        )
    )
    return Accepted(accepted, place)


def _newest(unit: Unit, household: HouseholdId, at_ms: int) -> Sequence[ConsentPolicy]:
    """Return the newest versions, oldest first, back to the one that held at ``at_ms``."""
    found: list[ConsentPolicy] = []
    for policy in _read_back(unit, household):
        later = found[-1] if found else None
        found.append(policy)
        if policy.in_force_at <= at_ms and not is_replaced(policy, later):
            break
    return tuple(reversed(found))


def _read_back(unit: Unit, household: HouseholdId) -> Iterator[ConsentPolicy]:
    """Yield the versions, newest first, and read no more of them than are asked for."""
    newest = (
        select(PolicyRow)
        .where(PolicyRow.household == household)
        .order_by(PolicyRow.version.desc())
        .limit(_READ_AT_ONCE)
    )
    rows = unit.main.scalars(newest).all()
    while rows:
        for row in rows:
            yield _policy(decode_signed(row.signed))
        rows = unit.main.scalars(newest.where(PolicyRow.version < rows[-1].version)).all()


def _known(unit: Unit, household: HouseholdId, policy: Signed) -> ConsentPolicy | None:
    row = unit.main.scalar(
        select(PolicyRow.version).where(
            PolicyRow.household == household, PolicyRow.body_sha256 == policy.body_hash
        )
    )
    return None if row is None else _policy(policy)


def _policy(signed: Signed) -> ConsentPolicy:
    # It was verified before it was kept, and bytes do not change: parsing is enough.
    return ConsentPolicy.model_validate_json(signed.body)


def _past(
    unit: Unit, household: HouseholdId, after: Statement, *, by_arrival: bool
) -> Iterator[Statement]:
    """Yield the statements in front of ``after``, newest first.

    With ``by_arrival`` none is dated before it came: an owner could date one back, to have
    been listed for long.
    """
    for one in chain.read_back(unit, household, after.seq):
        at = max(one.statement.at, one.at_ms) if by_arrival else one.statement.at
        yield one.statement.model_copy(update={"at": at})


def _is_given_back(
    unit: Unit, household: HouseholdId, at_ms: int, after: Statement, now_ms: int
) -> bool:
    """Return whether the database may have lost a policy of ``at_ms``: it was put back later.

    It cannot have once the household's chain is dated after that: what was lost followed it.
    """
    restored_ms = last_pass(unit, RESTORED)
    if restored_ms is None or not at_ms <= restored_ms > now_ms - GIVEN_BACK_MS:
        return False
    past = chain.read_back(unit, household, after.seq)
    return all(one.statement.at <= at_ms for one in past)


def _refuse_date(policy: ConsentPolicy, now_ms: int) -> None:
    off_ms = policy.at - now_ms
    if abs(off_ms) <= MAX_CLOCK_OFF_MS:
        return
    side = "before" if off_ms < 0 else "after"
    raise RefusedError(
        f"this consent policy is dated {abs(off_ms) // 1000:,} s {side} the service's time,"
        f" and may be {MAX_CLOCK_OFF_MS // 1000} s off",
        safe="Nothing was changed.",
        do="Set the clock of the computer that signs, and sign again.",
    )
