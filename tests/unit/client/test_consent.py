"""What a household lets itself be asked: shown as it was signed, and changed as it may be."""

import io
import json
from collections.abc import Callable, Sequence
from typing import Any, Final

import httpx
import pytest
from sqlalchemy import delete

from doorstep_client import consent_words
from doorstep_client.answers import Answer
from doorstep_client.consent import Consent, plan_change, read_consent, set_consent
from doorstep_client.errors import (
    ConflictError,
    FalseConsentError,
    LostStepsError,
    WithheldError,
)
from doorstep_client.household import ATTEMPTS, Household
from doorstep_client.household import CONSENT_PATH as PATH
from doorstep_cloud.households.consent import GIVEN_BACK_MS
from doorstep_cloud.households.restoring import RESTORED
from doorstep_cloud.households.tables import PolicyRow, StatementRow
from doorstep_cloud.store.passes import note_pass
from doorstep_shared.consent import (
    EVERYTHING_OFF,
    NOTICE_MS,
    AgencyKind,
    Choices,
    ConsentPolicy,
    Requests,
    ShowMyName,
    sign_policy,
)
from doorstep_shared.encoding import to_base64url
from doorstep_shared.signing import Signed
from tests.cast import Stage
from tests.people import HOUSEHOLD, NOW_MS, doorbell, person
from tests.unit.client.conftest import Line, Mangle, Type

HOUR_MS: Final = 3600 * 1000
GHOST: Final = person("ghost")
PARTNER: Final = person("partner")
FIRE: Final = Choices(agency_requests=Requests.ASK, agency_kinds=(AgencyKind.FIRE,))
TWO: Final = Choices(owners_needed=2)
ALL: Final = Choices(
    agency_requests=Requests.ASK,
    agency_kinds=tuple(AgencyKind),
    emergency_requests=Requests.ASK,
    show_my_name=ShowMyName.ASK,
    owners_needed=2,
)
INSIDE_WORDS: Final = ("epoch", "envelope", "twin", "tile", "leaf", "quorum")
ASK_FIRE: Final = ("--agency-requests", "ask", "--agency-kinds", "fire")


@pytest.fixture
def two(household: Household) -> Household:
    """A household of two owners, both of whom it takes to loosen anything."""
    head = household.chain().head
    roster = (*head.statement.roster, PARTNER.member)
    signed = household.sign_successor(head, head.statement.model_copy(update={"roster": roster}))
    change = {
        "statement": signed.model_dump(mode="json"),
        "files": {m.member: to_base64url(b"age-encryption.org/v1\n") for m in roster},
    }
    household.ask(lambda service: service.put("/v1/keyring.age", Answer, change))
    set_consent(household, read_consent(household), TWO)
    return household


def choose(household: Household, wanted: Choices) -> Consent:
    """Set ``wanted`` as somebody does who has just looked."""
    return set_consent(household, read_consent(household), wanted)


def policy(version: int, begins_h: int, choices: Choices = EVERYTHING_OFF) -> ConsentPolicy:
    """Return a version that holds from so many hours after the first on."""
    return ConsentPolicy(
        **choices.model_dump(),
        household=HOUSEHOLD,
        version=version,
        prev=None,
        at=NOW_MS,
        in_force_at=NOW_MS + begins_h * HOUR_MS,
    )


def saying(change: Callable[[list[Any]], Sequence[Any]]) -> Mangle:
    """Return a service that shows other versions than it has."""

    def mangle(
        request: httpx.Request, ask: Callable[[httpx.Request], httpx.Response]
    ) -> httpx.Response:
        answer = ask(request)
        if request.method == "GET" and request.url.path == PATH:
            answer.read()
            after = int(request.url.params["after"])
            shown = change([None] * after + answer.json()["policies"])[after:]
            return httpx.Response(200, json={"policies": shown})
        return answer

    return mangle


# ── what is believed ────────────────────────────────────────────────────────────────────


