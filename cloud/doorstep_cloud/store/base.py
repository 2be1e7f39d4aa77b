"""The two families of tables: what lists things, and what opens things.

`MainBase` lists: households, devices, events, clips. `VaultBase` holds whatever
opens a sealed box once somebody brings a key: envelopes and keyrings. They are
different databases from the first migration on, so that no backup of the one
ever holds the other, and no query joins them.
"""

from typing import Any, ClassVar, Final

from sqlalchemy import BigInteger, Boolean, Integer, LargeBinary, MetaData, Text
from sqlalchemy.orm import DeclarativeBase

# Names of our own, so that a migration can find a constraint again on any engine.
_NAMES: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

# Times are Unix milliseconds: they need 64 bits. SQLite's INTEGER has them, and only
# a column of exactly that name may count rows by itself.
_INT: Final = BigInteger().with_variant(Integer(), "sqlite")

# The value type is SQLAlchemy's own for this attribute.
_TYPES: Final[dict[Any, Any]] = {
    int: _INT,
    bool: Boolean(create_constraint=False),
    str: Text(),
    bytes: LargeBinary(),
}


class MainBase(DeclarativeBase):
    """Base of every table of the main database.

    ``Mapped[int]`` is a 64-bit integer, ``Mapped[bytes]`` a blob, ``Mapped[str]`` text.
    """

    metadata = MetaData(naming_convention=_NAMES)
    type_annotation_map: ClassVar[dict[Any, Any]] = _TYPES


class VaultBase(DeclarativeBase):
    """Base of every table of the vault; the same column types as `MainBase`."""

    metadata = MetaData(naming_convention=_NAMES)
    type_annotation_map: ClassVar[dict[Any, Any]] = _TYPES
