"""Whose doorbell it is: the chain it follows, and whom it may seal to."""

from collections.abc import Mapping

import pytest

from doorstep_device.household import Membership, NotAddedYetError, check_added
from doorstep_shared.claim import DeviceKeys
from doorstep_shared.signing import Signed, WrongSignatureError
from doorstep_shared.statements import (
    BrokenChainError,
    DeviceState,
    ForkedChainError,
    Head,
    accept_next,
    sign_statement,
)
from doorstep_simulator.disk import SimulatedDisk
from tests.people import (
    FRONT_DOOR,
    OWNER,
    Doorbell,
    doorbell,
    epoch,
    epoch_identity,
    first_head,
    first_statement,
    person,
    successor,
)

ROOT = first_head().root
BACK_DOOR = doorbell("back")


def keys_of(bell: Doorbell) -> DeviceKeys:
    device = bell.device
    return DeviceKeys(device.id, device.tls_key, device.manifest_key, device.age_recipient)


def membership(disk: SimulatedDisk, bell: Doorbell = FRONT_DOOR) -> Membership:
    return Membership(disk, ROOT, keys_of(bell))


def chain(*changes: Mapping[str, object]) -> list[Signed]:
    """Return a chain from statement 0 on, with one statement for each of ``changes``."""
    head = first_head()
    signed = [head.signed]
    for change in changes:
        signed.append(successor(head, **change))
        head = accept_next(head, signed[-1])
    return signed


LISTED = {"devices": (FRONT_DOOR.device,)}


def test_a_doorbell_nobody_has_listed_may_not_record() -> None:
    member = membership(SimulatedDisk())
    assert member.sealing() is None
    assert member.named_head() is None
    member.accept(chain())
    assert member.sealing() is None


def test_a_consent_policy_changes_nothing_that_a_doorbell_does() -> None:
    member = membership(SimulatedDisk())
    before = member.accept(chain(LISTED))
    assert before is not None
    sealing = member.sealing()
    head = member.accept(
        chain(LISTED, {"policy_hash": bytes(32)}, {"policy_hash": bytes(31) + b"1"})
    )
    assert head is not None
    assert (head.statement.seq, member.sealing()) == (before.statement.seq + 2, sealing)


def test_a_listed_doorbell_seals_to_the_epoch_of_the_head() -> None:
    member = membership(SimulatedDisk())
    head = member.accept(chain(LISTED))
    assert head is not None
    sealing = member.sealing()
    assert sealing is not None
    assert (sealing.household, sealing.epoch) == (head.household, 1)
    assert sealing.recipient == epoch_identity(1).recipient()
    member.accept(chain(LISTED, {"epoch": epoch(2)}))
    sealing = member.sealing()
    assert sealing is not None
    assert (sealing.epoch, sealing.recipient) == (2, epoch_identity(2).recipient())


def test_a_doorbell_is_added_once_a_statement_lists_it_and_looking_writes_nothing() -> None:
    disk = SimulatedDisk()

    def is_added() -> bool:
        try:
            check_added(disk, ROOT, keys_of(FRONT_DOOR))
        except NotAddedYetError:
            return False
        return True

    assert not is_added()
    member = membership(disk)
    member.accept(chain())
    assert not is_added()
    member.accept(chain(LISTED))
    assert is_added()
    disk.write_whole("statements.json", b"\0" * 512)
    assert not is_added()
    assert disk.list_dir("") == ["statements.json"]


def test_a_revoked_doorbell_may_no_longer_record() -> None:
    revoked = FRONT_DOOR.device.model_copy(update={"state": DeviceState.REVOKED})
    member = membership(SimulatedDisk())
    member.accept(chain(LISTED, {"devices": (revoked,)}))
    assert member.sealing() is None


@pytest.mark.parametrize("field", ["tls_key", "manifest_key", "age_recipient"])
def test_all_three_keys_that_are_listed_must_be_its_own(field: str) -> None:
    other = {field: getattr(BACK_DOOR.device, field)}
    member = membership(SimulatedDisk())
    member.accept(chain({"devices": (FRONT_DOOR.device.model_copy(update=other),)}))
    assert member.head is not None
    assert member.sealing() is None


def test_it_names_the_head_it_holds() -> None:
    member = membership(SimulatedDisk())
    signed = chain(LISTED)
    member.accept(signed)
    named = member.named_head()
    assert named is not None
    assert (named.seq, named.sha256) == (1, signed[1].body_hash)


def test_the_chain_survives_a_power_cut_behind_accept() -> None:
    disk = SimulatedDisk()
    membership(disk).accept(chain(LISTED))
    found = membership(disk.after_cut())
    assert found.head is not None
    assert found.head.statement.seq == 1
    assert found.sealing() is not None


def test_a_power_cut_while_the_chain_grows_leaves_the_old_one_or_the_new_one() -> None:
    disk = SimulatedDisk()
    member = membership(disk)
    member.accept(chain())
    before = len(disk.steps)
    member.accept(chain(LISTED))
    for steps in range(before, len(disk.steps) + 1):
        found = membership(disk.after_cut(steps, seed=steps))
        assert found.head is not None
        assert found.head.statement.seq in {0, 1}
        assert found.accept(chain(LISTED)) is not None or found.head.statement.seq == 1


