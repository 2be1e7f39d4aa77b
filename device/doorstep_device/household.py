"""Whose doorbell this is: the household's chain, kept and followed.

The root comes from the claim, never from the service. Until a verified
statement lists this doorbell's own three keys there is nobody to seal to, and
so nothing is recorded.
"""

import itertools
from collections.abc import Sequence
from contextlib import suppress
from functools import reduce

from doorstep_device.outbox import Problem, Sealing
from doorstep_device.ports.disk import Disk
from doorstep_shared.claim import DeviceKeys
from doorstep_shared.errors import BadMessageError, RefusedError, TryLaterError
from doorstep_shared.ids import HouseholdId
from doorstep_shared.signing import Signed, VerifyKey, decode_signed
from doorstep_shared.statements import DeviceState, Head, Role, accept_next, verify_chain
from doorstep_shared.wire import StatementHead

_PATH = "statements.json"


class NotAddedYetError(TryLaterError):
    """This doorbell has answered a claim, and knows of no statement that lists it."""


def check_added(disk: Disk, root: bytes, keys: DeviceKeys) -> None:
    """Return if the statements on ``disk`` list this doorbell; they are only read.

    Args:
        disk: The doorbell's own; it may be at work.
        root: The household's root, as the claim named it.
        keys: This doorbell's public keys.

    Raises:
        NotAddedYetError: They do not, are not there yet, or cannot be followed.
    """
    with suppress(BadMessageError, RefusedError):
        if disk.exists(_PATH) and _lists(verify_chain(_read_chain(disk), root)[-1], keys):
            return
    raise NotAddedYetError(
        f"doorbell {keys.device} has not been added yet, as far as it has heard",
        safe="It records nothing until then.",
        do="doorstep device add        (on your owner's computer); it hears of it while it runs: "
        "doorstep-device run",
    )


class Membership:
    """This doorbell's place in its household.

    Attributes:
        head: The newest verified statement; None before the first.
        problems: What was found unreadable; kept, and for a person to look at.
    """

    def __init__(self, disk: Disk, root: bytes, keys: DeviceKeys) -> None:
        """Take up the chain kept on ``disk``.

        One that is no chain of this household is set aside: the button rings all the same,
        and the service is asked for all of it again, from the root.

        Args:
            disk: The doorbell's own.
            root: The household's root, as the claim named it.
            keys: This doorbell's public keys.
        """
        self._disk = disk
        self._root = root
        self._keys = keys
        self._chain: list[Signed] = []
        self.head: Head | None = None
        self.problems: tuple[Problem, ...] = ()
        try:
            self._take_up()
        except (BadMessageError, RefusedError) as error:
            self.problems = (self._set_aside(error.fact),)

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
        if self.head is None or not _lists(self.head, self._keys):
            return None
        return Sealing(
            household=self.head.household,
            epoch=self.head.statement.epoch.n,
            recipient=self.head.epoch_recipient,
        )

    @property
    def household(self) -> HouseholdId | None:
        """Return whose doorbell this is; None before the first statement."""
        return None if self.head is None else self.head.household

    def owners(self) -> tuple[VerifyKey, ...]:
        """Return the keys of those who may tell this doorbell what to do: owners of its head."""
        if self.head is None:
            return ()
        roster = self.head.statement.roster
        return tuple(VerifyKey(one.sign_key) for one in roster if one.role is Role.OWNER)

    def named_head(self) -> StatementHead | None:
        """Return the head as ``hello`` names it."""
        if self.head is None:
            return None
        return StatementHead(seq=self.head.statement.seq, sha256=self.head.signed.body_hash)

    def _take_up(self) -> None:
        if self._disk.exists(_PATH):
            kept = _read_chain(self._disk)
            self.head = self._follow(kept)
            self._chain = kept

    def _set_aside(self, fact: str) -> Problem:
        names = (f"{_PATH}.kept-{number}" for number in itertools.count(1))
        name = next(name for name in names if not self._disk.exists(name))
        # A card that does not let it be moved must not silence the button either.
        with suppress(RefusedError, TryLaterError):
            self._disk.rename(_PATH, name)
            return Problem(name, fact)
        return Problem(_PATH, fact)

    def _follow(self, fresh: Sequence[Signed]) -> Head:
        if self.head is None:
            return verify_chain(fresh, self._root)[-1]
        return reduce(accept_next, fresh, self.head)


def _read_chain(disk: Disk) -> list[Signed]:
    return [decode_signed(line) for line in disk.read(_PATH).splitlines()]


def _lists(head: Head, keys: DeviceKeys) -> bool:
    """Return whether the doorbell with these very keys may record."""
    listed = head.statement.device(keys.device)
    if listed is None or listed.state is not DeviceState.ACTIVE:
        return False
    mine = (keys.tls_key, keys.manifest_key, keys.age_recipient)
    return (listed.tls_key, listed.manifest_key, listed.age_recipient) == mine
