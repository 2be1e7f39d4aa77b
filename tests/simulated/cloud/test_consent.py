"""A household's consent policy at the service: kept as it was signed, and by both or neither."""

import json
from typing import Any, Final

import pytest

from doorstep_cloud.households import consent
from doorstep_cloud.households.consent import MAX_CHANGE_BYTES, MAX_CLOCK_OFF_MS, read_consent
from doorstep_cloud.households.restoring import RESTORED
from doorstep_cloud.households.tables import PolicyRow
from doorstep_cloud.store.passes import note_pass
from doorstep_shared.consent import (
    EVERYTHING_OFF,
    NOTICE_MS,
    AgencyKind,
    Choices,
    Requests,
    ShowMyName,
    verify_policies,
)
from doorstep_shared.signing import Signed, decode_signed
from doorstep_shared.statements import (
    MAX_DEVICES,
    MAX_MEMBERS,
    Role,
    accept_next,
    sign_statement,
    verify_chain,
)
from tests.cast import (
    FOREIGN,
    OWN,
    STRANGER,
    VIEWER,
    Stage,
    as_json,
    keyring_files,
)
from tests.people import DAY_MS, NOW_MS, OWNER, doorbell, epoch, first_statement, person

PATH: Final = "/v1/consent-policy"
PARTNER: Final = person("partner")
GHOST: Final = person("ghost")
ASK_POLICE: Final = Choices(agency_requests=Requests.ASK, agency_kinds=(AgencyKind.POLICE,))
TWO: Final = Choices(owners_needed=2)
OFF: Final = {
    "agency_requests": "off",
    "agency_kinds": [],
    "emergency_requests": "off",
    "show_my_name": "never",
    "owners_needed": 1,
}


@pytest.fixture
def two(home: Stage) -> Stage:
    """Our household with two owners, both of whom it takes to loosen anything."""
    home.add_members(PARTNER)
    home.set_consent(TWO)
    home.clock.at_ms += MAX_CLOCK_OFF_MS + 1
    return home


def put(home: Stage, change: object) -> tuple[int, dict[str, Any]]:
    """Return status and body of what the service answers the owner who sends ``change``."""
    answer = home.client.put(PATH, json=change, headers=home.session(OWNER))
    return answer.status_code, answer.json()


def test_without_a_version_everything_is_off(home: Stage) -> None:
    assert home.read_consent() == {"policies": [], "in_force": OFF, "waiting": None}


def test_a_version_is_kept_as_it_was_signed_with_the_statement_that_names_it(home: Stage) -> None:
    change = home.consent_change(ASK_POLICE)
    status, answer = put(home, change)
    assert (status, answer["version"]) == (200, 1)
    assert answer["statement"]["seq"] == 1
    found = home.read_consent()
    assert found["policies"] == [change["policy"]]
    assert found["in_force"] == OFF | {"agency_requests": "ask", "agency_kinds": ["police"]}
    assert found["waiting"] is None
    assert home.told[-1] == OWN


def test_all_versions_verify_against_the_chain_the_service_shows(home: Stage) -> None:
    for choices in (ASK_POLICE, EVERYTHING_OFF, Choices(show_my_name=ShowMyName.ASK)):
        home.set_consent(choices)
    headers = home.session(OWNER)
    listed = home.client.get("/v1/statements", headers=headers).json()["statements"]
    chain = [Signed.model_validate_json(json.dumps(one)) for one in listed]
    heads = verify_chain(chain, home.heads[OWN].root)
    policies = [Signed.model_validate_json(json.dumps(p)) for p in home.read_consent()["policies"]]
    verified = verify_policies(policies, [head.statement for head in heads])
    assert [policy.version for policy in verified] == [1, 2, 3]


def test_the_same_version_again_gets_the_same_answer(home: Stage) -> None:
    change = home.consent_change(ASK_POLICE)
    first = put(home, change)
    assert first[0] == 200
    assert put(home, change) == first
    home.clock.at_ms += MAX_CLOCK_OFF_MS * 2
    assert put(home, change) == first
    assert len(home.read_consent()["policies"]) == 1