def test_a_household_begins_with_everything_off(household: Household) -> None:
    consent = read_consent(household)
    assert (consent.in_force, consent.holding, consent.waiting) == (EVERYTHING_OFF, None, None)


def test_what_is_set_is_signed_named_and_holds(household: Household, service: Stage) -> None:
    assert choose(household, FIRE).in_force == FIRE
    found = choose(household, EVERYTHING_OFF)
    assert [one.version for one in found.policies] == [1, 2]
    assert found.in_force == EVERYTHING_OFF
    statement = household.chain().head.statement
    assert (statement.seq, statement.policy_hash is not None) == (2, True)
    assert service.told[-1] == statement.household


def test_many_versions_come_page_by_page(household: Household, line: Line) -> None:
    for wanted in (FIRE, EVERYTHING_OFF, FIRE):
        choose(household, wanted)
    line.mangle = saying(lambda shown: [*shown[: next_page(shown)]])
    assert len(read_consent(household).policies) == 3
    assert line.asked.count(f"GET {PATH}") > 3


def next_page(shown: list[Any]) -> int:
    return sum(one is None for one in shown) + 1


def test_a_version_that_is_withheld_is_missed(household: Household, line: Line) -> None:
    for wanted in (FIRE, EVERYTHING_OFF):
        choose(household, wanted)
    for keep in (slice(0, 0), slice(0, 1), slice(1, 2)):
        line.mangle = saying(lambda shown, keep=keep: shown[keep])  # type: ignore[misc]  # bound now
        with pytest.raises(FalseConsentError) as refused:
            read_consent(household)
        assert "not your household's" in refused.value.fact


def test_a_version_nobody_signed_is_refused(household: Household, line: Line) -> None:
    forged = sign_policy(policy(1, 0, ALL), GHOST.sign).model_dump(mode="json")
    line.mangle = saying(lambda shown: [*shown, forged])
    with pytest.raises(FalseConsentError):
        read_consent(household)
    line.mangle = None
    choose(household, FIRE)
    for lie in ([forged], [forged, forged]):
        line.mangle = saying(lambda _shown, lie=lie: lie)  # type: ignore[misc]  # bound now
        with pytest.raises(FalseConsentError):
            read_consent(household)


def test_a_version_changed_after_it_was_signed_is_refused(household: Household, line: Line) -> None:
    choose(household, FIRE)

    def loosened(shown: list[Any]) -> list[Any]:
        signed = Signed.model_validate_json(json.dumps(shown[0]))
        body = signed.body.replace(b'"fire"', b'"police"')
        assert body != signed.body
        return [signed.model_copy(update={"body": body}).model_dump(mode="json")]

    line.mangle = saying(loosened)
    with pytest.raises(FalseConsentError):
        read_consent(household)


def test_versions_without_end_are_read_up_to_what_the_chain_names(
    household: Household, line: Line
) -> None:
    choose(household, FIRE)
    line.mangle = saying(lambda shown: [*shown, *shown])
    line.asked.clear()
    with pytest.raises(FalseConsentError):
        read_consent(household)
    assert line.asked.count(f"GET {PATH}") == 1


def test_a_version_set_between_two_answers_is_no_lie(household: Household, line: Line) -> None:
    pending = [FIRE]

    def quicker(
        request: httpx.Request, ask: Callable[[httpx.Request], httpx.Response]
    ) -> httpx.Response:
        if request.method == "GET" and request.url.path == PATH and pending:
            wanted = pending.pop()
            choose(household, wanted)
        return ask(request)

    line.mangle = quicker
    assert read_consent(household).in_force == FIRE


# ── what waits ──────────────────────────────────────────────────────────────────────────


def test_only_the_newest_version_waits() -> None:
    def waits(*begins: int) -> int | None:
        policies = tuple(policy(n + 1, begin) for n, begin in enumerate(begins))
        waiting = Consent(policies, 2, NOW_MS).waiting
        return None if waiting is None else waiting.version

    assert waits() is None
    assert waits(0) is None
    assert waits(0, 5, 8) == 3
    assert waits(0, 8, 5) == 3
    assert waits(8, 0) is None


