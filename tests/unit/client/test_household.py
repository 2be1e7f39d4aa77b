"""The household on its owner's computer: founded, signed in, grown, and believed link by link."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import httpx
import pytest

from doorstep_client.errors import (
    ConflictError,
    NoHouseholdError,
    ServiceUnreachableError,
    SignedOutError,
    WithheldError,
)
from doorstep_client.home import Home
from doorstep_client.household import ATTEMPTS, Household, found
from doorstep_shared.errors import BadMessageError, DoorstepError, RefusedError
from doorstep_shared.statements import Statement, sign_statement
from tests.cast import PUBLIC_URL, Stage
from tests.people import doorbell, random_from
from tests.unit.client.conftest import Line, Mangle

Ask = Callable[[httpx.Request], httpx.Response]


SIDE_DOOR = doorbell("side").device


def with_side_door(now: Statement) -> Statement:
    if now.device(SIDE_DOOR.id):
        return now
    return now.model_copy(update={"devices": (*now.devices, SIDE_DOOR)})


def test_founding_keeps_keys_root_and_chain_at_home(household: Household, home: Home) -> None:
    account = home.account()
    assert account.url == PUBLIC_URL
    (statement,) = home.chain()
    assert statement.body_hash.hex() == account.root
    assert set(household.epochs()) == {1}
    assert home.founding() is None


def test_a_wrong_invitation_founds_nothing_and_the_right_one_goes_on(
    service: Stage, line: Line, home: Home
) -> None:
    del line
    with pytest.raises(RefusedError):
        found(home, PUBLIC_URL, "dst_inv_wrong", random_from("owner"))
    assert not home.has_account()
    drawn = home.founding()
    assert drawn is not None
    found(home, PUBLIC_URL, service.invite(), random_from("other"))
    assert home.chain() == (drawn.statement,)


def test_founding_again_after_a_lost_answer_founds_the_same_household(
    service: Stage, line: Line, home: Home
) -> None:
    def lose_the_answer(request: httpx.Request, ask: Ask) -> httpx.Response:
        ask(request)
        raise httpx.ReadError("the line broke")

    invite = service.invite()
    line.mangle = lose_the_answer
    with pytest.raises(ServiceUnreachableError):
        found(home, PUBLIC_URL, invite, random_from("owner"))
    line.mangle = None
    account = found(home, PUBLIC_URL, invite, random_from("owner"))
    drawn = home.chain()[0]
    assert account.root == drawn.body_hash.hex()


def test_a_lost_session_is_renewed_without_a_word(household: Household, home: Home) -> None:
    household.chain()
    home.save_session("dst_ses_of_another_time")
    with Household(home) as again:
        assert again.chain() == household.chain()
    assert home.session() != "dst_ses_of_another_time"


def test_a_key_the_service_does_not_know_stays_signed_out(
    household: Household, home: Home, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = Home(tmp_path_factory.mktemp("stranger"))
    stranger.keys_or_new(random_from("stranger"))
    stranger.save_account(home.account())
    with Household(stranger) as asking, pytest.raises(SignedOutError):
        asking.chain()
    household.chain()


def test_without_a_household_nothing_is_asked(home: Home, line: Line) -> None:
    with pytest.raises(NoHouseholdError):
        Household(home)
    assert line.asked == []


def test_a_change_is_signed_stored_and_followed(household: Household, home: Home) -> None:
    head = household.change(with_side_door)
    assert head.statement.seq == 1
    assert head.statement.devices == (SIDE_DOOR,)
    assert len(home.chain()) == 2
    assert household.change(with_side_door) == head


def test_a_change_waits_for_anothers(household: Household, service: Stage, home: Home) -> None:
    """Another computer of the owner's was quicker: its change comes first, ours on top."""
    other = sign_statement(
        household.chain().head.statement.model_copy(
            update={
                "seq": 1,
                "prev": household.chain().head.signed.body_hash,
                "devices": (doorbell("back").device,),
            }
        ),
        home.keys().sign,
    )
    pushed = False

    def edit(now: Statement) -> Statement:
        nonlocal pushed
        if not pushed:
            pushed = True
            household.ask(lambda asked: asked.post_signed("/v1/statements", other))
        return with_side_door(now)

    head = household.change(edit)
    assert head.statement.seq == 2
    assert head.statement.devices == (doorbell("back").device, SIDE_DOOR)
    assert service.told[-1] == head.household


