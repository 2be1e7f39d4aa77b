"""Commands to doorbells: taken from owners, carried until they are answered, then forgotten.

The service can make none and change none. What it can do is keep one back, and
that is seen: a command that no doorbell has answered waits, for all to see.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, cast

from sqlalchemy import ColumnElement, CursorResult, delete, func, select
from sqlalchemy.orm import aliased

from doorstep_cloud.devices.rules import Listing
from doorstep_cloud.devices.service import device_for_ingest
from doorstep_cloud.devices.tables import CommandRow, DeviceRow
from doorstep_cloud.households.chain import read_head
from doorstep_cloud.store.databases import Unit
from doorstep_cloud.store.errors import ConflictError, NotFoundError, TooOftenError
from doorstep_shared.commands import MAX_COMMAND_BYTES, Command, verify_command
from doorstep_shared.errors import BadMessageError, RefusedError
from doorstep_shared.ids import DeviceId, HouseholdId
from doorstep_shared.signing import Signed, VerifyKey, decode_signed
from doorstep_shared.statements import Role
from doorstep_shared.wire import Answer

_DAY_MS: Final = 24 * 3600 * 1000

LONGEST_MS: Final = 14 * _DAY_MS
"""A doorbell that has been away for longer is told anew, by somebody who still wants it."""

MOST_WAITING: Final = 32
"""Commands of one doorbell without an answer: 256 KiB at most after each of its hellos."""

MOST_LISTED: Final = 128

KEPT_MS: Final = 60 * _DAY_MS


class CommandState(StrEnum):
    """What has become of a command."""

    WAITING = "waiting"  # for its doorbell, or for the service to be honest
    DONE = "done"
    REFUSED = "refused"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class CommandFacts:
    """A command as its household sees it.

    Attributes:
        command: What the owner signed.
        received_at_ms: By the service's clock, Unix milliseconds.
        reason: Why the doorbell did not do it, in its words; empty otherwise.
    """

    command: Command
    received_at_ms: int
    state: CommandState
    reason: str


@dataclass(frozen=True, slots=True)
class CommandList:
    """A doorbell's newest commands, newest first, and the counter its next one needs."""

    items: Sequence[CommandFacts]
    next_counter: int


class AnswerTaken(StrEnum):
    """What an answer of a doorbell came to."""

    NEW = "new"
    REPEATED = "repeated"
    UNKNOWN = "unknown"


def household_of_device(unit: Unit, device: DeviceId) -> HouseholdId | None:
    """Return whose doorbell it is; None when there is none of this id."""
    row = unit.main.get(DeviceRow, device)
    return None if row is None else HouseholdId(row.household)


def accept_command(unit: Unit, device: DeviceId, signed: Signed, now_ms: int) -> Command:
    """Write a command for ``device``; return what it says.

    The same command again gets the same answer: the first may have been lost.

    Raises:
        NotFoundError: There is no such doorbell.
        WrongSignatureError: No owner of the statement in force signed it.
        BadMessageError: It is no command, or too long for a message.
        RefusedError: It is not for this doorbell, nobody would hear it, or its end is not
            within `LONGEST_MS` from now.
        ConflictError: Its counter does not follow the last one.
        TooOftenError: `MOST_WAITING` commands wait for the doorbell already.
    """
    found = device_for_ingest(unit, device)
    if found is None:
        raise NotFoundError("there is no such doorbell", do="doorstep device list")
    if len(signed.encode()) > MAX_COMMAND_BYTES:
        raise BadMessageError(
            f"a command with its signatures has at most {MAX_COMMAND_BYTES} bytes"
        )
    roster = read_head(unit, found.household).statement.roster
    owners = [VerifyKey(member.sign_key) for member in roster if member.role is Role.OWNER]
    command = verify_command(signed, owners)
    if (command.household, command.device) != (found.household, device):
        raise RefusedError("this command is for another doorbell", safe="It was not sent.")
    known = unit.main.get(CommandRow, (device, command.counter))
    if known is not None and known.signed == signed.encode():
        return command
    if found.listing is Listing.REVOKED:
        raise RefusedError(
            "this doorbell is revoked, and hears no commands any more",
            safe="What is on its card is sealed to your household.",
        )
    _refuse_time(command, now_ms)
    _refuse_counter(unit, command)
    _refuse_crowd(unit, device, now_ms)
    unit.main.add(
        CommandRow(
            device=device,
            counter=command.counter,
            household=found.household,
            name=command.name.value,
            signed=signed.encode(),
            received_at_ms=now_ms,
            expires_at_ms=command.expires,
        )
    )
    return command