def test_alone_one_of_two_owners_loosens_in_three_days(two: Household, service: Stage) -> None:
    found = choose(two, FIRE)
    assert found.in_force == TWO
    waiting = found.waiting
    assert waiting is not None
    assert waiting.in_force_at == service.clock() + NOTICE_MS
    service.clock.at_ms += NOTICE_MS
    later = read_consent(two)
    assert (later.in_force, later.waiting) == (FIRE, None)


def test_any_owner_stops_what_waits_at_once(two: Household, service: Stage) -> None:
    choose(two, FIRE)
    assert choose(two, TWO).waiting is None
    service.clock.at_ms += NOTICE_MS
    assert read_consent(two).in_force == TWO


# ── what is signed ──────────────────────────────────────────────────────────────────────


def test_nothing_is_planned_where_nothing_changes(household: Household) -> None:
    assert plan_change(read_consent(household), EVERYTHING_OFF) is None


def test_what_another_owner_changed_meanwhile_is_looked_at_first(household: Household) -> None:
    seen = read_consent(household)
    choose(household, FIRE)
    with pytest.raises(ConflictError) as refused:
        set_consent(household, seen, Choices(show_my_name=ShowMyName.ASK))
    assert "consent show" in refused.value.do
    assert len(read_consent(household).policies) == 1


def test_a_doorbell_listed_meanwhile_is_no_hindrance(household: Household, line: Line) -> None:
    late = True

    def busy(
        request: httpx.Request, ask: Callable[[httpx.Request], httpx.Response]
    ) -> httpx.Response:
        nonlocal late
        if request.method == "PUT" and late:
            late = False
            devices = (doorbell("side").device,)
            household.change(lambda now: now.model_copy(update={"devices": devices}))
        return ask(request)

    line.mangle = busy
    assert choose(household, FIRE).in_force == FIRE
    assert household.chain().head.statement.seq == 2


def test_who_is_never_first_gives_up(household: Household, line: Line) -> None:
    def always_late(
        request: httpx.Request, ask: Callable[[httpx.Request], httpx.Response]
    ) -> httpx.Response:
        if request.method == "PUT":
            return httpx.Response(409, json={"title": "late"})
        return ask(request)

    line.mangle = always_late
    with pytest.raises(ConflictError):
        choose(household, FIRE)
    assert line.asked.count(f"PUT {PATH}") == ATTEMPTS


def test_a_version_that_is_taken_and_not_shown_is_told(household: Household, line: Line) -> None:
    def swallow(
        request: httpx.Request, ask: Callable[[httpx.Request], httpx.Response]
    ) -> httpx.Response:
        return httpx.Response(200, json={}) if request.method == "PUT" else ask(request)

    line.mangle = swallow
    with pytest.raises(WithheldError):
        choose(household, FIRE)


def lose(service: Stage, seq: int, version: int) -> None:
    """Let the service's main database be as it was before ``seq`` and ``version``."""
    with service.databases.write() as unit:
        unit.main.execute(delete(StatementRow).where(StatementRow.seq >= seq))
        unit.main.execute(delete(PolicyRow).where(PolicyRow.version >= version))
        unit.commit()


def test_a_service_put_back_from_a_backup_gets_the_versions_it_lost(
    household: Household, service: Stage
) -> None:
    for wanted in (FIRE, EVERYTHING_OFF):
        choose(household, wanted)
    lose(service, 1, 1)
    service.clock.at_ms += 72 * HOUR_MS
    with pytest.raises(LostStepsError, match="dated"):  # it was not put back, as far as it knows
        household.give_back()
    with service.databases.write() as unit:
        note_pass(unit, RESTORED, service.clock())
        unit.commit()
    assert household.give_back() == 2
    assert [one.version for one in read_consent(household).policies] == [1, 2]
    lose(service, 2, 2)
    service.clock.at_ms += GIVEN_BACK_MS
    with pytest.raises(LostStepsError, match="dated"):
        household.give_back()


