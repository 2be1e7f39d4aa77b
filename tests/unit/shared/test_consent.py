"""Consent policies: off unless an owner says otherwise, and loosened only as they have agreed."""

from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_shared.consent import (
    EVERYTHING_OFF,
    NOTICE_MS,
    AgencyKind,
    BrokenPolicyError,
    Choices,
    ConsentPolicy,
    Requests,
    ShowMyName,
    accept_policy,
    earliest_in_force,
    is_loosening,
    policy_in_force,
    sign_policy,
    verify_policies,
    waiting_policy,
)
from doorstep_shared.errors import BadMessageError
from doorstep_shared.signing import Kind, Signed, WrongSignatureError, sign
from doorstep_shared.statements import (
    Head,
    Member,
    Role,
    Statement,
    accept_next,
    accept_root,
    sign_statement,
)
from tests.people import (
    DAY_MS,
    HOUSEHOLD,
    NOW_MS,
    OWNER,
    Person,
    epoch,
    first_head,
    first_statement,
    person,
    successor,
)

PARTNER = person("partner")
STRANGER = person("stranger")
HOUR_MS = 3600 * 1000

ASK_POLICE = Choices(agency_requests=Requests.ASK, agency_kinds=(AgencyKind.POLICE,))
KINDS = [subset for size in range(6) for subset in combinations(AgencyKind, size)]

choices = st.builds(
    Choices,
    agency_requests=st.sampled_from(Requests),
    agency_kinds=st.sampled_from(KINDS),
    emergency_requests=st.sampled_from(Requests),
    show_my_name=st.sampled_from(ShowMyName),
    owners_needed=st.sampled_from([1, 2]),
)


class Home:
    """A household of two owners, with its statements and consent policies."""

    def __init__(self) -> None:
        partner = Member.model_validate({**PARTNER.member.model_dump(), "role": Role.OWNER})
        roster = (OWNER.member, partner)
        # Both have been owners for long enough to count.
        since = {
            "at": NOW_MS - NOTICE_MS,
            "epoch": epoch().model_copy(update={"not_after": NOW_MS}),
        }
        begun = first_statement().model_copy(update=since)
        first = accept_root(sign_statement(begun, OWNER.sign))
        self.head = accept_next(first, successor(first, OWNER, roster=roster))
        self.statements: list[Statement] = [first.statement, self.head.statement]
        self.signed: list[Signed] = []
        self.chain: list[ConsentPolicy] = []

    def policy(
        self, wanted: Choices, at: int, in_force_at: int, **changes: object
    ) -> ConsentPolicy:
        values = {
            **wanted.model_dump(),
            "household": HOUSEHOLD,
            "version": len(self.chain) + 1,
            "prev": self.head.statement.policy_hash,
            "at": at,
            "in_force_at": in_force_at,
        }
        return ConsentPolicy.model_validate({**values, **changes})

    def accept(self, policy: ConsentPolicy, *owners: Person) -> ConsentPolicy:
        signed = sign_policy(policy, *(owner.sign for owner in owners))
        head = self.next_head(signed)
        past = reversed(self.statements)
        accepted = accept_policy(self.chain, signed, self.head.statement, head.statement, past)
        self.chain.append(accepted)
        self.signed.append(signed)
        self.head = head
        self.statements.append(head.statement)
        return accepted

    def next_head(self, signed: Signed) -> Head:
        return accept_next(self.head, successor(self.head, OWNER, policy_hash=signed.body_hash))

    def move_on(self, at: int, *owners: Person) -> None:
        """Sign a statement dated ``at``, which lists ``owners`` if any are named."""
        roster = tuple(one.member for one in owners) or self.head.statement.roster
        self.head = accept_next(self.head, successor(self.head, OWNER, at=at, roster=roster))
        self.statements.append(self.head.statement)

    def set(self, wanted: Choices, at: int, *owners: Person) -> ConsentPolicy:
        """Choose ``wanted``, to hold as soon as it may."""
        begins = earliest_in_force(self.chain, wanted, len(owners), at)
        return self.accept(self.policy(wanted, at, begins), *owners)


@pytest.fixture
def home() -> Home:
    return Home()


def test_without_a_policy_everything_is_off() -> None:
    off = policy_in_force((), NOW_MS)
    assert off == EVERYTHING_OFF
    assert off.agency_requests is off.emergency_requests is Requests.OFF
    assert (off.agency_kinds, off.show_my_name) == ((), ShowMyName.NEVER)


@given(choices, choices, choices)
def test_tightening_stays_tightening(first: Choices, second: Choices, third: Choices) -> None:
    assert not is_loosening(first, first)
    if not is_loosening(first, second) and not is_loosening(second, third):
        assert not is_loosening(first, third)


