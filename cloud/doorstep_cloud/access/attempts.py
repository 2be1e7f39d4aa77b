"""How often one address may ask without having signed in.

Nothing here guards a secret: nonces, invites and claims are too long to guess.
It bounds what strangers can make the service write. Counters live in memory,
are few and simple, and start anew with the process.
"""

import threading
from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from typing import Final

from doorstep_cloud.store.errors import TooOftenError

WINDOW_MS: Final = 60_000
MAX_PER_WINDOW: Final = 60
MAX_ADDRESSES: Final = 4096

# What one subscriber is given at least, with 2^64 addresses in it (RFC 6177).
_OWN_BITS: Final = 64


class Attempts:
    """Counts per address in windows of a minute; the longest silent address is forgotten first."""

    def __init__(self, limit: int = MAX_PER_WINDOW, addresses: int = MAX_ADDRESSES) -> None:
        self._limit = limit
        self._addresses = addresses
        self._counts: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._lock = threading.Lock()

    def count(self, address: str, now_ms: int) -> None:
        """Count one attempt of ``address`` at ``now_ms`` (Unix milliseconds).

        All of an IPv6 /64 are one address, for one computer may have each of them.

        Raises:
            TooOftenError: It is one too many in this minute.
        """
        address = _whose(address)
        window, rest_ms = divmod(now_ms, WINDOW_MS)
        with self._lock:
            last, count = self._counts.pop(address, (window, 0))
            count = count + 1 if last == window else 1
            self._counts[address] = window, count
            if len(self._counts) > self._addresses:
                self._counts.popitem(last=False)
        if count > self._limit:
            raise TooOftenError(
                f"more than {self._limit} attempts came from one address in a minute",
                safe="Nothing was changed.",
                after_s=(WINDOW_MS - rest_ms) / 1000,
            )


def _whose(address: str) -> str:
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return f"{int(found) >> _OWN_BITS:x}/{_OWN_BITS}"
