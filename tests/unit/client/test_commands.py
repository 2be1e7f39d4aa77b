"""What people type, and what they read."""

import json
from pathlib import Path

import httpx
import pytest

from doorstep_client.home import Home
from doorstep_client.household import Household, found
from doorstep_client.service import error_in
from doorstep_shared.errors import RefusedError, TryLaterError
from doorstep_shared.unseal import parse_identity_file
from tests.cast import PUBLIC_URL, Stage
from tests.people import doorbell, random_from
from tests.unit.client.conftest import Line, Type


def test_init_founds_a_household_once(typed: Type, service: Stage, home: Home) -> None:
    first = typed("init", PUBLIC_URL, "--invite", service.invite())
    assert first.code == 0
    assert str(home.folder) in first.out
    again = typed("init", PUBLIC_URL, "--invite", service.invite())
    assert again.code == 1
    assert "already belongs" in again.err
    assert "Nothing was changed." in again.err


def test_a_used_invite_says_what_is_there_and_the_next_one_uses_it(
    typed: Type, service: Stage, home: Home, tmp_path: Path
) -> None:
    used = service.invite()
    found(Home(tmp_path / "another's"), PUBLIC_URL, used, random_from("another"))
    refused = typed("init", PUBLIC_URL, "--invite", used)
    assert refused.code == 1
    assert f"Your keys are in {home.folder} and belong to no household yet" in refused.err
    assert "the same command with another invite uses them" in refused.err
    assert "Nothing was changed" not in refused.err
    key = (home.folder / "age.key").read_bytes()
    assert typed("init", PUBLIC_URL, "--invite", service.invite()).code == 0
    assert (home.folder / "age.key").read_bytes() == key


def test_a_service_that_is_away_at_the_founding_leaves_keys_and_says_so(
    typed: Type, service: Stage, home: Home, line: Line
) -> None:
    def away(request: httpx.Request, _: object) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    line.mangle = away
    refused = typed("init", PUBLIC_URL, "--invite", service.invite())
    assert f"Your keys are in {home.folder}; the same command again uses them." in refused.err
    assert "Nothing was changed" not in refused.err


def test_without_a_household_every_command_says_what_to_do_first(typed: Type) -> None:
    for words in (["status"], ["event", "list"], ["clip", "list"], ["device", "list"]):
        ended = typed(*words)
        assert ended.code == 1
        assert ended.out == ""
        assert "Do: doorstep init URL --invite CODE" in ended.err
    assert typed("key", "export").code == 1


def test_a_wrong_word_is_a_usage_error(typed: Type) -> None:
    assert typed("no-such-command").code == 2
    assert typed("event", "list", "--limit", "0").code == 2


@pytest.mark.parametrize(
    "words",
    [
        ("clip", "list", "--kind"),
        ("consent", "set", "--agency-requests"),
        ("consent", "set", "--emergency-requests"),
        ("consent", "set", "--show-my-name"),
    ],
)
def test_a_word_that_is_none_of_the_few_is_refused_with_them(
    typed: Type, household: Household, words: tuple[str, ...]
) -> None:
    del household
    ended = typed(*words, "maybe")
    assert ended.code == 2
    assert "'maybe' is not one of " in ended.err
    assert "Value error" not in ended.err


def test_a_service_that_is_away_is_told_in_three_lines(
    typed: Type, household: Household, line: Line
) -> None:
    def away(request: httpx.Request, _: object) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    line.mangle = away
    ended = typed("status")
    assert (ended.code, ended.out) == (1, "")
    fact, safe, do = ended.err.strip().splitlines()
    assert fact.startswith(f"doorstep: the service at {household.account.url} does not answer")
    assert safe.startswith("Nothing was changed")
    assert do.startswith("Do: curl")


def test_lists_of_nothing_say_so_and_are_empty_for_scripts(
    typed: Type, household: Household
) -> None:
    del household
    for noun in ("event", "clip", "device", "token"):
        assert typed(noun, "list").err.strip()
        assert json.loads(typed(noun, "list", "--json").out) == []
    assert (
        typed("clip", "list", "--kind", "ring").err == "There are no such clips at the service.\n"
    )
    assert typed("event", "list").err == "There are no events at the service.\n"
    assert typed("clip", "verify").code == 1


def test_status_tells_members_history_and_doorbells(
    typed: Type, household: Household, service: Stage
) -> None:
    shown = typed("status").out
    assert "No doorbell yet" in shown
    assert "has 1 member; its history of 1 signed step holds." in shown
    claim = household.make_claim(random_from("claim"))
    assert "1 claim waits" in typed("status").out
    service.enrol(doorbell("front"), claim)
    assert "not added yet" in typed("status").out
    told = json.loads(typed("status", "--json").out)
    assert (told["members"], told["statement"], told["waiting_claims"]) == (1, 0, 1)


def test_tokens_are_shown_once_listed_without_secrets_and_revoked(
    typed: Type, household: Household
) -> None:
    del household
    made = json.loads(typed("token", "create", "a script", "--days", "7", "--json").out)
    assert made["token"].startswith("dst_pat_")
    listed = typed("token", "list")
    assert made["id"] in listed.out
    assert made["token"] not in listed.out + listed.err
    assert typed("token", "revoke", made["id"]).code == 0
    assert made["id"] not in typed("token", "list").out


def test_the_exported_key_is_an_identity_file(
    typed: Type, household: Household, home: Home
) -> None:
    del household
    exported = typed("key", "export")
    assert exported.code == 0
    assert parse_identity_file(exported.out) == [home.keys().age]


def test_a_doorbell_that_answers_is_listed(
    typed: Type, household: Household, service: Stage
) -> None:
    waited = typed("device", "add", "--timeout", "0", "--json")
    assert waited.code == 1
    assert "no doorbell answered yet" in waited.err
    (claim,) = household.pending_claims()
    assert json.loads(waited.out)["claim"] == str(claim)
    service.enrol(doorbell("front"), claim)
    ended = typed("device", "add", "--resume", "--json")
    assert ended.code == 0
    assert json.loads(ended.out) == {"device": doorbell("front").device.id, "statement": 1}
    assert doorbell("front").device.id in typed("device", "list").out
    assert typed("device", "add", "--resume").code == 1


@pytest.mark.parametrize(
    ("status", "family"),
    [(401, RefusedError), (404, RefusedError), (409, RefusedError), (400, RefusedError)]
    + [(code, TryLaterError) for code in (429, 502, 503, 504)],
)
def test_an_answer_says_whether_to_try_again(status: int, family: type[Exception]) -> None:
    problem = {"title": "the fact", "detail": "what is safe", "do": "what to do"}
    error = error_in(status, json.dumps(problem).encode())
    assert isinstance(error, family)
    assert (error.fact, error.safe, error.do) == ("the fact", "what is safe", "what to do")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"title": 7}'])
def test_an_answer_without_a_problem_is_told_by_its_number(body: bytes) -> None:
    assert "418" in error_in(418, body).fact