@given(choices)
def test_nothing_is_tighter_than_off_but_asking_two(wanted: Choices) -> None:
    shows = wanted.agency_requests is Requests.ASK and wanted.agency_kinds
    opens = shows or wanted.emergency_requests is Requests.ASK
    assert is_loosening(EVERYTHING_OFF, wanted) == bool(
        opens or wanted.show_my_name is ShowMyName.ASK
    )


@given(choices, st.sampled_from(AgencyKind))
def test_each_further_kind_loosens(wanted: Choices, kind: AgencyKind) -> None:
    wanted = wanted.model_copy(update={"agency_requests": Requests.ASK})
    more = wanted.model_copy(update={"agency_kinds": (*wanted.agency_kinds, kind)})
    assert is_loosening(wanted, more) == (kind not in wanted.agency_kinds)


def test_one_owner_loosens_at_once_where_one_is_enough(home: Home) -> None:
    policy = home.set(ASK_POLICE, NOW_MS, OWNER)
    assert policy.in_force_at == NOW_MS
    assert policy_in_force(home.chain, NOW_MS) == ASK_POLICE


def test_one_of_two_loosens_after_three_days_in_which_anyone_may_stop_it(home: Home) -> None:
    two = Choices(owners_needed=2)
    home.set(two, NOW_MS, OWNER)
    home.set(ASK_POLICE, NOW_MS + HOUR_MS, OWNER)
    begins = NOW_MS + HOUR_MS + NOTICE_MS
    assert policy_in_force(home.chain, begins - 1) == two
    waiting = waiting_policy(home.chain, begins - 1)
    assert waiting is not None
    assert waiting.choices == ASK_POLICE
    assert policy_in_force(home.chain, begins) == ASK_POLICE
    home.set(two, begins - 1, PARTNER)
    assert waiting_policy(home.chain, begins) is None
    assert policy_in_force(home.chain, begins + NOTICE_MS) == two


def test_a_later_version_replaces_what_waits_even_if_it_waits_longer(home: Home) -> None:
    two = Choices(owners_needed=2)
    home.set(two, NOW_MS, OWNER)
    home.set(ASK_POLICE, NOW_MS, OWNER)
    much_later = NOW_MS + 100 * NOTICE_MS
    home.accept(home.policy(EVERYTHING_OFF, NOW_MS + HOUR_MS, much_later), PARTNER)
    assert policy_in_force(home.chain, NOW_MS + NOTICE_MS) == two
    assert policy_in_force(home.chain, much_later) == EVERYTHING_OFF


def test_an_announced_off_with_an_on_behind_it_never_holds_for_an_hour(home: Home) -> None:
    asked_of_two = ASK_POLICE.model_copy(update={"owners_needed": 2})
    home.set(asked_of_two, NOW_MS, OWNER, PARTNER)
    off = Choices(owners_needed=2)
    home.accept(home.policy(off, NOW_MS, NOW_MS + HOUR_MS), OWNER)
    home.accept(home.policy(asked_of_two, NOW_MS, NOW_MS + 2 * HOUR_MS), OWNER)
    for hours in range(4):
        assert policy_in_force(home.chain, NOW_MS + hours * HOUR_MS) == asked_of_two


def test_both_owners_loosen_at_once(home: Home) -> None:
    home.set(Choices(owners_needed=2), NOW_MS, OWNER)
    assert home.set(ASK_POLICE, NOW_MS, OWNER, PARTNER).in_force_at == NOW_MS


@given(st.lists(st.tuples(choices, st.integers(0, 48 * HOUR_MS)), max_size=6))
def test_one_owner_alone_loosens_nothing_that_two_decide_without_notice(
    steps: Sequence[tuple[Choices, int]],
) -> None:
    home, now = Home(), NOW_MS
    home.set(Choices(owners_needed=2), now, OWNER)
    for wanted, later in steps:
        now += later
        held = policy_in_force(home.chain, now)
        policy = home.set(wanted, now, PARTNER)
        if held.owners_needed == 2 and is_loosening(held, wanted):
            assert policy.in_force_at - now == NOTICE_MS
            assert policy_in_force(home.chain, now) == held
    assert verify_policies(home.signed, home.statements) == tuple(home.chain)


def test_a_loosening_cannot_be_dated_to_hold_before_its_time(home: Home) -> None:
    home.set(Choices(owners_needed=2), NOW_MS, OWNER)
    early = home.policy(ASK_POLICE, NOW_MS, NOW_MS + NOTICE_MS - 1)
    with pytest.raises(BrokenPolicyError, match="72 hours"):
        home.accept(early, OWNER)