def test_a_change_that_never_comes_first_is_given_up(household: Household, line: Line) -> None:
    def always_late(request: httpx.Request, ask: Ask) -> httpx.Response:
        if request.method == "POST" and request.url.path == "/v1/statements":
            return httpx.Response(409, json={"title": "late", "detail": "somebody was first"})
        return ask(request)

    line.mangle = always_late
    with pytest.raises(ConflictError):
        household.change(with_side_door)
    assert line.asked.count("POST /v1/statements") == ATTEMPTS


def test_a_change_that_is_taken_and_not_shown_is_signed_once_and_told(
    household: Household, line: Line
) -> None:
    def withhold(request: httpx.Request, ask: Ask) -> httpx.Response:
        if request.method == "GET" and request.url.path == "/v1/statements":
            return httpx.Response(200, json={"statements": []})
        return ask(request)

    line.mangle = withhold
    with pytest.raises(WithheldError):
        household.change(with_side_door)
    assert line.asked.count("POST /v1/statements") == 1


def test_a_chain_of_many_pages_is_followed_to_its_end(
    household: Household, line: Line, home: Home
) -> None:
    for number in range(5):
        devices = tuple(doorbell(f"door {i}").device for i in range(number + 1))
        household.change(partial(Statement.model_copy, update={"devices": devices}))

    def two_at_a_time(request: httpx.Request, ask: Ask) -> httpx.Response:
        answer = ask(request)
        if request.method == "GET" and request.url.path == "/v1/statements":
            answer.read()
            return httpx.Response(200, json={"statements": answer.json()["statements"][:2]})
        return answer

    home.save_chain(home.chain()[:1])
    line.mangle = two_at_a_time
    assert household.chain().head.statement.seq == 5
    assert len(home.chain()) == 6


def test_a_claim_names_this_service_and_this_household(
    household: Household, home: Home, service: Stage
) -> None:
    claim = household.make_claim(random_from("claim"))
    assert claim.root.hex() == home.account().root
    assert claim.url == PUBLIC_URL
    assert household.answer_to(claim) is None
    assert household.pending_claims() == [claim]
    enrolled = service.enrol(doorbell("front"), claim)
    device = household.answer_to(claim)
    assert device == enrolled.device
    head = household.list_device(device, claim)
    assert head.statement.devices == (device,)
    assert household.pending_claims() == []


def answering(path: str, answer: object) -> Mangle:
    """Return a service that answers ``path`` oddly."""
    return lambda request, ask: (
        httpx.Response(200 if request.method == "GET" else 201, json=answer)
        if request.url.path == path
        else ask(request)
    )


def test_a_service_that_names_no_ca_gets_no_claim(household: Household, line: Line) -> None:
    for ca in (None, 7, "", "AAAA", "*"):
        line.mangle = answering("/v1/claims", {"ca_sha256": ca})
        with pytest.raises(BadMessageError):
            household.make_claim(random_from("claim"))
    assert household.pending_claims() == []


def test_what_is_no_chain_is_none(household: Household, line: Line) -> None:
    answers: tuple[object, ...] = ([], {}, {"statements": None}, {"statements": [7]}, "x", None)
    for answer in answers:
        line.mangle = answering("/v1/statements", answer)
        with pytest.raises(DoorstepError):
            household.chain()


LONG = ({"server_nonce": "A" * 50_000, "token": "t" * 50_000}, {"token": "caf\xe9\n"})


def test_a_sign_in_that_is_answered_oddly_fails_in_words(household: Household, line: Line) -> None:
    answers: tuple[object, ...] = ([], {}, {"server_nonce": 7, "token": 7}, None, *LONG)
    for path in ("/v1/sign-in/challenge", "/v1/sessions"):
        for answer in answers:
            line.mangle = answering(path, answer)
            with pytest.raises(DoorstepError):
                household.sign_in()


def test_a_moved_service_is_not_the_one_that_was_signed_for(
    household: Household, home: Home
) -> None:
    home.save_account(replace(home.account(), url="http://127.0.0.1:9999"))
    with Household(home) as moved, pytest.raises(RefusedError):
        moved.sign_in()
    household.chain()