def test_a_clock_that_was_put_back_dates_no_version_before_the_last(
    household: Household, service: Stage
) -> None:
    first = choose(household, FIRE).policies[-1]
    service.clock.at_ms -= 60_000
    assert choose(household, EVERYTHING_OFF).policies[-1].at == first.at


def test_a_clock_that_was_put_back_dates_no_version_before_the_statement_in_force(
    household: Household, service: Stage
) -> None:
    devices = (doorbell("side").device,)
    household.change(lambda now: now.model_copy(update={"devices": devices}))
    listed = household.chain().head.statement.at
    service.clock.at_ms -= 60_000
    assert choose(household, FIRE).policies[-1].at == listed


# ── what is read and typed ──────────────────────────────────────────────────────────────


def test_no_word_from_inside_is_said_to_owners() -> None:
    said: list[str] = []
    every = [EVERYTHING_OFF, FIRE, ALL, Choices(agency_requests=Requests.ASK)]
    for before in every:
        for after in every:
            consent = Consent((policy(1, 0, before), policy(2, 5, after)), 2, NOW_MS)
            said += [*consent_words.show_lines(consent), consent_words.status_line(consent)]
            if (change := plan_change(consent, after)) is not None:
                said += consent_words.plan_lines(change)
    text = "\n".join(said).lower()
    assert [word for word in INSIDE_WORDS if word in text] == []
    assert "none automatically" in text
    assert "by itself nothing happens" in text


def test_every_choice_changes_the_words() -> None:
    off = set(consent_words.choice_lines(EVERYTHING_OFF))
    assert len(set(consent_words.choice_lines(ALL)) - off) == len(off)
    for kind in AgencyKind:
        one = Choices(agency_requests=Requests.ASK, agency_kinds=(kind,))
        assert len(set(consent_words.choice_lines(one)) - off) == 1
        assert len(set(consent_words.choice_lines(one)) - set(consent_words.choice_lines(ALL))) >= 1


def test_show_says_that_everything_is_off_and_that_nobody_can_ask_today(
    typed: Type, household: Household
) -> None:
    del household
    ended = typed("consent", "show")
    assert ended.code == 0
    for words in (
        "Nobody outside your household can watch your door.",
        "Questions from agencies: off",
        "Your name: never told",
        "nobody learns whether you looked",
        "since your household was founded",
        "Today nobody can ask you anything",
    ):
        assert words in ended.out
    assert json.loads(typed("consent", "show", "--json").out) == {
        "in_force": EVERYTHING_OFF.model_dump(mode="json"),
        "version": 0,
        "since": None,
        "waiting": None,
        "stop": None,
    }


def test_set_shows_before_and_after_and_signs(typed: Type, household: Household) -> None:
    ended = typed("consent", "set", *ASK_FIRE, "--yes")
    assert ended.code == 0, ended.err
    assert "Questions from agencies: now off; then from fire services" in ended.err
    assert "loosens what holds" in ended.err
    assert "at once" in ended.err
    assert read_consent(household).in_force == FIRE
    tightened = typed("consent", "set", "--agency-requests", "off", "--yes")
    assert "This tightens what holds. It holds at once." in tightened.err
    assert read_consent(household).in_force.agency_requests is Requests.OFF
    again = typed("consent", "set", "--agency-requests", "off", "--yes")
    assert (again.code, len(read_consent(household).policies)) == (0, 2)
    assert "nothing was signed" in again.err


def test_the_order_of_kinds_does_not_matter(typed: Type, household: Household) -> None:
    for kinds in ("fire,police", "police, fire"):
        assert typed("consent", "set", "--agency-kinds", kinds, "--yes").code == 0
    assert len(read_consent(household).policies) == 1


