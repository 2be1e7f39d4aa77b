"""Whose doorbell this is: the household's chain, kept and followed.

The root comes from the claim, never from the service. Until a verified
statement lists this doorbell's own three keys there is nobody to seal to, and
so nothing is recorded.
"""

from collections.abc import Sequence

from doorstep_device.outbox import Sealing
from doorstep_device.ports.disk import Disk
from doorstep_shared.claim import DeviceKeys
from doorstep_shared.errors import BadMessageError
from doorstep_shared.signing import Signed, decode_signed
from doorstep_shared.statements import DeviceState, Head, accept_next, accept_root
from doorstep_shared.wire import StatementHead

_PATH = "statements.json"


class Membership:
    """This doorbell's place in its household.

    Attributes:
        head: The newest verified statement; None before the first.
    """

    def __init__(self, disk: Disk, root: bytes, keys: DeviceKeys) -> None:
        """Take up the chain kept on ``disk``.

        Args:
            disk: The doorbell's own.
            root: The household's root, as the claim named it.
            keys: This doorbell's public keys.

        Raises:
            BadMessageError, RefusedError: What the disk holds is no chain of
                this household; it is kept as it is.
        """
        self._disk = disk
        self._root = root
        self._keys = keys
        self._chain: list[Signed] = []
        self.head: Head | None = None
        if disk.exists(_PATH):
            kept = [decode_signed(line) for line in disk.read(_PATH).splitlines()]
            self.head = self._follow(kept)
            self._chain = kept

    def accept(self, news: Sequence[Signed]) -> Head | None:
        """Return the new head after ``news``, durable; None if they hold nothing new.

        Raises:
            ForkedChainError: The service shows another history: an alarm.
            BrokenChainError, WrongSignatureError, BadMessageError: Not a
                successor; the head stays.
        """
        known = {signed.body for signed in self._chain}
        fresh = [signed for signed in news if signed.body not in known]
        if not fresh:
            return None
        head = self._follow(fresh)
        self._disk.write_whole(
            _PATH, b"".join(signed.encode() + b"\n" for signed in [*self._chain, *fresh])
        )
        self._chain += fresh
        self.head = head
        return head

    def sealing(self) -> Sealing | None:
        """Return whom clips are sealed to; None while this doorbell may not record."""
        if self.head is None:
            return None
        listed = self.head.statement.device(self._keys.device)
        if listed is None or listed.state is not DeviceState.ACTIVE:
            return None
        mine = (self._keys.tls_key, self._keys.manifest_key, self._keys.age_recipient)
        if (listed.tls_key, listed.manifest_key, listed.age_recipient) != mine:
            return None
        return Sealing(
            household=self.head.household,
            epoch=self.head.statement.epoch.n,
            recipient=self.head.epoch_recipient,
        )

    def named_head(self) -> StatementHead | None:
        """Return the head as ``hello`` names it."""
        if self.head is None:
            return None
        return StatementHead(seq=self.head.statement.seq, sha256=self.head.signed.body_hash)

    def _follow(self, fresh: Sequence[Signed]) -> Head:
        if not fresh:
            raise BadMessageError("the household's chain on this card is empty")
        head, rest = self.head, fresh
        if head is None:
            head, rest = accept_root(fresh[0], self._root), fresh[1:]
        for signed in rest:
            head = accept_next(head, signed)
        return head