def test_a_repeated_statement_brings_no_other_version(home: Stage) -> None:
    change = home.consent_change(ASK_POLICE)
    assert put(home, change)[0] == 200
    other = home.consent_change(EVERYTHING_OFF)
    assert put(home, {"policy": other["policy"], "statement": change["statement"]})[0] == 409
    assert put(home, {"policy": change["policy"], "statement": other["statement"]})[0] == 409
    first = as_json(home.heads[OWN].signed)
    assert put(home, {"policy": change["policy"], "statement": first})[0] == 409


def test_a_version_that_does_not_follow_is_a_conflict_and_nothing_is_kept(home: Stage) -> None:
    wrong: list[dict[str, Any]] = [{"version": 2}, {"prev": bytes(32)}, {"household": FOREIGN}]
    for changes in wrong:
        status, problem = put(home, home.consent_change(ASK_POLICE, **changes))
        assert (status, problem["type"]) == (409, "urn:doorstep:problem:broken-policy")
    assert home.read_consent()["policies"] == []
    household = home.client.get("/v1/household", headers=home.session(OWNER)).json()
    assert household["head"]["seq"] == 0


def test_a_version_that_is_no_policy_is_told_as_that(home: Stage) -> None:
    change = home.consent_change(ASK_POLICE)
    named = as_json(sign_statement(home.next_statement(policy_hash=bytes(32)), OWNER.sign))
    assert put(home, change | {"statement": named})[0] == 409
    nonsense = home.heads[OWN].signed
    statement = sign_statement(home.next_statement(policy_hash=nonsense.body_hash), OWNER.sign)
    assert put(home, {"policy": as_json(nonsense), "statement": as_json(statement)})[0] == 400
    assert put(home, {"policy": change["policy"]})[0] == 422


def test_only_owners_signatures_count(home: Stage) -> None:
    home.add_members(VIEWER)
    for who in (VIEWER, STRANGER):
        assert put(home, home.consent_change(ASK_POLICE, who))[0] == 403
    assert home.read_consent()["in_force"] == OFF


@pytest.mark.parametrize("off_ms", [-MAX_CLOCK_OFF_MS, MAX_CLOCK_OFF_MS])
def test_a_clock_may_be_five_minutes_off_and_no_more(home: Stage, off_ms: int) -> None:
    home.clock.at_ms += DAY_MS  # a date before the statement in force is refused anyway
    further = off_ms + (1 if off_ms > 0 else -1)
    for wrong in (further, further * 100):
        at = home.clock() + wrong
        change = home.consent_change(ASK_POLICE, at=at, in_force_at=at)
        status, problem = put(home, change)
        assert (status, problem["detail"]) == (403, "Nothing was changed.")
        assert ("before" if off_ms < 0 else "after") in problem["title"]
        assert "clock" in problem["do"]
    at = home.clock() + off_ms
    assert put(home, home.consent_change(ASK_POLICE, at=at, in_force_at=at))[0] == 200


def test_one_of_two_owners_loosens_after_three_days_that_everybody_sees(two: Stage) -> None:
    early = two.consent_change(ASK_POLICE, version=2)
    status, problem = put(two, early)
    assert status == 409
    assert "72 hours" in problem["title"]
    begins = two.clock() + NOTICE_MS
    two.set_consent(ASK_POLICE, in_force_at=begins)
    found = two.read_consent()
    assert found["in_force"] == OFF | {"owners_needed": 2}
    assert found["waiting"]["version"] == 2
    assert found["waiting"]["choices"]["agency_kinds"] == ["police"]
    assert found["waiting"]["in_force_at"].endswith("Z")
    with two.databases.read() as unit:
        assert read_consent(unit, OWN, begins - 1).in_force == TWO
        held = read_consent(unit, OWN, begins)
    assert (held.in_force, held.waiting) == (ASK_POLICE, None)


def test_both_owners_loosen_at_once_and_either_stops_what_waits(two: Stage) -> None:
    two.set_consent(ASK_POLICE, in_force_at=two.clock() + NOTICE_MS)
    two.set_consent(TWO, PARTNER)
    assert two.read_consent()["waiting"] is None
    two.clock.at_ms += NOTICE_MS
    two.set_consent(ASK_POLICE, OWNER, PARTNER)
    assert two.read_consent()["in_force"]["agency_requests"] == "ask"


