"""This person's household: founded, verified, and grown by signed statements.

The service stores the chain; this module believes it only link by link, from
the root kept at home. What it changes, it signs here.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Self, TypeVar

from doorstep_client.answers import (
    Answer,
    Challenge,
    ClaimPlace,
    ClaimState,
    CommandItem,
    CommandList,
    CommandPlace,
    HouseholdPlace,
    Session,
    StatementList,
)
from doorstep_client.errors import (
    ConflictError,
    LostStepsError,
    OddAnswerError,
    SignedOutError,
    WithheldError,
)
from doorstep_client.home import Founding, Home, ServiceAccount
from doorstep_client.service import Service
from doorstep_shared.age_keys import Identity
from doorstep_shared.claim import Claim, DeviceKeys, parse_claim
from doorstep_shared.commands import Command, CommandName, sign_command
from doorstep_shared.counting import many
from doorstep_shared.encoding import to_base64url
from doorstep_shared.errors import RefusedError, TryLaterError
from doorstep_shared.ids import (
    ClipId,
    DeviceId,
    Random,
    draw_household_id,
    draw_member_id,
)
from doorstep_shared.keyring import open_keyring, seal_keyrings
from doorstep_shared.signing import Json, Kind, Signed, sign
from doorstep_shared.statements import (
    MAX_EPOCH_MS,
    Device,
    Epoch,
    ForkedChainError,
    Head,
    Member,
    Role,
    Statement,
    accept_root,
    sign_statement,
    verify_chain,
)

# Another member's computer may add a statement between our reading and our writing.
ATTEMPTS: Final = 4

# A service takes 14; this computer's clock and its need not agree to the minute.
COMMAND_MS: Final = 13 * 24 * 3600 * 1000
# More commands than a household sends in its life.
MAX_COUNTER: Final = 1_000_000

# Four times what the service takes; a year of epochs is one kilobyte.
MAX_KEYRING_BYTES: Final = 64 * 1024

CONSENT_PATH: Final = "/v1/consent-policy"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Chain:
    """The household's statements, verified from the root kept at home.

    Attributes:
        head: The statement in force.
        statements: All of them, oldest first.
    """

    head: Head
    statements: tuple[Statement, ...]


def found(home: Home, url: str, invite: str, random: Random) -> ServiceAccount:
    """Return the account of a new household, founded at ``url`` with ``invite``.

    The keys and the first statement are stored before anything is sent: the
    same command again, after an answer got lost, founds the same household.

    Raises:
        ServiceUnreachableError: Try again; nothing is lost.
        RefusedError: The invitation is not, or no longer, good.
    """
    founding = home.founding() or _draw_founding(home, random)
    statement = accept_root(founding.statement).statement
    files = seal_keyrings(statement, {1: founding.epoch_key}, random)
    asked = {
        "invite": invite,
        "statement": founding.statement.model_dump(mode="json"),
        "keyring": {member: to_base64url(file) for member, file in files.items()},
    }
    with Service(url) as service, _keys_told(home):
        service.post("/v1/households", Answer, asked)
    account = ServiceAccount(
        url=url.rstrip("/"),
        household=statement.household,
        member=statement.roster[0].member,
        root=founding.statement.body_hash.hex(),
    )
    home.save_chain([founding.statement])
    home.save_account(account)
    with Household(home) as household:
        household.epochs()  # the service gave back what we sealed: our own copy can go
    home.forget_founding()
    return account


class Household:
    """The household of one home folder, at its service; use it as a context manager.

    Args:
        home: Of this person.
        tell: Is told in a sentence what was put right on the way.
    """

    def __init__(self, home: Home, tell: Callable[[str], None] = lambda _: None) -> None:
        self.home = home
        self._tell = tell
        self.account = home.account()
        self._service = Service(self.account.url, home.session())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._service.__exit__(kind, error, trace)

    def ask(self, call: Callable[[Service], T]) -> T:
        """Return what ``call`` returns, signed in: once again after signing in anew.

        Raises:
            SignedOutError: The service does not accept this person's key.
        """
        if self._service.token is not None:
            try:
                return call(self._service)
            except SignedOutError:
                self._service.token = None
        self.sign_in()
        return call(self._service)

    def sign_in(self) -> None:
        """Sign the service's challenge with this person's key and keep the session."""
        key = self.home.keys().sign
        challenge = self._service.post("/v1/sign-in/challenge", Challenge, {})
        body: dict[str, Json] = {
            "aud": self.account.url,
            "client": to_base64url(key.public.key_id),
            "server_nonce": to_base64url(challenge.server_nonce),
            "at": now_ms(),
        }
        signed = sign(Kind.SIGN_IN, body, key)
        asked = {"signed": signed.model_dump(mode="json")}
        self._service.token = self._service.post("/v1/sessions", Session, asked).token
        self.home.save_session(self._service.token)

    def chain(self) -> Chain:
        """Return the household's chain up to the service's newest statement.

        Raises:
            ForkedChainError, BrokenChainError, WrongSignatureError: The
                service shows another history than the one kept here.
        """
        kept = self.home.chain()
        chain, root = list(kept), bytes.fromhex(self.account.root)
        while page := self._statements_after(len(chain)):
            chain += page
            # Before asking on: a history without end would be one that nobody signed.
            verify_chain(chain, root)
        heads = verify_chain(chain, root)
        if len(chain) > len(kept):
            self.home.save_chain(chain)
        return Chain(heads[-1], tuple(head.statement for head in heads))

    def _statements_after(self, count: int) -> tuple[Signed, ...]:
        """Return the service's statements from place ``count`` on; it sends some at a time."""
        after = count - 1 if count else None
        return self.ask(
            lambda service: service.get("/v1/statements", StatementList, after=after)
        ).statements

    def give_back(self) -> int:
        """Give the service the statements that only this computer still has; return how many.

        A service that was put back from a backup lacks what was signed since, and refuses
        every further change until it has that again.

        Raises:
            ForkedChainError: The service shows another history than the one kept here.
            LostStepsError: It does not take them back.
        """
        kept = self.home.chain()
        head = self.ask(lambda service: service.get("/v1/household", HouseholdPlace)).head
        missing = kept[head.seq + 1 :]
        if missing and kept[head.seq].body_hash != head.sha256:
            raise ForkedChainError(
                f"the service shows another step {head.seq} of your household's history",
                safe="Nothing of it was followed, and nothing was sent.",
                do="tell whoever runs your service, and change nothing until it is cleared up",
            )
        for seq, signed in enumerate(missing, head.seq + 1):
            self._give_back_one(signed, seq, len(kept) - 1)
        if missing:
            self._tell(
                f"The service had lost the last {many(len(missing), 'step')} of your household's "
                "history, as after a restore. This computer has given back what was missing."
            )
        return len(missing)

    def _give_back_one(self, signed: Signed, seq: int, last: int) -> None:
        named = Statement.model_validate_json(signed.body).policy_hash
        known = [policy for policy in self.home.policies() if policy.body_hash == named]
        try:
            self._send_again(signed, known)
        except RefusedError as error:
            raise LostStepsError(
                f"the service has lost steps {seq} to {last} of your household's history, "
                f"and does not take step {seq} back: {error.fact}",
                safe="This computer and your doorbells know them, and follow no other.",
                do="tell whoever runs your service: a newer backup of main has them",
            ) from error

    def _send_again(self, statement: Signed, named: Sequence[Signed]) -> None:
        """Send a statement; if it names another consent policy than the last, with that policy."""
        try:
            self.ask(lambda service: service.post_signed("/v1/statements", statement))
        except ConflictError:
            if not named:
                raise
            change = {
                "policy": named[0].model_dump(mode="json"),
                "statement": statement.model_dump(mode="json"),
            }
            self.ask(lambda service: service.put(CONSENT_PATH, Answer, change))

    def epochs(self) -> dict[int, Identity]:
        """Return the household's epoch keys, each checked against the chain.

        Raises:
            ForeignEpochError: The service put a key of its own there.
        """
        file = self.ask(lambda service: service.get_bytes("/v1/keyring.age", MAX_KEYRING_BYTES))
        return open_keyring(file, self.home.keys().age, self.chain().statements)

    def make_claim(self, random: Random) -> Claim:
        """Return a new claim, known to the service by its id and kept at home."""
        blank = Claim.draw(
            random, ca_sha256=bytes(32), root=bytes.fromhex(self.account.root), url=self.account.url
        )
        claim_id = to_base64url(blank.claim_id)
        asked = {"claim_id": claim_id}
        place = self.ask(lambda service: service.post("/v1/claims", ClaimPlace, asked))
        claim = replace(blank, ca_sha256=place.ca_sha256)
        self.home.save_claim(claim_id, str(claim))
        return claim

    def pending_claims(self) -> list[Claim]:
        """Return the claims made here that no doorbell was listed for yet."""
        return [parse_claim(text) for text in self.home.claims().values()]

    def answer_to(self, claim: Claim) -> Device | None:
        """Return the doorbell that answered ``claim``, its keys vouched for; None before.

        Raises:
            WrongBindingError: Somebody without the claim's secret answered.
            OddAnswerError: The answer is not one.
        """
        claim_id = to_base64url(claim.claim_id)
        found = self.ask(lambda service: service.get(f"/v1/claims/{claim_id}", ClaimState)).device
        if found is None:
            return None
        keys = DeviceKeys(
            device=found.id,
            tls_key=found.tls_key,
            manifest_key=found.manifest_key,
            age_recipient=found.age_recipient,
        )
        claim.check_binding(keys, found.mac)
        return Device(
            id=keys.device,
            tls_key=keys.tls_key,
            manifest_key=keys.manifest_key,
            age_recipient=keys.age_recipient,
        )

    def list_device(self, device: Device, claim: Claim) -> Head:
        """Return the head in which ``device`` is listed; from then on it may record."""
        head = self.change(
            lambda now: (
                now
                if now.device(device.id)
                else now.model_copy(update={"devices": (*now.devices, device)})
            )
        )
        self.home.keep_claim_of(to_base64url(claim.claim_id), device.id)
        return head

    def send_delete_command(
        self,
        device: DeviceId,
        *,
        clips: Sequence[ClipId] | None = None,
        until_ms: int | None = None,
    ) -> CommandPlace:
        """Sign that ``device`` is to delete clips on its card, and have the service carry it.

        Returns once the service has it; `commands_of` tells what becomes of it. Sent twice,
        as after an answer got lost, it deletes the same.

        Args:
            device: One of this household.
            clips: 1 to 128 ids; None with ``until_ms``.
            until_ms: All clips that began until then, Unix milliseconds; None with ``clips``.

        Raises:
            ConflictError: Others kept sending commands meanwhile.
            ServiceUnreachableError: Try again; so many wait already that none more is taken.
            RefusedError: This person is no owner, or the doorbell is revoked or unknown.
        """
        for _ in range(ATTEMPTS - 1):
            with suppress(ConflictError):
                return self._send_deletion(device, clips, until_ms)
        return self._send_deletion(device, clips, until_ms)

    def commands_of(self, device: DeviceId) -> tuple[CommandItem, ...]:
        """Return what ``device`` was told to do in the last weeks, newest first.

        That something was done is the service's word. That it waits is the word of one who
        would have nothing to gain from it.
        """
        return self._commands(device).items

    def _next_counter(self, device: DeviceId) -> int:
        counter = self._commands(device).next_counter
        if not 1 <= counter <= MAX_COUNTER:
            # Signed once, it would be above all that could ever follow.
            raise OddAnswerError("the service counts commands further than anybody sends them")
        return counter

    def _commands(self, device: DeviceId) -> CommandList:
        return self.ask(lambda service: service.get(f"/v1/devices/{device}/commands", CommandList))

    def _send_deletion(
        self, device: DeviceId, clips: Sequence[ClipId] | None, until_ms: int | None
    ) -> CommandPlace:
        at = now_ms()
        command = Command(
            household=self.account.household,
            device=device,
            counter=self._next_counter(device),
            at=at,
            expires=at + COMMAND_MS,
            name=CommandName.DELETE,
            clips=None if clips is None else tuple(clips),
            until=until_ms,
        )
        signed = sign_command(command, self.home.keys().sign)
        asked = {"command": signed.model_dump(mode="json")}
        path = f"/v1/devices/{device}/commands"
        return self.ask(lambda service: service.post(path, CommandPlace, asked))

    def change(self, edit: Callable[[Statement], Statement]) -> Head:
        """Return the head after ``edit`` was signed and stored; unchanged if it changes nothing.

        Raises:
            ConflictError: Others kept changing the household meanwhile.
            WithheldError: The service took the change, and does not show it.
        """
        for attempt in range(ATTEMPTS):
            chain = self.chain()
            edited = edit(chain.head.statement)
            if edited == chain.head.statement:
                return chain.head
            try:
                self._append(chain, edited)
                break
            except ConflictError:
                if attempt + 1 == ATTEMPTS:
                    raise
                self.give_back()
        head = self.chain().head
        if edit(head.statement) != head.statement:
            # Not signed again: two statements for one place would be a fork of our making.
            raise WithheldError(
                "the service took this change of your household, and does not show it",
                safe="Nobody follows a change that is not shown.",
                do="doorstep status        (shows how far the history goes)",
            )
        return head

    def sign_successor(self, head: Head, edited: Statement) -> Signed:
        """Return ``edited`` as the statement after ``head``, signed with this person's key."""
        successor = edited.model_copy(
            update={
                "seq": head.statement.seq + 1,
                "prev": head.signed.body_hash,
                # Never before the last one, whatever this computer's clock says.
                "at": max(now_ms(), head.statement.at),
            }
        )
        return sign_statement(successor, self.home.keys().sign)

    def _append(self, chain: Chain, edited: Statement) -> None:
        signed = self.sign_successor(chain.head, edited)
        self.ask(lambda service: service.post_signed("/v1/statements", signed))


