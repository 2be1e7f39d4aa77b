"""The rule table: every cell of it, and what is in no cell."""

import json
from collections.abc import Iterator
from itertools import combinations, product
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_cloud.access.policy import (
    RULES,
    Action,
    Actor,
    Anonymous,
    Denial,
    DeviceActor,
    Facts,
    Member,
    Resource,
    Scope,
    TokenHolder,
    decide,
    rules_as_json,
)
from doorstep_shared.ids import HouseholdId, MemberId
from doorstep_shared.statements import Role
from tests.people import FRONT_DOOR

OWN: Final = HouseholdId("h" * 26)
FOREIGN: Final = HouseholdId("s" * 26)
ME: Final = MemberId("m" * 26)
NOW: Final = 1000

WATCHING: Final = {
    Action.READ_HOUSEHOLD,
    Action.READ_STATEMENTS,
    Action.READ_KEYRING,
    Action.READ_CONSENT,
    Action.READ_DEVICES,
    Action.READ_COMMANDS,
    Action.READ_EVENTS,
    Action.READ_CLIP_LIST,
    Action.READ_CLIP_OBJECT,
    Action.READ_MANIFEST,
    Action.READ_SETTINGS,
}
CONTENT: Final = {
    Action.READ_EVENTS,
    Action.READ_CLIP_LIST,
    Action.READ_CLIP_OBJECT,
    Action.READ_MANIFEST,
    Action.READ_KEYRING,
}
BY_SCOPE: Final = {
    Scope.EVENTS_READ: {Action.READ_EVENTS},
    Scope.CLIPS_READ: {Action.READ_CLIP_LIST, Action.READ_CLIP_OBJECT, Action.READ_MANIFEST},
    Scope.CLIPS_DELETE: {Action.DELETE_CLIP},
    Scope.KEYRING_READ: {Action.READ_KEYRING},
    Scope.DEVICES_WRITE: {Action.CREATE_CLAIM, Action.READ_CLAIM, Action.READ_DEVICES},
}


def member(ends_at_ms: int = NOW + 1) -> Member:
    return Member(OWN, ME, session=1, ends_at_ms=ends_at_ms)


def token(*scopes: Scope, ends_at_ms: int = NOW + 1) -> TokenHolder:
    return TokenHolder(OWN, ME, "t", frozenset(scopes), ends_at_ms)


DOORBELL: Final = DeviceActor(OWN, FRONT_DOOR.device.id)

actors = st.one_of(
    st.just(Anonymous()),
    st.just(DOORBELL),
    st.builds(member, st.integers(NOW - 1, NOW + 1)),
    st.builds(
        lambda scopes, end: TokenHolder(OWN, ME, "t", scopes, end),
        st.frozensets(st.sampled_from(Scope)),
        st.integers(NOW - 1, NOW + 1),
    ),
)
facts = st.builds(Facts, st.none() | st.sampled_from(Role))


def may(actor: Actor, action: Action, role: Role | None, household: HouseholdId | None) -> bool:
    return decide(actor, action, Resource(household), Facts(role), NOW).allow


@pytest.mark.parametrize(("action", "role"), list(product(Action, Role)))
def test_an_owner_may_do_all_and_a_viewer_may_watch(action: Action, role: Role) -> None:
    expected = role is Role.OWNER or action in WATCHING
    assert may(member(), action, role, OWN) is expected


@pytest.mark.parametrize(("action", "scope"), list(product(Action, Scope)))
def test_a_token_may_do_what_its_scope_says_and_no_more(action: Action, scope: Scope) -> None:
    assert may(token(scope), action, Role.OWNER, OWN) is (action in BY_SCOPE[scope])


@pytest.mark.parametrize(("action", "role"), list(product(Action, Role)))
def test_a_token_never_reaches_further_than_its_member(action: Action, role: Role) -> None:
    if may(token(*Scope), action, role, OWN):
        assert may(member(), action, role, OWN)


def test_no_token_changes_who_belongs_to_a_household_or_makes_a_token() -> None:
    for action in (Action.WRITE_STATEMENT, Action.WRITE_KEYRING, Action.MANAGE_TOKENS):
        assert not may(token(*Scope), action, Role.OWNER, OWN)


def test_how_long_all_is_kept_is_no_programs_business() -> None:
    for action in (Action.READ_SETTINGS, Action.WRITE_SETTINGS):
        assert not may(token(*Scope), action, Role.OWNER, OWN)


def test_what_may_be_asked_of_a_household_is_no_programs_business() -> None:
    for action in (Action.READ_CONSENT, Action.WRITE_CONSENT):
        assert not may(token(*Scope), action, Role.OWNER, OWN)