@pytest.mark.parametrize("back_ms", [0, 30 * DAY_MS])
def test_an_owner_listed_by_the_other_alone_is_no_second_before_three_days(
    two: Stage, back_ms: int
) -> None:
    two.clock.at_ms += 40 * DAY_MS
    roster = (OWNER.member, PARTNER.member, GHOST.member)
    dated = two.clock() - back_ms
    signed = sign_statement(two.next_statement(roster=roster, at=dated), OWNER.sign)
    files = keyring_files([OWNER, PARTNER, GHOST])
    answer = two.client.put(
        "/v1/keyring.age",
        json={"statement": as_json(signed), "files": files},
        headers=two.session(OWNER),
    )
    assert answer.status_code == 200, answer.text
    two.heads[OWN] = accept_next(two.heads[OWN], signed)
    status, problem = put(two, two.consent_change(ASK_POLICE, OWNER, GHOST, version=2))
    assert (status, "72 hours" in problem["title"]) == (409, True)
    two.set_consent(ASK_POLICE, OWNER, PARTNER)
    assert two.read_consent()["in_force"]["agency_requests"] == "ask"


def test_a_long_history_is_not_read_for_one_more_version(
    home: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consent, "_READ_AT_ONCE", 2)
    for choices in (ASK_POLICE, EVERYTHING_OFF) * 3:
        home.set_consent(choices)
    read: list[bytes] = []

    def reading(signed: bytes) -> Signed:
        read.append(signed)
        return decode_signed(signed)

    monkeypatch.setattr(consent, "decode_signed", reading)
    assert put(home, home.consent_change(ASK_POLICE, version=7))[0] == 200
    assert len(read) == 1


def test_versions_are_read_back_as_far_as_one_that_holds(
    home: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consent, "_READ_AT_ONCE", 2)
    home.set_consent(ASK_POLICE)
    for _ in range(5):
        home.set_consent(EVERYTHING_OFF, in_force_at=home.clock() + NOTICE_MS)
    found = home.read_consent()
    assert found["in_force"]["agency_requests"] == "ask"
    assert found["waiting"]["version"] == 6


@pytest.mark.parametrize("later_ms", [41 * DAY_MS, 30 * DAY_MS])
def test_nothing_is_given_back_that_is_dated_before_any_statement(
    home: Stage, later_ms: int
) -> None:
    home.clock.at_ms += 40 * DAY_MS
    with home.databases.write() as unit:
        note_pass(unit, RESTORED, home.clock())
        unit.commit()
    old = NOW_MS + DAY_MS
    home.clock.at_ms += DAY_MS
    home.append(home.next_statement(at=NOW_MS + later_ms, devices=(doorbell("front").device,)))
    home.append(home.next_statement(at=old))
    status, problem = put(home, home.consent_change(ASK_POLICE, at=old, in_force_at=old))
    assert (status, "dated" in problem["title"]) == (403, True)


def test_a_household_of_one_owner_cannot_ask_for_two(home: Stage) -> None:
    assert put(home, home.consent_change(TWO))[0] == 409


def test_no_statement_names_a_policy_without_bringing_it(home: Stage) -> None:
    headers = home.session(OWNER)
    home.set_consent(ASK_POLICE)
    for policy_hash in (None, bytes(32)):
        named = home.next_statement(policy_hash=policy_hash)
        alone = as_json(sign_statement(named, OWNER.sign))
        answer = home.client.post("/v1/statements", json=alone, headers=headers)
        assert answer.status_code == 409
        assert "PUT /v1/consent-policy" in answer.json()["do"]
        roster = (OWNER.member, VIEWER.member)
        both = sign_statement(named.model_copy(update={"roster": roster}), OWNER.sign)
        keyring = {"statement": as_json(both), "files": keyring_files([OWNER, VIEWER])}
        answer = home.client.put("/v1/keyring.age", json=keyring, headers=headers)
        assert answer.status_code == 409


def test_a_statement_that_keeps_the_policy_comes_as_ever(home: Stage) -> None:
    home.set_consent(ASK_POLICE)
    home.list_devices(doorbell("back").device)
    assert home.read_consent()["in_force"]["agency_requests"] == "ask"