def test_a_policy_cannot_be_dated_back_to_when_one_owner_was_enough(home: Home) -> None:
    home.set(EVERYTHING_OFF, NOW_MS, OWNER)
    home.set(Choices(owners_needed=2), NOW_MS + HOUR_MS, OWNER, PARTNER)
    with pytest.raises(BrokenPolicyError, match="dated before"):
        home.accept(home.policy(ASK_POLICE, NOW_MS + HOUR_MS - 1, NOW_MS + HOUR_MS - 1), OWNER)


def test_a_policy_cannot_be_dated_before_the_statement_in_force(home: Home) -> None:
    home.set(Choices(owners_needed=2), NOW_MS, OWNER)
    now = NOW_MS + 40 * DAY_MS
    home.move_on(now)
    with pytest.raises(BrokenPolicyError, match="dated before the statement"):
        home.accept(home.policy(ASK_POLICE, now - NOTICE_MS, now), OWNER)
    assert home.set(ASK_POLICE, now, OWNER).in_force_at == now + NOTICE_MS


def test_an_owner_listed_by_the_other_alone_is_no_second_before_three_days(home: Home) -> None:
    two = Choices(owners_needed=2)
    home.set(two, NOW_MS, OWNER)
    listed = NOW_MS + 40 * DAY_MS
    home.move_on(listed, OWNER, PARTNER, STRANGER)
    home.move_on(listed + HOUR_MS)
    for at in (listed + HOUR_MS, listed + NOTICE_MS - 1):
        for signers in ((OWNER, STRANGER), (STRANGER,)):
            with pytest.raises(BrokenPolicyError, match="72 hours"):
                home.accept(home.policy(ASK_POLICE, at, at), *signers)
    home.set(ASK_POLICE, listed + HOUR_MS, OWNER, PARTNER)
    home.set(two, listed + HOUR_MS, STRANGER)
    settled = listed + NOTICE_MS
    assert home.set(ASK_POLICE, settled, OWNER, STRANGER).in_force_at == settled
    assert verify_policies(home.signed, home.statements) == tuple(home.chain)


def test_a_new_owner_tightens_at_once_and_loosens_where_one_is_enough(home: Home) -> None:
    home.move_on(NOW_MS, OWNER, PARTNER, STRANGER)
    assert home.set(ASK_POLICE, NOW_MS, STRANGER).in_force_at == NOW_MS
    assert home.set(Choices(owners_needed=2), NOW_MS, STRANGER).in_force_at == NOW_MS


@pytest.mark.parametrize(
    "changes",
    [{"version": 2}, {"prev": bytes(32)}, {"household": "n" * 26}, {"owners_needed": 2}],
    ids=["version", "prev", "household", "owners"],
)
def test_a_policy_out_of_place_is_refused(changes: dict[str, object]) -> None:
    head = first_head()
    policy = Home().policy(EVERYTHING_OFF, NOW_MS, NOW_MS, **{"prev": None, **changes})
    signed = sign_policy(policy, OWNER.sign)
    after = accept_next(head, successor(head, OWNER, policy_hash=signed.body_hash)).statement
    with pytest.raises(BrokenPolicyError):
        accept_policy((), signed, head.statement, after, ())


def test_a_policy_that_the_statement_does_not_name_is_refused(home: Home) -> None:
    signed = sign_policy(home.policy(ASK_POLICE, NOW_MS, NOW_MS), OWNER.sign)
    other = home.next_head(sign_policy(home.policy(EVERYTHING_OFF, NOW_MS, NOW_MS), OWNER.sign))
    with pytest.raises(BrokenPolicyError, match="another"):
        accept_policy((), signed, home.head.statement, other.statement, ())


def test_nobody_but_an_owner_signs_it(home: Home) -> None:
    with pytest.raises(WrongSignatureError):
        home.accept(home.policy(ASK_POLICE, NOW_MS, NOW_MS), STRANGER)


def test_a_body_of_another_form_is_no_policy(home: Home) -> None:
    signed = sign(Kind.CONSENT_POLICY, {"v": 1, "agency_requests": "always"}, OWNER.sign)
    head = home.next_head(signed)
    with pytest.raises(BadMessageError):
        accept_policy((), signed, home.head.statement, head.statement, ())


def test_a_service_can_neither_withhold_a_version_nor_add_one(home: Home) -> None:
    home.set(ASK_POLICE, NOW_MS, OWNER)
    home.set(EVERYTHING_OFF, NOW_MS, PARTNER)
    assert len(verify_policies(home.signed, home.statements)) == 2
    first, second = home.signed
    for shown in ([first], [second], [second, first], [first, second, second]):
        with pytest.raises(BrokenPolicyError):
            verify_policies(shown, home.statements)