ENDS: Final = {"before": NOW + 1, "at": NOW, "after": NOW - 1}
SCOPE_SETS: Final = [
    frozenset(some) for count in range(len(Scope) + 1) for some in combinations(Scope, count)
]


def everybody() -> Iterator[tuple[Actor, Role | None]]:
    """Yield every actor there can be, with every role it may have by now."""
    for role in (*Role, None):
        yield Anonymous(), role
        yield DOORBELL, role
        for end in ENDS.values():
            yield member(end), role
            yield from ((token(*scopes, ends_at_ms=end), role) for scopes in SCOPE_SETS)


def expected(actor: Actor, role: Role | None, action: Action, household: object) -> Denial | None:
    """Return what is said to ``actor``, from the sets above alone: None is yes."""
    if isinstance(actor, Anonymous):
        return Denial.NOT_SIGNED_IN
    if household != OWN:
        return Denial.NOT_FOUND
    if isinstance(actor, DeviceActor):
        return Denial.NOT_ALLOWED
    if actor.ends_at_ms <= NOW:
        return Denial.NOT_SIGNED_IN
    by_role = role is Role.OWNER or (role is Role.VIEWER and action in WATCHING)
    by_scope = isinstance(actor, Member) or any(action in BY_SCOPE[s] for s in actor.scopes)
    return None if by_role and by_scope else Denial.NOT_ALLOWED


@pytest.mark.parametrize("action", Action)
def test_every_cell_of_the_table_is_as_it_says(action: Action) -> None:
    cells = list(product(everybody(), (OWN, FOREIGN, None)))
    assert len(cells) == 3 * 3 * (2 + len(ENDS) * (1 + 2 ** len(Scope)))
    for (actor, role), household in cells:
        decision = decide(actor, action, Resource(household), Facts(role), NOW)
        wanted = expected(actor, role, action, household)
        assert (decision.allow, decision.denial) == (wanted is None, wanted), (actor, role)


@given(actors, st.sampled_from(Action), facts, st.none() | st.just(FOREIGN))
def test_nobody_reaches_anothers_thing_and_it_answers_like_none(
    actor: Actor, action: Action, known: Facts, household: HouseholdId | None
) -> None:
    decision = decide(actor, action, Resource(household), known, NOW)
    none = decide(actor, action, Resource(None), known, NOW)
    assert not decision.allow
    assert decision == none
    is_nobody = isinstance(actor, Anonymous)
    assert decision.denial is (Denial.NOT_SIGNED_IN if is_nobody else Denial.NOT_FOUND)


@given(st.sampled_from(Action), facts, st.sampled_from([OWN, FOREIGN, None]))
def test_doorbells_and_strangers_to_the_service_get_nothing(
    action: Action, known: Facts, household: HouseholdId | None
) -> None:
    for actor in (Anonymous(), DOORBELL):
        assert not decide(actor, action, Resource(household), known, NOW).allow


@given(actors, st.sampled_from(Action), facts, st.sampled_from([OWN, FOREIGN, None]))
def test_a_decision_says_why(
    actor: Actor, action: Action, known: Facts, household: HouseholdId | None
) -> None:
    decision = decide(actor, action, Resource(household), known, NOW)
    assert decision.allow is (decision.denial is None)
    assert decision.allow is (decision.reasons == ())
    assert decision.allow is decision.rule.startswith("household:")


@pytest.mark.parametrize("action", Action)
def test_whoever_left_the_roster_may_do_nothing(action: Action) -> None:
    for actor in (member(), token(*Scope)):
        decision = decide(actor, action, Resource(OWN), Facts(role=None), NOW)
        assert (decision.allow, decision.rule) == (False, "not-listed")


@pytest.mark.parametrize("action", Action)
def test_a_session_or_token_ends_at_the_millisecond(action: Action) -> None:
    for actor in (member(NOW), token(*Scope, ends_at_ms=NOW)):
        decision = decide(actor, action, Resource(OWN), Facts(Role.OWNER), NOW)
        assert (decision.allow, decision.denial) == (False, Denial.NOT_SIGNED_IN)


def test_every_action_has_one_row() -> None:
    assert sorted(rule.action for rule in RULES) == sorted(Action)


def test_content_is_reached_by_members_only_and_by_no_scope_that_writes() -> None:
    for rule in RULES:
        if rule.action in CONTENT:
            assert rule.scope is not None
            assert rule.scope.endswith(":read")


def test_the_table_can_be_read_as_json() -> None:
    rows = json.loads(json.dumps(rules_as_json()))
    assert len(rows) == len(RULES)
    for row, rule in zip(rows, RULES, strict=True):
        assert row["action"] == rule.action
        assert set(row["roles"]) == rule.roles
        assert row["token_scope"] == rule.scope
        assert row["household"] == "own"
