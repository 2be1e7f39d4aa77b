"""Errors, sorted by what the caller does next.

Leaves say the fact (`BrokerUnreachableError`), families say the reaction:
retry loops and HTTP answers match on families only.
"""


class DoorstepError(Exception):
    """Base of every error this product raises on purpose.

    Attributes:
        fact: What happened, one sentence.
        safe: What is safe all the same; empty when there is nothing to say.
        do: The next command or step for the person who reads it.
    """

    def __init__(self, fact: str, *, safe: str = "", do: str = "") -> None:
        super().__init__(fact)
        self.fact = fact
        self.safe = safe
        self.do = do


class TryLaterError(DoorstepError):
    """The outside world is not ready; the same call may succeed later.

    Attributes:
        after_s: Seconds to wait before the next attempt; None when unknown.
    """

    def __init__(
        self, fact: str, *, safe: str = "", do: str = "", after_s: float | None = None
    ) -> None:
        super().__init__(fact, safe=safe, do=do)
        self.after_s = after_s


class RefusedError(DoorstepError):
    """The answer is no, theirs or ours; trying again will not change it."""


class BadMessageError(DoorstepError):
    """Bytes arrived that do not follow the protocol; drop them and count them."""