def list_commands(unit: Unit, device: DeviceId, now_ms: int) -> CommandList:
    """Return the doorbell's newest commands and what has become of each."""
    rows = unit.main.scalars(
        select(CommandRow)
        .where(CommandRow.device == device)
        .order_by(CommandRow.counter.desc())
        .limit(MOST_LISTED)
    )
    return CommandList([_facts(row, now_ms) for row in rows], _last_counter(unit, device) + 1)


def waiting_commands(unit: Unit, device: DeviceId, now_ms: int) -> Sequence[bytes]:
    """Return what the doorbell is to be sent, as it was signed, in the order of the counters."""
    rows = unit.main.scalars(
        select(CommandRow.signed)
        .where(*_waiting(device, now_ms))
        .order_by(CommandRow.counter)
        .limit(MOST_WAITING)
    )
    return list(rows)


def record_answer(unit: Unit, device: DeviceId, answer: Answer, now_ms: int) -> AnswerTaken:
    """Write what a doorbell says of a command of its own; its first word stands."""
    row = unit.main.get(CommandRow, (device, answer.counter))
    if row is None:
        return AnswerTaken.UNKNOWN
    if row.answered_at_ms is not None:
        return AnswerTaken.REPEATED
    row.answered_at_ms = now_ms
    row.is_done = answer.is_done
    row.reason = answer.reason or None
    return AnswerTaken.NEW


def prune_commands(unit: Unit, now_ms: int) -> int:
    """Forget commands taken 60 days ago; return how many.

    Each doorbell's newest stays: the next one counts on from it, as the doorbell does.
    """
    later = aliased(CommandRow)
    newest = select(func.max(later.counter)).where(later.device == CommandRow.device)
    old = delete(CommandRow).where(
        CommandRow.received_at_ms < now_ms - KEPT_MS,
        CommandRow.expires_at_ms <= now_ms,
        CommandRow.counter < newest.scalar_subquery(),
    )
    result = cast("CursorResult[object]", unit.main.execute(old))
    return result.rowcount


def _refuse_time(command: Command, now_ms: int) -> None:
    if command.expires <= now_ms:
        raise RefusedError(
            "this command has ended before it came",
            safe="It was not sent.",
            do="Check this computer's clock, then try again.",
        )
    if command.expires > now_ms + LONGEST_MS:
        raise RefusedError(
            f"a command ends within {LONGEST_MS // _DAY_MS} days",
            safe="It was not sent.",
            do="Check this computer's clock, then try again.",
        )


def _refuse_counter(unit: Unit, command: Command) -> None:
    wanted = _last_counter(unit, command.device) + 1
    if command.counter != wanted:
        raise ConflictError(
            f"this doorbell's next command has the counter {wanted}, not {command.counter}",
            safe="It was not sent.",
            do="Sign it anew with that counter.",
        )


def _refuse_crowd(unit: Unit, device: DeviceId, now_ms: int) -> None:
    waiting = select(func.count()).select_from(CommandRow).where(*_waiting(device, now_ms))
    if unit.main.scalars(waiting).one() >= MOST_WAITING:
        raise TooOftenError(
            f"{MOST_WAITING} commands wait for this doorbell already",
            safe="They are kept until it is heard of, or until they end.",
            do="Wait until it is back: doorstep device list",
        )


def _waiting(device: DeviceId, now_ms: int) -> tuple[ColumnElement[bool], ...]:
    return (
        CommandRow.device == device,
        CommandRow.answered_at_ms.is_(None),
        CommandRow.expires_at_ms > now_ms,
    )


def _last_counter(unit: Unit, device: DeviceId) -> int:
    newest = select(func.max(CommandRow.counter)).where(CommandRow.device == device)
    return unit.main.scalar(newest) or 0


def _facts(row: CommandRow, now_ms: int) -> CommandFacts:
    # It was verified before it was kept.
    command = Command.model_validate_json(decode_signed(row.signed).body)
    return CommandFacts(command, row.received_at_ms, _state(row, now_ms), row.reason or "")


def _state(row: CommandRow, now_ms: int) -> CommandState:
    if row.is_done is not None:
        return CommandState.DONE if row.is_done else CommandState.REFUSED
    return CommandState.WAITING if now_ms < row.expires_at_ms else CommandState.EXPIRED
