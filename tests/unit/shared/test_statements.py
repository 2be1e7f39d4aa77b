import hashlib
from pathlib import Path

import pytest

from doorstep_shared.errors import BadMessageError, RefusedError
from doorstep_shared.signing import Kind, Signed, WrongSignatureError, decode_signed, sign
from doorstep_shared.statements import (
    BrokenChainError,
    DeviceState,
    ForkedChainError,
    Head,
    MissingStatementError,
    Recovery,
    Role,
    Statement,
    accept_next,
    accept_root,
    sign_statement,
    verify_chain,
)
from tests.people import (
    DAY_MS,
    FRONT_DOOR,
    HOUSEHOLD,
    NOW_MS,
    OWNER,
    doorbell,
    epoch,
    first_head,
    first_statement,
    person,
    successor,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "statements"
SECOND = person("second")
VIEWER = person("viewer", Role.VIEWER)


def with_roster(*people: object) -> Head:
    """Return a head whose household has grown to the owner and ``people``."""
    return accept_next(
        first_head(),
        successor(first_head(), roster=(OWNER.member, *(p.member for p in people))),  # type: ignore[attr-defined]  # Person
    )


def resigned(**changes: object) -> Signed:
    return sign_statement(first_statement().model_copy(update=changes), OWNER.sign)


def test_the_root_is_the_hash_of_the_first_body() -> None:
    head = first_head()
    assert head.root == hashlib.sha256(head.signed.body).digest()
    assert head.household == HOUSEHOLD
    assert str(head.epoch_recipient) == head.statement.epoch.recipient


def test_a_chain_of_this_version_reads_the_same_for_ever() -> None:
    chain = [decode_signed(line) for line in (GOLDEN / "chain-v1.jsonl").read_bytes().splitlines()]
    root = bytes.fromhex((GOLDEN / "root.hex").read_text())
    heads = verify_chain(chain, root)
    assert [head.statement.seq for head in heads] == [0, 1, 2]
    assert {head.root for head in heads} == {root}
    head = heads[-1]
    assert [d.state for d in head.statement.devices] == [DeviceState.REVOKED]
    made = [first_head().signed]
    made.append(successor(first_head(), devices=(FRONT_DOOR.device,)))
    head = accept_next(first_head(), made[1])
    revoked = FRONT_DOOR.device.model_copy(update={"state": DeviceState.REVOKED})
    made.append(successor(head, devices=(revoked,), policy_hash=bytes(32)))
    assert [s.encode() for s in made] == [s.encode() for s in chain]


def test_a_root_of_another_household_is_refused() -> None:
    with pytest.raises(BrokenChainError):
        accept_root(first_head().signed, root=bytes(32))


@pytest.mark.parametrize(
    "changes",
    [
        {"seq": 1, "prev": bytes(32)},
        {"prev": bytes(32)},
        {"roster": (OWNER.member, SECOND.member)},
        {"roster": (VIEWER.member,)},
        {"epoch": epoch().model_copy(update={"not_after": NOW_MS + 46 * DAY_MS})},
        {"epoch": epoch().model_copy(update={"recipient": OWNER.member.age_recipient})},
        {"roster": (OWNER.member.model_copy(update={"from_epoch": 2}),)},
        {"devices": (FRONT_DOOR.device, FRONT_DOOR.device)},
        {
            "devices": (
                FRONT_DOOR.device,
                doorbell("back").device.model_copy(
                    update={"manifest_key": FRONT_DOOR.device.manifest_key}
                ),
            )
        },
        {
            "recovery": Recovery(
                sign_key=SECOND.member.sign_key, age_recipient=OWNER.member.age_recipient
            )
        },
    ],
)
def test_a_first_statement_that_no_household_may_make_is_refused(
    changes: dict[str, object],
) -> None:
    with pytest.raises(BrokenChainError):
        accept_root(resigned(**changes))


def test_a_first_statement_signed_by_somebody_else_is_refused() -> None:
    with pytest.raises(WrongSignatureError):
        accept_root(sign_statement(first_statement(), SECOND.sign))


def test_a_statement_with_an_unknown_field_is_refused() -> None:
    body = first_statement().model_dump(mode="json") | {"ghost": True}
    with pytest.raises(BadMessageError):
        accept_root(sign(Kind.STATEMENT, body, OWNER.sign))


def test_an_owner_lists_a_doorbell() -> None:
    head = accept_next(first_head(), successor(first_head(), devices=(FRONT_DOOR.device,)))
    assert head.statement.device(FRONT_DOOR.device.id) == FRONT_DOOR.device
    assert head.statement.device(doorbell("back").device.id) is None
    assert head.root == first_head().root


@pytest.mark.parametrize("signer", [VIEWER, SECOND, person("ghost")])
def test_only_an_owner_listed_before_continues_the_chain(signer: object) -> None:
    head = with_roster(VIEWER)
    ghost = successor(head, signer, roster=(*head.statement.roster, SECOND.member))  # type: ignore[arg-type]  # Person
    with pytest.raises(WrongSignatureError):
        accept_next(head, ghost)


def test_an_owner_added_a_statement_ago_may_continue_the_chain() -> None:
    head = with_roster(SECOND)
    after = accept_next(head, successor(head, SECOND, devices=(FRONT_DOOR.device,)))
    assert after.statement.seq == 2


def test_another_household_s_statement_is_refused() -> None:
    with pytest.raises(BrokenChainError):
        accept_next(first_head(), successor(first_head(), household="x" * 26))


def test_a_gap_is_refused() -> None:
    with pytest.raises(MissingStatementError, match="still missing"):
        accept_next(first_head(), successor(first_head(), seq=2))


def test_a_fork_is_an_alarm() -> None:
    head = first_head()
    one = accept_next(head, successor(head, devices=(FRONT_DOOR.device,)))
    with pytest.raises(ForkedChainError):
        accept_next(one, successor(head, devices=(doorbell("back").device,)))
    with pytest.raises(ForkedChainError):
        accept_next(head, successor(head, prev=bytes(32)))


def test_a_chain_without_a_beginning_is_none() -> None:
    with pytest.raises(BadMessageError):
        verify_chain([], first_head().root)


def test_a_new_epoch_has_a_new_key_and_an_old_one_keeps_its_own() -> None:
    head = first_head()
    assert accept_next(head, successor(head, epoch=epoch(2))).statement.epoch.n == 2
    same_key = epoch().model_copy(update={"n": 2})
    same_number = epoch(2).model_copy(update={"n": 1})
    longer = epoch().model_copy(update={"not_after": NOW_MS + 44 * DAY_MS})
    for wrong in (same_key, same_number, longer, epoch(3)):
        with pytest.raises(BrokenChainError):
            accept_next(head, successor(head, epoch=wrong))


def test_removing_a_member_needs_a_new_epoch_and_a_new_recovery_sheet() -> None:
    sheet = person("recovery-sheet")
    recovery = Recovery(sign_key=sheet.member.sign_key, age_recipient=sheet.member.age_recipient)
    before = with_roster(VIEWER)
    head = accept_next(before, successor(before, recovery=recovery))
    alone = (OWNER.member,)
    with pytest.raises(BrokenChainError, match="epoch"):
        accept_next(head, successor(head, roster=alone))
    with pytest.raises(BrokenChainError, match="recovery"):
        accept_next(head, successor(head, roster=alone, epoch=epoch(2)))
    done = accept_next(head, successor(head, roster=alone, epoch=epoch(2), recovery=None))
    assert len(done.statement.roster) == 1
    without_sheet = accept_next(before, successor(before, roster=alone, epoch=epoch(2)))
    assert without_sheet.statement.epoch.n == 2


def test_the_last_owner_stays() -> None:
    head = with_roster(VIEWER)
    with pytest.raises(BrokenChainError, match="owner"):
        accept_next(head, successor(head, roster=(VIEWER.member,), epoch=epoch(2)))


def test_a_listed_doorbell_changes_in_one_way_only() -> None:
    head = accept_next(first_head(), successor(first_head(), devices=(FRONT_DOOR.device,)))
    revoked = FRONT_DOOR.device.model_copy(update={"state": DeviceState.REVOKED})
    swapped = FRONT_DOOR.device.model_copy(update={"manifest_key": SECOND.member.sign_key})
    after = accept_next(head, successor(head, devices=(revoked,)))
    for wrong in ((), (swapped,)):
        with pytest.raises(BrokenChainError):
            accept_next(head, successor(head, devices=wrong))
    with pytest.raises(BrokenChainError):
        accept_next(after, successor(after, devices=(FRONT_DOOR.device,)))


def test_refusals_are_refusals() -> None:
    assert issubclass(BrokenChainError, RefusedError)
    assert Statement.model_validate_json(first_head().signed.body) == first_statement()
