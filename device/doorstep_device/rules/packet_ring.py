"""The packet ring: the last seconds of video, always ready to be decoded."""

from dataclasses import dataclass, replace
from typing import Final, Generic, Protocol, TypeVar

# A camera that stood still for longer has begun anew: what it showed before is no pre-roll.
MAX_GAP_US: Final = 5_000_000


class TimedPacket(Protocol):
    """What the ring looks at in a packet."""

    @property
    def data(self) -> bytes:
        """The coded picture."""
        ...

    @property
    def is_key(self) -> bool:
        """Decoding can begin here."""
        ...

    @property
    def at_us(self) -> int:
        """When its picture was taken; strictly rising."""
        ...


P = TypeVar("P", bound=TimedPacket)


@dataclass(frozen=True, slots=True)
class PacketRing(Generic[P]):
    """Whole GOPs, the oldest first: at least `keep_us`, at most a GOP more.

    Attributes:
        keep_us: How far back from the newest packet it reaches, once fed for so long.
        max_bytes: It forgets sooner rather than hold more.
        gops: A key frame each, and what builds upon it.
        size_bytes: Of all packets in it.
    """

    keep_us: int
    max_bytes: int
    gops: tuple[tuple[P, ...], ...] = ()
    size_bytes: int = 0

    def add(self, packet: P) -> "PacketRing[P]":
        """Return the ring with ``packet``, without what is now too old or too much."""
        if self.gops and packet.at_us - self.gops[-1][-1].at_us > MAX_GAP_US:
            return replace(self, gops=(), size_bytes=0).add(packet)
        if packet.is_key:
            gops = (*self.gops, (packet,))
        elif self.gops:
            gops = (*self.gops[:-1], (*self.gops[-1], packet))
        else:
            # Nothing it could be decoded with was kept.
            return self
        size_bytes = self.size_bytes + len(packet.data)
        horizon_us = packet.at_us - self.keep_us
        while gops and (size_bytes > self.max_bytes or _is_needless(gops, horizon_us)):
            size_bytes -= sum(len(old.data) for old in gops[0])
            gops = gops[1:]
        return replace(self, gops=gops, size_bytes=size_bytes)

    def since(self, at_us: int) -> tuple[P, ...]:
        """Return packets that begin with the last key frame at or before ``at_us``.

        Where the ring does not reach back so far, they begin with its oldest key frame.
        """
        first = 0
        for place, gop in enumerate(self.gops):
            if gop[0].at_us <= at_us:
                first = place
        return tuple(packet for gop in self.gops[first:] for packet in gop)


def _is_needless(gops: tuple[tuple[P, ...], ...], horizon_us: int) -> bool:
    """Return whether the second GOP already reaches back far enough."""
    return len(gops) > 1 and gops[1][0].at_us <= horizon_us
