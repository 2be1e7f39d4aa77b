"""What can go wrong between a person's computer and the service."""

from doorstep_shared.errors import BadMessageError, RefusedError, TryLaterError


class ServiceUnreachableError(TryLaterError):
    """The service did not answer, or asked for patience."""


class OddAnswerError(BadMessageError):
    """The service answered what no service of ours answers."""

    def __init__(self, fact: str) -> None:
        super().__init__(
            fact,
            safe="Nothing of it was used, and your keys never left this computer.",
            do="doorstep status        (asks again; if it stays, tell whoever runs your service)",
        )


class OpenLineError(RefusedError):
    """Anybody on the way could read what is sent to this address."""


class UnwritableError(RefusedError):
    """A file cannot be written where it was wanted."""


class SignedOutError(RefusedError):
    """The service does not know this session any more."""


class NotThereError(RefusedError):
    """The service has no such thing, or not for this household."""


class ConflictError(RefusedError):
    """Somebody else changed the household first."""


class OtherServiceError(RefusedError):
    """Another service answers than the one this computer knows."""


class WithheldError(RefusedError):
    """The service keeps back what it has taken."""


class FalseConsentError(RefusedError):
    """The service shows another consent policy than this household has signed."""


class LostStepsError(RefusedError):
    """The service has lost a part of the household's history, and does not take it back."""


class NoHouseholdError(RefusedError):
    """This computer belongs to no household yet."""


class DamagedHomeError(BadMessageError):
    """A file in the home folder is not what Doorstep wrote there."""