def test_what_it_knows_already_is_no_news() -> None:
    disk = SimulatedDisk()
    member = membership(disk)
    assert member.accept(chain(LISTED)) is not None
    steps = len(disk.steps)
    assert member.accept(chain(LISTED)) is None
    assert member.accept([]) is None
    assert len(disk.steps) == steps


def test_statements_may_come_in_overlapping_pieces() -> None:
    disk = SimulatedDisk()
    signed = chain(LISTED, {"epoch": epoch(2)})
    member = membership(disk)
    member.accept(signed[:2])
    head = member.accept(signed[1:])
    assert head is not None
    assert head.statement.seq == 2
    again = membership(disk)
    assert again.head == head


def foreign_chain() -> list[Signed]:
    """Return another household's first statement, as a service of ill will would make one."""
    ghost = person("ghost")
    own = first_statement().model_copy(update={"roster": (ghost.member,)})
    return [sign_statement(own, ghost.sign)]


def refused(member: Membership, news: list[Signed], error: type[Exception]) -> None:
    """See ``news`` refused, and nothing changed by it."""
    before: Head | None = member.head
    sealing = member.sealing()
    with pytest.raises(error):
        member.accept(news)
    assert member.head is before
    assert member.sealing() == sealing


def test_another_root_than_the_claims_is_refused() -> None:
    refused(membership(SimulatedDisk()), foreign_chain(), BrokenChainError)


def test_a_fork_is_refused_and_the_head_stays() -> None:
    disk = SimulatedDisk()
    member = membership(disk)
    member.accept(chain(LISTED))
    refused(member, chain({"devices": (BACK_DOOR.device,)})[1:], ForkedChainError)
    assert membership(disk).head == member.head


def test_a_gap_is_refused_until_it_is_filled() -> None:
    member = membership(SimulatedDisk())
    signed = chain(LISTED, {"epoch": epoch(2)})
    member.accept(signed[:1])
    refused(member, signed[2:], BrokenChainError)
    assert member.accept(signed) is not None


def test_of_news_with_one_bad_statement_none_is_taken_over() -> None:
    disk = SimulatedDisk()
    member = membership(disk)
    member.accept(chain())
    ghost = person("ghost")
    good = chain(LISTED)
    bad = successor(accept_next(first_head(), good[1]), ghost, epoch=epoch(2))
    refused(member, [*good, bad], WrongSignatureError)
    assert membership(disk).head == member.head


def cut_short(data: bytes) -> bytes:
    return data[: len(data) // 2]


def with_a_bit_flipped(data: bytes) -> bytes:
    return data[:-40] + bytes([data[-40] ^ 1]) + data[-39:]


@pytest.mark.parametrize(
    "kept",
    [
        b"",
        b"\n",
        b"not json\n",
        b"\xff\xfe\n",
        b"[" * 100_000,
        b'{"body":"e30","sigs":[]}\n',
        foreign_chain()[0].encode() + b"\n",
        cut_short(b"".join(signed.encode() + b"\n" for signed in chain(LISTED))),
        with_a_bit_flipped(b"".join(signed.encode() + b"\n" for signed in chain(LISTED))),
    ],
)
def test_a_chain_that_cannot_be_read_is_set_aside_and_fetched_again(kept: bytes) -> None:
    disk = SimulatedDisk()
    disk.write_whole("statements.json", kept)
    member = membership(disk)
    assert [problem.path for problem in member.problems] == ["statements.json.kept-1"]
    assert member.head is None
    assert member.sealing() is None
    assert disk.read("statements.json.kept-1") == kept
    # Only this household's own, whatever lay there.
    refused(member, foreign_chain(), BrokenChainError)
    assert member.accept(chain(LISTED)) is not None
    again = membership(disk.after_cut())
    assert again.sealing() == member.sealing() is not None
    assert again.problems == ()


def test_what_was_set_aside_once_is_not_overwritten() -> None:
    disk = SimulatedDisk()
    for damage in (b"one", b"other"):
        disk.write_whole("statements.json", damage)
        membership(disk)
    assert disk.read("statements.json.kept-1") == b"one"
    assert disk.read("statements.json.kept-2") == b"other"


def test_a_chain_that_can_be_neither_read_nor_moved_does_not_stop_the_start() -> None:
    disk = SimulatedDisk()
    disk.write_whole("statements.json", b"damaged")
    disk.make_read_only()
    member = membership(disk)
    assert [problem.path for problem in member.problems] == ["statements.json"]
    assert member.head is None


def test_only_an_owner_of_the_statement_before_counts() -> None:
    member = membership(SimulatedDisk())
    member.accept(chain())
    ghost = person("ghost")
    roster = (OWNER.member, ghost.member)
    refused(member, [successor(first_head(), ghost, roster=roster)], WrongSignatureError)
