"""Tokens: a member's permission for a program, narrow, named and with an end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, and_, delete, func, select

from doorstep_cloud.access.policy import Scope
from doorstep_cloud.households import codes
from doorstep_cloud.households.principal import Speaker
from doorstep_cloud.households.tables import TokenRow
from doorstep_cloud.store.databases import Unit
from doorstep_cloud.store.errors import ConflictError, NotFoundError
from doorstep_shared.ids import Random

MAX_DAYS: Final = 90
MAX_TOKENS: Final = 64
"""Of one member: more than programs a household has, fewer than a mistake makes."""

_DAY_MS: Final = 24 * 3600 * 1000
_ID_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Token:
    """A token without its code.

    Attributes:
        created_at_ms: Unix milliseconds, as ``expires_at_ms``.
    """

    id: str
    name: str
    scopes: tuple[Scope, ...]
    created_at_ms: int
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class Wish:
    """What a new token shall be.

    Attributes:
        name: For the member to know it by, 1 to 64 characters.
        scopes: At least one.
        days: How long it lasts, 1 to 90.
    """

    name: str
    scopes: frozenset[Scope]
    days: int


def create_token(
    unit: Unit, holder: Speaker, wish: Wish, now_ms: int, random: Random
) -> tuple[Token, str]:
    """Write a new token of ``holder``; return it and its code, which is shown once.

    Raises:
        ConflictError: The member has too many.
    """
    _delete_ended(unit, now_ms)
    count = unit.main.scalar(select(func.count()).select_from(TokenRow).where(_of(holder)))
    if count is not None and count >= MAX_TOKENS:
        raise ConflictError(
            f"a member has at most {MAX_TOKENS} tokens",
            do="doorstep token list, then: doorstep token revoke ID",
        )
    code = codes.draw_checked_code(codes.TOKEN, random)
    row = TokenRow(
        id=random(_ID_BYTES).hex(),
        code_sha256=codes.hash_code(code),
        household=holder.household,
        member=holder.member,
        name=wish.name,
        scopes=" ".join(sorted(wish.scopes)),
        created_at_ms=now_ms,
        expires_at_ms=now_ms + wish.days * _DAY_MS,
    )
    unit.main.add(row)
    return _token(row), code


def list_tokens(unit: Unit, holder: Speaker, now_ms: int) -> Sequence[Token]:
    """Return the member's tokens that have not ended, newest first."""
    rows = unit.main.scalars(
        select(TokenRow)
        .where(_of(holder), TokenRow.expires_at_ms > now_ms)
        .order_by(TokenRow.created_at_ms.desc(), TokenRow.id)
    )
    return [_token(row) for row in rows]


def delete_token(unit: Unit, holder: Speaker, token: str) -> None:
    """Delete the member's token of that id; it is worth nothing from then on.

    Raises:
        NotFoundError: The member has no such token.
    """
    row = unit.main.scalar(select(TokenRow).where(_of(holder), TokenRow.id == token))
    if row is None:
        raise NotFoundError("there is no such token", do="doorstep token list")
    unit.main.delete(row)


def _of(holder: Speaker) -> ColumnElement[bool]:
    return and_(TokenRow.household == holder.household, TokenRow.member == holder.member)


def _delete_ended(unit: Unit, now_ms: int) -> None:
    unit.main.execute(delete(TokenRow).where(TokenRow.expires_at_ms <= now_ms))


def _token(row: TokenRow) -> Token:
    return Token(
        id=row.id,
        name=row.name,
        scopes=tuple(Scope(scope) for scope in row.scopes.split()),
        created_at_ms=row.created_at_ms,
        expires_at_ms=row.expires_at_ms,
    )
