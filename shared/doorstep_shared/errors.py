"""Errors, sorted by what the caller does next."""

from datetime import timedelta


class DoorstepError(Exception):
    """Something that a caller, or a person, can act on.

    Attributes:
        fact: What happened, in one sentence; also the text of the error.
        safe: What is safe all the same; None when there is nothing to say.
        do: The next command or step; None when there is none.
    """

    def __init__(self, fact: str, *, safe: str | None = None, do: str | None = None) -> None:
        """Keep the three parts that a person is shown."""
        super().__init__(fact)
        self.fact = fact
        self.safe = safe
        self.do = do


class TryLaterError(DoorstepError):
    """The same call may succeed later.

    Attributes:
        after: Wait at least this long first; None leaves it to the caller's back-off.
    """

    def __init__(
        self,
        fact: str,
        *,
        after: timedelta | None = None,
        safe: str | None = None,
        do: str | None = None,
    ) -> None:
        """Keep the parts and the time to wait."""
        super().__init__(fact, safe=safe, do=do)
        self.after = after


class RefusedError(DoorstepError):
    """The other side said no; the same call will be refused again."""


class BadMessageError(DoorstepError):
    """What came in is not what its format promises; it was not used."""