def test_a_policy_brings_no_change_of_who_opens_clips(home: Stage) -> None:
    change = home.consent_change(ASK_POLICE)
    policy = Signed.model_validate_json(json.dumps(change["policy"]))
    statement = home.next_statement(policy_hash=policy.body_hash, epoch=epoch(2))
    status, problem = put(
        home,
        {"policy": change["policy"], "statement": as_json(sign_statement(statement, OWNER.sign))},
    )
    assert status == 409
    assert "keyring" in problem["title"]
    assert home.read_consent()["policies"] == []


def test_a_household_begins_with_everything_off(service: Stage) -> None:
    asked = service.founding(OWNER, OWN)
    named = first_statement(OWNER, OWN).model_copy(update={"policy_hash": bytes(32)})
    asked["statement"] = as_json(sign_statement(named, OWNER.sign))
    answer = service.client.post("/v1/households", json=asked)
    assert answer.status_code == 403
    assert "everything off" in answer.json()["title"]


def test_versions_come_oldest_first_and_after_one(
    home: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for choices in (ASK_POLICE, EVERYTHING_OFF, ASK_POLICE):
        home.set_consent(choices)
    every = home.read_consent()["policies"]
    headers = home.session(OWNER)
    last = home.client.get(PATH, params={"after": 2}, headers=headers).json()
    assert last["policies"] == every[2:]
    assert last["in_force"]["agency_requests"] == "ask"
    monkeypatch.setattr(consent, "MAX_LISTED", 2)
    assert home.client.get(PATH, headers=headers).json()["policies"] == every[:2]
    assert home.client.get(PATH, params={"after": 9}, headers=headers).json()["policies"] == []


def test_another_households_policy_is_neither_seen_nor_changed(home: Stage) -> None:
    home.set_consent(ASK_POLICE)
    theirs = home.session(STRANGER)
    assert home.client.get(PATH, headers=theirs).json()["policies"] == []
    change = home.consent_change(EVERYTHING_OFF, version=2)
    assert home.client.put(PATH, json=change, headers=theirs).status_code == 409
    assert len(home.read_consent()["policies"]) == 1


def test_a_policy_rests_as_the_bytes_it_came_in(home: Stage) -> None:
    change = home.consent_change(ASK_POLICE)
    assert put(home, change)[0] == 200
    with home.databases.read() as unit:
        row = unit.main.get_one(PolicyRow, (OWN, 1))
    sent = Signed.model_validate_json(json.dumps(change["policy"]))
    assert (row.signed, row.body_sha256) == (sent.encode(), sent.body_hash)
    assert row.received_at_ms == NOW_MS + 2  # two invitations moved the clock


def test_the_largest_household_may_change_its_policy(home: Stage) -> None:
    people = [person(f"member{i:02}", Role.VIEWER) for i in range(MAX_MEMBERS - 1)]
    named = [
        one.member.model_copy(update={"member": f"{chr(97 + i // 26)}{chr(97 + i % 26)}" * 13})
        for i, one in enumerate(people)
    ]
    devices = tuple(doorbell(f"door {i}").device for i in range(MAX_DEVICES))
    statement = home.next_statement(
        roster=(OWNER.member, *named), devices=devices, policy_hash=bytes(32)
    )
    policy = home.consent_change(Choices(agency_kinds=tuple(AgencyKind)))["policy"]
    change = {"policy": policy, "statement": as_json(sign_statement(statement, OWNER.sign))}
    assert 32 * 1024 < len(json.dumps(change)) < MAX_CHANGE_BYTES - 32 * 1024
    headers = home.session(OWNER) | {"Content-Type": "application/json"}
    padded = json.dumps(change).ljust(MAX_CHANGE_BYTES + 1)
    assert home.client.put(PATH, content=padded, headers=headers).status_code == 413
    assert home.client.put(PATH, content=padded[:-1], headers=headers).status_code == 409


def test_the_rule_and_the_address_are_named_for_everybody(home: Stage) -> None:
    rules = {rule["action"]: rule for rule in home.client.get("/v1/access-rules.json").json()}
    assert rules["read_consent"]["roles"] == ["owner", "viewer"]
    assert rules["write_consent"]["roles"] == ["owner"]
    assert rules["read_consent"]["token_scope"] is rules["write_consent"]["token_scope"] is None