def test_what_waits_is_told_by_status_with_the_command_that_stops_it(
    typed: Type, two: Household
) -> None:
    ended = typed("consent", "set", *ASK_FIRE, "--show-my-name", "ask", "--yes")
    assert ended.code == 0, ended.err
    assert "Signed by you alone" in ended.err
    status = typed("status")
    assert "Waits until" in status.out
    assert "now off; then from fire services" in status.out
    stop = json.loads(typed("status", "--json").out)["consent"]["stop"]
    assert f"To stop it, any owner types: {stop}" in status.out
    assert typed("consent", "show").out.count("Waits until") == 1
    stopped = typed(*stop.split()[1:], "--yes")
    assert (stopped.code, "What waits will not come." in stopped.err) == (0, True)
    found = read_consent(two)
    assert (found.in_force, found.waiting) == (TWO, None)
    assert "Waits" not in typed("status").out


def test_status_says_in_one_line_what_holds(typed: Type, household: Household) -> None:
    assert "No question of an agency is shown to you" in typed("status").out
    choose(household, FIRE)
    out = typed("status").out
    assert "Questions are shown to you (from fire services" in out
    assert json.loads(typed("status", "--json").out)["consent"]["version"] == 1


def test_what_tightens_and_loosens_at_once_waits_and_says_so(
    typed: Type, two: Household, service: Stage
) -> None:
    choose(two, Choices(owners_needed=2, emergency_requests=Requests.ASK))
    service.clock.at_ms += NOTICE_MS
    ended = typed("consent", "set", *ASK_FIRE, "--emergency-requests", "off", "--yes")
    assert "What it tightens waits with it" in ended.err


def test_without_a_terminal_nothing_is_signed_unless_it_was_agreed(
    typed: Type, household: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    ended = typed("consent", "set", *ASK_FIRE)
    assert ended.code == 1
    assert "--yes" in ended.err
    assert read_consent(household).policies == ()


class Terminal(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1)])
def test_on_a_terminal_it_asks_once(
    typed: Type, household: Household, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    ended = typed("consent", "set", *ASK_FIRE)
    assert (ended.code, ended.err.count("Sign this?")) == (code, 1)
    assert len(read_consent(household).policies) == 1 - code


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "nothing to set"),
        (("--agency-kinds", "police,army"), 2, "army"),
        (("--agency-requests", "always"), 2, "always"),
        (("--owners-needed", "3"), 2, "--owners-needed"),
        (("--owners-needed", "2", "--yes"), 1, "has one owner"),
        (("--agency-requests", "ask", "--yes"), 1, "from nobody"),
    ],
)
def test_what_cannot_be_set_is_told_and_nothing_is_signed(
    typed: Type, household: Household, words: tuple[str, ...], code: int, said: str
) -> None:
    ended = typed("consent", "set", *words)
    assert (ended.code, said in ended.err) == (code, True), ended.err
    assert read_consent(household).policies == ()


def test_a_service_that_lies_about_consent_is_told_in_three_lines(
    typed: Type, household: Household, line: Line
) -> None:
    choose(household, FIRE)
    line.mangle = saying(lambda _shown: [])
    for words in (("consent", "show"), ("consent", "set", "--agency-requests", "off"), ("status",)):
        ended = typed(*words)
        assert (ended.code, ended.out) == (1, "")
        fact, safe, do = ended.err.strip().splitlines()
        assert "withheld" in fact
        assert safe.startswith("Nothing of it was believed.")
        assert do.startswith("Do: doorstep status")


@pytest.mark.parametrize("answer", [[], {}, {"policies": None}, {"policies": [7]}, "x", None])
def test_what_is_no_list_of_versions_is_told(
    typed: Type, household: Household, line: Line, answer: object
) -> None:
    del household
    line.mangle = lambda request, ask: (
        httpx.Response(200, json=answer) if request.url.path == PATH else ask(request)
    )
    assert typed("consent", "show").code == 1


def test_a_clock_that_is_off_is_told_with_what_to_do(
    typed: Type, household: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("doorstep_client.consent.now_ms", lambda: NOW_MS + HOUR_MS)
    ended = typed("consent", "set", *ASK_FIRE, "--yes")
    assert ended.code == 1
    assert "after the service's time" in ended.err
    assert "Do: Set the clock" in ended.err
    assert read_consent(household).policies == ()
