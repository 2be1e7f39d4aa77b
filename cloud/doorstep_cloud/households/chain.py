"""A household's chain of statements, as the service keeps it.

The service checks each statement as doorbells and clients do, so that a broken
one is refused where somebody can still be told. It can make none itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from sqlalchemy import delete, func, select

from doorstep_cloud.households import keyring
from doorstep_cloud.households.invites import find_invite
from doorstep_cloud.households.tables import HouseholdRow, MemberRow, StatementRow
from doorstep_cloud.store.databases import Unit
from doorstep_cloud.store.errors import (
    ConflictError,
    NotAllowedError,
    NotFoundError,
    TooOftenError,
)
from doorstep_shared.errors import RefusedError
from doorstep_shared.ids import HouseholdId
from doorstep_shared.signing import Signed, VerifyKey, decode_signed
from doorstep_shared.statements import Head, Member, Statement, accept_next, accept_root

MAX_LISTED: Final = 256
MAX_LISTED_BYTES: Final = 1024 * 1024
"""Statements in one answer, and their bytes; whoever wants more asks again after the last."""

MAX_STATEMENT_BYTES: Final = 60 * 1024
"""Of a statement with its signatures. More would fit into no message to a doorbell (64 KiB), and
32 members with 64 doorbells take less."""

MAX_A_DAY: Final = 256
"""Statements of one household: 15 MiB in the database at most, and far more than its people make,
one for each doorbell, member and epoch."""

_READ_AT_ONCE: Final = 8

_DAY_MS: Final = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a statement stands.

    Attributes:
        sha256: Of its body, the name its successor gives it.
    """

    seq: int
    sha256: bytes


def found_household(
    unit: Unit, invite: str, first: Signed, files: keyring.Files, now_ms: int
) -> Head:
    """Write the household that ``first`` begins, and use up the invite for it.

    The same request again gets the same answer, for the first may have been lost.

    Raises:
        NotAllowedError: The invite is unknown, ended, or another household's by now.
        ConflictError: This household, or its owner's key, is already here.
        RefusedError, BadMessageError: It names a consent policy, or as `accept_root`
            and `keyring.check_files`.
    """
    _refuse_length(first)
    head = accept_root(first)
    if head.statement.policy_hash is not None:
        raise RefusedError(
            "a household begins with everything off, and this one names a consent policy",
            do="Found it without one, and set that with PUT /v1/consent-policy.",
        )
    row = find_invite(unit, invite, now_ms)
    if row.household is not None:
        return _founded_before(unit, row.household, head)
    keyring.check_files(head.statement, files)
    if unit.main.get(HouseholdRow, head.household) is not None:
        raise ConflictError("this household is already here", safe="Nothing was changed.")
    unit.main.add(HouseholdRow(id=head.household, root=head.root, created_at_ms=now_ms))
    unit.main.flush()
    row.household = head.household
    _write(unit, head, files, now_ms, has_keyring=True)
    return head


def append_statement(
    unit: Unit,
    household: HouseholdId,
    signed: Signed,
    files: keyring.Files | None,
    now_ms: int,
    *,
    policy_hash: bytes | None = None,
) -> Place:
    """Write the direct successor of the household's head, with its keyring or neither.

    The same statement again gets the same answer and changes nothing.

    Args:
        unit: A write unit.
        household: Whose chain; the statement must be of it.
        signed: The statement.
        files: The keyring files that come with it; None when none do, as when the vault
            has them from when it came first, before main was put back from a backup.
        now_ms: Unix milliseconds.
        policy_hash: Of the consent policy that comes with it; None when none does.

    Raises:
        ConflictError: It changes who may open what, and brings no files; or it
            names another consent policy than the last, and does not bring that.
        TooOftenError: The household has made `MAX_A_DAY` within a day.
        RefusedError, BadMessageError: It is too long, or as `accept_next` and
            `keyring.check_files`.
    """
    if (seq := _seq_of(unit, household, signed)) is not None:
        return Place(seq, signed.body_hash)
    before = read_head(unit, household)
    _refuse_haste(unit, before, now_ms)
    _refuse_length(signed)
    head = accept_next(before, signed)
    is_in_vault = files is None and keyring.has_files(unit, head.statement, signed.body_hash)
    if files is not None:
        keyring.check_files(head.statement, files)
    elif keyring.is_keyring_wanted(before.statement, head.statement) and not is_in_vault:
        raise ConflictError(
            "this statement changes who may open clips, so it comes with the keyring",
            safe="Nothing was changed.",
            do="Send it with all files to PUT /v1/keyring.age instead.",
        )
    _refuse_lone_policy(before.statement, head.statement, policy_hash)
    _write(unit, head, files, now_ms, has_keyring=files is not None or is_in_vault)
    return Place(head.statement.seq, signed.body_hash)


