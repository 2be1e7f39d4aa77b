"""The broker: messages out and in, over one connection that comes and goes."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from doorstep_shared.errors import TryLaterError


class BrokerUnreachableError(TryLaterError):
    """There is no connection to the broker now; it is being sought."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The connection stands and our topics are subscribed.

    Attributes:
        count: Counts this boot's connections from 1.
    """

    count: int


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is gone, or could not be made.

    Attributes:
        reason: For the log.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Message:
    """A message that arrived.

    Attributes:
        topic: As MQTT spells it.
        body: Its bytes.
    """

    topic: str
    body: bytes = field(repr=False)


Happening: TypeAlias = Connected | Disconnected | Message


class Broker(Protocol):
    """One connection, kept up: sought again whenever it is lost."""

    def start(self) -> None:
        """Begin to seek the connection; harmless when repeated."""
        ...

    def happenings(self) -> AsyncIterator[Happening]:
        """Yield what happens, in order, to one task, until `close`."""
        ...

    def publish(self, topic: str, body: bytes) -> None:
        """Hand a message to the connection, QoS 1, not retained.

        Its arrival is only known from an answer of the service.

        Raises:
            BrokerUnreachableError: There is no connection now.
        """
        ...

    async def close(self) -> None:
        """Say goodbye to the broker and end `happenings`."""
        ...
