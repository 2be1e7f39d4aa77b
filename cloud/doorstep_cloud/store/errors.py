"""What the service answers when it does not do as asked, by what the caller does next.

Each leaf has one HTTP status, named in `doorstep_cloud.web.problems`.
"""

from doorstep_shared.errors import RefusedError, TryLaterError


class DatabaseUnavailableError(TryLaterError):
    """The database is busy, full or read-only; nothing of this unit of work was kept."""


class VaultBusyError(TryLaterError):
    """Readers keep the vault's log from being cut; what was deleted stays deleted."""


class NotSignedInError(RefusedError):
    """Nobody known asks: no session or token, or one that has ended."""


class NotAllowedError(RefusedError):
    """Somebody known asks for what is not theirs to ask."""


class NotFoundError(RefusedError):
    """There is no such thing, or it is another household's: nobody learns which."""


class ConflictError(RefusedError):
    """The same name already stands for something else."""


class UnsatisfiableRangeError(RefusedError):
    """A range of bytes was asked for that holds none of a file's (RFC 9110 section 15.5.17).

    Attributes:
        size_bytes: Of the file.
    """

    def __init__(self, size_bytes: int) -> None:
        super().__init__(
            f"this file has {size_bytes} bytes, and none of them lie in the range asked for",
            do=f"Ask for a range within 0 to {size_bytes - 1}, or for all without one.",
        )
        self.size_bytes = size_bytes


class TooOftenError(TryLaterError):
    """An address, or a household, asks more often than people do."""