def read_head(unit: Unit, household: HouseholdId) -> Head:
    """Return the statement in force.

    Raises:
        NotFoundError: There is no such household.
    """
    found = unit.main.execute(
        select(HouseholdRow.root, StatementRow.signed)
        .join(StatementRow, StatementRow.household == HouseholdRow.id)
        .where(HouseholdRow.id == household)
        .order_by(StatementRow.seq.desc())
        .limit(1)
    ).one_or_none()
    if found is None:
        raise NotFoundError("there is no such household")
    return _head(found.root, found.signed)


def read_statements(
    unit: Unit,
    household: HouseholdId,
    after: int | None,
    *,
    limit: int = MAX_LISTED,
    limit_bytes: int = MAX_LISTED_BYTES,
) -> Sequence[Signed]:
    """Return the statements that follow place ``after``, oldest first, as many as the limits let.

    The first comes in any case, so that whoever asks on comes to the end.

    Args:
        unit: Any unit.
        household: Whose chain.
        after: A place in it; None for the whole chain.
        limit: How many at most.
        limit_bytes: How long they may be together.
    """
    place = _before_all(after)
    following = (StatementRow.household == household, StatementRow.seq > place)
    # Lengths first: a database gives them without reading what is as long.
    lengths = unit.main.execute(
        select(StatementRow.seq, func.length(StatementRow.signed))
        .where(*following)
        .order_by(StatementRow.seq)
        .limit(limit)
    )
    total_bytes = 0
    last = place
    for seq, length in lengths:
        total_bytes += length
        if last > place and total_bytes > limit_bytes:
            break
        last = seq
    rows = unit.main.scalars(
        select(StatementRow.signed)
        .where(*following, StatementRow.seq <= last)
        .order_by(StatementRow.seq)
    )
    return [decode_signed(signed) for signed in rows]


@dataclass(frozen=True, slots=True)
class Received:
    """A statement, and when it came; its own date is only its maker's word."""

    statement: Statement
    at_ms: int


def read_back(unit: Unit, household: HouseholdId, seq: int) -> Iterator[Received]:
    """Yield the statements in front of place ``seq``, newest first, and read no more than asked."""
    earlier = (
        select(StatementRow)
        .where(StatementRow.household == household)
        .order_by(StatementRow.seq.desc())
        .limit(_READ_AT_ONCE)
    )
    while rows := unit.main.scalars(earlier.where(StatementRow.seq < seq)).all():
        for row in rows:
            statement = Statement.model_validate_json(decode_signed(row.signed).body)
            yield Received(statement, row.received_at_ms)
        seq = rows[-1].seq


def is_epoch(unit: Unit, household: HouseholdId, epoch: int, recipient: str) -> bool:
    """Return whether the household's chain names ``recipient`` for ``epoch``, now or earlier."""
    found = select(StatementRow.seq).where(
        StatementRow.household == household,
        StatementRow.epoch == epoch,
        StatementRow.epoch_recipient == recipient,
    )
    return unit.main.scalar(found.limit(1)) is not None


def _refuse_length(signed: Signed) -> None:
    if (length := len(signed.encode())) > MAX_STATEMENT_BYTES:
        raise RefusedError(
            f"this statement has {length} bytes, and may have {MAX_STATEMENT_BYTES}",
            safe="Nothing was changed.",
            do="Found another household for further doorbells: those once listed stay listed.",
        )


