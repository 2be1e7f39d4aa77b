"""A household made from fixed seeds, for every test that needs one."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from doorstep_shared.age_keys import Identity
from doorstep_shared.ids import HouseholdId, MemberId, draw_device_id
from doorstep_shared.signing import Signed, SigningKey
from doorstep_shared.statements import (
    Device,
    Epoch,
    Head,
    Member,
    Role,
    Statement,
    accept_root,
    sign_statement,
)

NOW_MS = 1_790_000_000_000
DAY_MS = 24 * 3600 * 1000


def random_from(seed: str) -> Callable[[int], bytes]:
    """Return a source of bytes that is the same in every run."""

    def stream() -> Iterator[int]:
        block = 0
        while True:
            yield from hashlib.sha256(f"{seed}/{block}".encode()).digest()
            block += 1

    source = stream()
    return lambda count: bytes(next(source) for _ in range(count))


@dataclass(frozen=True, slots=True)
class Person:
    """A member and their private keys."""

    sign: SigningKey
    age: Identity
    member: Member


@dataclass(frozen=True, slots=True)
class Doorbell:
    """A doorbell and its private keys."""

    sign: SigningKey
    age: Identity
    device: Device


def person(name: str, role: Role = Role.OWNER, from_epoch: int = 1) -> Person:
    """Return the person of that name; the same name, the same keys."""
    random = random_from(f"person/{name}")
    sign, age = SigningKey.generate(random), Identity.generate(random)
    member = Member(
        member=MemberId(name[:1] * 26),
        role=role,
        sign_key=sign.public.raw,
        age_recipient=str(age.recipient()),
        from_epoch=from_epoch,
    )
    return Person(sign, age, member)


def doorbell(name: str) -> Doorbell:
    """Return the doorbell of that name."""
    random = random_from(f"doorbell/{name}")
    sign, age = SigningKey.generate(random), Identity.generate(random)
    device = Device(
        id=draw_device_id(random),
        tls_key=random(91),
        manifest_key=sign.public.raw,
        age_recipient=str(age.recipient()),
    )
    return Doorbell(sign, age, device)


def epoch_identity(n: int) -> Identity:
    """Return the private half of the household's epoch ``n``."""
    return Identity.generate(random_from(f"epoch/{n}"))


def epoch(n: int = 1) -> Epoch:
    """Return the announcement of epoch ``n``."""
    recipient = str(epoch_identity(n).recipient())
    return Epoch(n=n, recipient=recipient, not_after=NOW_MS + 45 * DAY_MS)


OWNER = person("owner")
FRONT_DOOR = doorbell("front")
HOUSEHOLD = HouseholdId("h" * 26)


def first_statement(owner: Person = OWNER, household: HouseholdId = HOUSEHOLD) -> Statement:
    """Return statement 0 of a household: one owner, no doorbell."""
    return Statement(
        household=household, seq=0, prev=None, at=NOW_MS, roster=(owner.member,), epoch=epoch()
    )


def first_head() -> Head:
    """Return the head of a chain that has only begun."""
    return accept_root(sign_statement(first_statement(), OWNER.sign))


def next_statement(head: Head, **changes: object) -> Statement:
    """Return the statement after ``head``, not signed yet, with ``changes``."""
    place = {"seq": head.statement.seq + 1, "prev": head.signed.body_hash}
    return head.statement.model_copy(update={**place, **changes})


def successor(head: Head, *signers: Person, **changes: object) -> Signed:
    """Return the statement after ``head`` with ``changes``, signed by the owner by default."""
    statement = next_statement(head, **changes)
    return sign_statement(statement, *(s.sign for s in signers or (OWNER,)))
