"""The keyring: each holder's own age file, kept in the vault.

It is written in the same unit as the statement that came with it, and the
vault is committed first. Files are kept under that statement's hash and served
only through it: should the power fail between the two commits, the household
still gets the keyring it had.
"""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import delete, select

from doorstep_cloud.households.tables import KeyringRow, StatementRow
from doorstep_cloud.store.databases import Unit
from doorstep_cloud.store.errors import ConflictError, NotFoundError
from doorstep_shared.errors import BadMessageError
from doorstep_shared.ids import HouseholdId, MemberId
from doorstep_shared.statements import Statement

RECOVERY: Final = "recovery"
"""The holder that is a sheet of paper."""

MAX_FILE_BYTES: Final = 16 * 1024
"""About 200 epochs: 25 years of them."""

MAX_CHANGE_BYTES: Final = 1024 * 1024
"""A statement and the files of all holders there can be, in base64url: 33 of 16 KiB are 704 KiB."""

_AGE_MARK: Final = b"age-encryption.org/v1\n"

Files = Mapping[str, bytes]
"""A keyring file for each holder: a member's id, or `RECOVERY`."""


def is_keyring_wanted(before: Statement, after: Statement) -> bool:
    """Return whether ``after`` changes who holds a keyring file, or what is in it."""
    return before.epoch != after.epoch or _holders(before) != _holders(after)


def check_files(statement: Statement, files: Files) -> None:
    """Return if ``files`` are one for every holder ``statement`` lists.

    Raises:
        ConflictError: A file is missing, or is nobody's.
        BadMessageError: One is no age file, or longer than 16 KiB.
    """
    wanted = set(_holders(statement))
    if wanted != set(files):
        odd = ", ".join(sorted(wanted ^ set(files)))
        raise ConflictError(
            f"a keyring has one file for each holder the statement lists; see: {odd}",
            safe="Nothing was changed.",
        )
    for holder, file in files.items():
        if not file.startswith(_AGE_MARK) or len(file) > MAX_FILE_BYTES:
            raise BadMessageError(f"the keyring file of {holder} is no age file of up to 16 KiB")


def write_files(unit: Unit, household: HouseholdId, sha256: bytes, files: Files, now: int) -> None:
    """Put ``files`` under the statement whose body has ``sha256``.

    Files that an unfinished attempt with the same statement left are replaced.

    Args:
        unit: A write unit.
        household: Whose statement it is.
        sha256: Of the statement's body.
        files: Checked by `check_files`.
        now: Unix milliseconds.
    """
    unit.vault.execute(delete(KeyringRow).where(KeyringRow.statement_sha256 == sha256))
    unit.vault.add_all(
        KeyringRow(
            statement_sha256=sha256,
            holder=holder,
            household=household,
            file=file,
            written_at_ms=now,
        )
        for holder, file in files.items()
    )


def read_file(unit: Unit, household: HouseholdId, member: MemberId) -> bytes:
    """Return the member's own file of the keyring in force.

    Raises:
        NotFoundError: There is none for this member.
    """
    announced_by = unit.main.scalar(
        select(StatementRow.body_sha256)
        .where(StatementRow.household == household, StatementRow.has_keyring)
        .order_by(StatementRow.seq.desc())
        .limit(1)
    )
    row = unit.vault.get(KeyringRow, (announced_by, member)) if announced_by else None
    if row is None:
        raise NotFoundError(
            "there is no keyring file for this member",
            do="doorstep status        (says which household this is, and as whom you are here)",
        )
    return row.file


def has_files(unit: Unit, statement: Statement, sha256: bytes) -> bool:
    """Return whether the vault holds the file of every holder under this statement already.

    So it is when main was put back from a backup and the vault was not.

    Args:
        unit: Any unit.
        statement: What it says.
        sha256: Of its body.
    """
    found = select(KeyringRow.holder).where(KeyringRow.statement_sha256 == sha256)
    return set(unit.vault.scalars(found)) == set(_holders(statement))


def households_in_vault(unit: Unit) -> frozenset[str]:
    """Return the households that have a keyring in this vault; every founded one has."""
    return frozenset(unit.vault.scalars(select(KeyringRow.household).distinct()))


def _holders(statement: Statement) -> dict[str, str]:
    holders: dict[str, str] = {m.member: m.age_recipient for m in statement.roster}
    if statement.recovery is not None:
        holders[RECOVERY] = statement.recovery.age_recipient
    return holders