def _refuse_lone_policy(before: Statement, after: Statement, brought: bytes | None) -> None:
    """Refuse to name a consent policy that nobody could show: the chain would not verify."""
    if after.policy_hash == before.policy_hash or (brought and after.policy_hash == brought):
        return
    raise ConflictError(
        "this statement names another consent policy, so it comes with that policy",
        safe="Nothing was changed.",
        do="Send both to PUT /v1/consent-policy instead.",
    )


def _refuse_haste(unit: Unit, head: Head, now_ms: int) -> None:
    """Refuse the next statement while a whole day's number was received within a day."""
    first_ms = unit.main.scalar(
        select(StatementRow.received_at_ms).where(
            StatementRow.household == head.household,
            StatementRow.seq == head.statement.seq + 1 - MAX_A_DAY,
        )
    )
    # One from the future was received before our clock was put right: nobody waits for that.
    if first_ms is not None and 0 <= now_ms - first_ms < _DAY_MS:
        raise TooOftenError(
            f"this household has made {MAX_A_DAY} statements within a day",
            safe="All of them are kept, and nothing else was changed.",
            do="Try again tomorrow.",
            after_s=(first_ms + _DAY_MS - now_ms) / 1000,
        )


def _before_all(after: int | None) -> int:
    return -1 if after is None else after


@lru_cache(maxsize=512)
def _head(root: bytes, signed: bytes) -> Head:
    # It was verified before it was kept, and bytes do not change: parsing is enough, once.
    container = decode_signed(signed)
    statement = Statement.model_validate_json(container.body)
    return Head(root=root, signed=container, statement=statement)


def _founded_before(unit: Unit, household: str, asked: Head) -> Head:
    row = unit.main.get_one(HouseholdRow, household)
    if row.root != asked.root:
        raise NotAllowedError(
            "this invite has been used",
            do="Ask whoever runs the service for another: doorstep-cloud invite",
        )
    return asked


def _seq_of(unit: Unit, household: HouseholdId, signed: Signed) -> int | None:
    return unit.main.scalar(
        select(StatementRow.seq).where(
            StatementRow.household == household, StatementRow.body_sha256 == signed.body_hash
        )
    )


def _write(
    unit: Unit, head: Head, files: keyring.Files | None, now_ms: int, *, has_keyring: bool
) -> None:
    sha256 = head.signed.body_hash
    if files is not None:
        keyring.write_files(unit, head.household, sha256, files, now_ms)
    unit.main.add(
        StatementRow(
            household=head.household,
            seq=head.statement.seq,
            body_sha256=sha256,
            signed=head.signed.encode(),
            epoch=head.statement.epoch.n,
            epoch_recipient=head.statement.epoch.recipient,
            has_keyring=has_keyring,
            received_at_ms=now_ms,
        )
    )
    _write_roster(unit, head)


def _write_roster(unit: Unit, head: Head) -> None:
    """Make the member rows say what the statement says; sessions of the gone go with them."""
    listed = {member.member: member for member in head.statement.roster}
    rows = unit.main.scalars(select(MemberRow).where(MemberRow.household == head.household))
    for row in list(rows):
        member = listed.get(row.id)  # type: ignore[call-overload]  # a row's id is a plain text
        if member is None or member.sign_key != row.sign_key:
            unit.main.execute(
                delete(MemberRow).where(
                    MemberRow.household == row.household, MemberRow.id == row.id
                )
            )
            continue
        row.role = member.role.value
        del listed[member.member]
    for member in listed.values():
        _write_member(unit, head.household, member)


def _write_member(unit: Unit, household: HouseholdId, member: Member) -> None:
    key_id = VerifyKey(member.sign_key).key_id
    if unit.main.scalar(select(MemberRow.id).where(MemberRow.sign_key_id == key_id)) is not None:
        raise ConflictError(
            "a member's signing key is already in use here",
            safe="Nothing was changed.",
            do="Make a new key: no key belongs to two members.",
        )
    unit.main.add(
        MemberRow(
            household=household,
            id=member.member,
            role=member.role.value,
            sign_key=member.sign_key,
            sign_key_id=key_id,
        )
    )
