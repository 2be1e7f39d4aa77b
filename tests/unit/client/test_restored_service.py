"""A service that was put back from a backup gets the household's history from its computers."""

import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from sqlalchemy import delete

from doorstep_client.errors import LostStepsError
from doorstep_client.home import Home
from doorstep_client.household import Household
from doorstep_cloud.households.tables import StatementRow
from doorstep_shared.statements import ForkedChainError, Statement, sign_statement
from tests.cast import Stage
from tests.people import doorbell
from tests.unit.client.conftest import Line, Type

BELLS = [doorbell(name).device for name in ("front", "back", "side")]


def listing(count: int) -> Callable[[Statement], Statement]:
    return lambda now: now.model_copy(update={"devices": tuple(BELLS[:count])})


def forget(service: Stage, seq: int) -> None:
    """Let the service's main database be as it was before statement ``seq``."""
    with service.databases.write() as unit:
        unit.main.execute(delete(StatementRow).where(StatementRow.seq >= seq))
        unit.commit()


def grown(household: Household) -> None:
    for count in (1, 2, 3):
        household.change(listing(count))


def test_status_gives_back_what_the_service_lost_and_says_so(
    typed: Type, household: Household, service: Stage, line: Line
) -> None:
    grown(household)
    forget(service, 2)
    line.asked.clear()
    ended = typed("status")
    assert ended.code == 0, ended.err
    assert "had lost the last 2 steps" in ended.err
    assert "its history of 4 signed steps holds" in ended.out
    assert line.asked.count("POST /v1/statements") == 2
    again = typed("status")
    assert again.err == ""
    assert line.asked.count("POST /v1/statements") == 2


def test_a_change_goes_on_top_of_what_was_given_back(
    household: Household, home: Home, service: Stage
) -> None:
    for count in (1, 2):
        household.change(listing(count))
    forget(service, 1)
    told: list[str] = []
    with Household(home, tell=told.append) as asking:
        assert asking.change(listing(3)).statement.seq == 3
    assert len(told) == 1


def test_a_computer_that_knows_less_than_the_service_gives_nothing(
    household: Household, home: Home, line: Line
) -> None:
    grown(household)
    home.save_chain(home.chain()[:2])
    line.asked.clear()
    assert household.give_back() == 0
    assert "POST /v1/statements" not in line.asked


def test_another_history_is_an_alarm_and_gets_nothing(
    household: Household, home: Home, service: Stage, tmp_path: Path, line: Line
) -> None:
    household.change(listing(1))
    shutil.copytree(home.folder, tmp_path / "other")
    with Household(Home(tmp_path / "other")) as other:
        other.change(listing(2))
    # The service forgets, and is told something else first.
    forget(service, 1)
    first = home.chain()[0]
    fork = Statement.model_validate_json(first.body).model_copy(
        update={"seq": 1, "prev": first.body_hash, "devices": (BELLS[2],)}
    )
    signed = sign_statement(fork, home.keys().sign)
    household.ask(lambda asked: asked.post_signed("/v1/statements", signed))
    line.asked.clear()
    with Household(Home(tmp_path / "other")) as other, pytest.raises(ForkedChainError):
        other.give_back()
    assert "POST /v1/statements" not in line.asked


def test_a_service_that_takes_nothing_back_is_told_of(
    household: Household, service: Stage, line: Line, typed: Type
) -> None:
    grown(household)
    forget(service, 2)

    def refuse(
        request: httpx.Request, ask: Callable[[httpx.Request], httpx.Response]
    ) -> httpx.Response:
        if request.method == "POST" and request.url.path == "/v1/statements":
            return httpx.Response(409, json={"title": "no", "detail": "", "do": ""})
        return ask(request)

    line.mangle = refuse
    with pytest.raises(LostStepsError, match=r"steps 2 to 3 .* step 2 back: no"):
        household.give_back()
    ended = typed("status")
    assert ended.code == 1
    assert "This computer and your doorbells know them" in ended.err