def now_ms() -> int:
    """Return this computer's wall time, Unix milliseconds."""
    return time.time_ns() // 1_000_000


@contextmanager
def _keys_told(home: Home) -> Iterator[None]:
    """Let an error say that there are keys now, and what uses them."""
    try:
        yield
    except TryLaterError as error:
        error.safe = f"Your keys are in {home.folder}; the same command again uses them."
        raise
    except RefusedError as error:
        error.safe = (
            f"Your keys are in {home.folder} and belong to no household yet; the same command "
            "with another invite uses them."
        )
        raise


def _draw_founding(home: Home, random: Random) -> Founding:
    keys = home.keys_or_new(random)
    epoch_key = Identity.generate(random)
    at = now_ms()
    statement = Statement(
        household=draw_household_id(random),
        seq=0,
        prev=None,
        at=at,
        roster=(
            Member(
                member=draw_member_id(random),
                role=Role.OWNER,
                sign_key=keys.sign.public.raw,
                age_recipient=str(keys.age.recipient()),
                from_epoch=1,
            ),
        ),
        epoch=Epoch(n=1, recipient=str(epoch_key.recipient()), not_after=at + MAX_EPOCH_MS),
    )
    founding = Founding(sign_statement(statement, keys.sign), epoch_key)
    home.save_founding(founding)
    return founding
