"""Events over HTTP: the list, and the stream, under the real server."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

import httpx
import pytest
from sqlalchemy import delete, update

from doorstep_cloud.access.policy import Scope
from doorstep_cloud.events import routes
from doorstep_cloud.events.hub import Hub
from doorstep_cloud.events.rules import EventItem
from doorstep_cloud.events.service import record_event
from doorstep_cloud.events.tables import EventRow
from doorstep_cloud.households.tables import MemberRow, SessionRow, TokenRow
from doorstep_cloud.store.databases import Databases
from doorstep_shared.ids import HouseholdId
from doorstep_shared.manifest import ClipKind
from tests.cloud_world import URL, House, WebServer, app_over
from tests.people import DAY_MS, NOW_MS, doorbell, person
from tests.scripted_doorbell import make_event
from tests.services import store_nowhere, wait_until

FRONT = doorbell("front")
OWN = HouseholdId("h" * 26)


@pytest.fixture
def hub() -> Hub:
    return Hub(listeners_per_household=2)


@pytest.fixture
def web(databases: Databases, hub: Hub) -> Iterator[WebServer]:
    with WebServer(app_over(databases, store_nowhere(), hub), hub.close) as server:
        yield server


@pytest.fixture
def ring(databases: Databases, hub: Hub) -> Callable[[int], EventItem]:
    """Return what commits a ring and tells of it, as ingest does."""

    def happen(seed: int, household: HouseholdId = OWN) -> EventItem:
        with databases.write() as unit:
            item = record_event(
                unit,
                household,
                FRONT.device.id,
                ClipKind.RING,
                make_event(NOW_MS + seed, seed),
                now=NOW_MS + seed,
            )
            unit.commit()
        assert item is not None
        hub.tell(household, item)
        return item

    return happen


class Stream:
    """One open stream and the lines that came."""

    def __init__(self, answer: httpx.Response) -> None:
        self.status = answer.status_code
        self._lines = answer.iter_lines()

    def frame(self) -> dict[str, str]:
        """Return the next frame; comments are under the empty name."""
        found: dict[str, str] = {}
        for line in self._lines:
            if not line:
                return found
            name, _, value = line.partition(":")
            found[name] = value.strip()
        return found


@contextmanager
def listening(web: WebServer, token: str, last: str | None = None) -> Iterator[Stream]:
    headers = {"Authorization": f"Bearer {token}"} | ({"Last-Event-ID": last} if last else {})
    with httpx.stream("GET", f"{web.url}/v1/events/stream", headers=headers, timeout=20) as answer:
        yield Stream(answer)


def test_a_listener_hears_a_ring(
    web: WebServer, house: House, ring: Callable[[int], EventItem]
) -> None:
    with listening(web, house.token(Scope.EVENTS_READ)) as stream:
        assert stream.frame() == {"": "listening"}
        item = ring(1)
        frame = stream.frame()
    assert (frame["id"], frame["event"]) == (item.id, "ring")
    assert json.loads(frame["data"]) == {
        "id": item.id,
        "kind": "ring",
        "device": FRONT.device.id,
        "at": "2026-09-21T14:13:20.001Z",
        "received_at": "2026-09-21T14:13:20.001Z",
        "clock_synced": True,
        "alert": "now",
        "is_missed": False,
        "clip": None,
    }


def test_a_listener_that_comes_back_is_told_what_it_missed_first(
    web: WebServer, house: House, ring: Callable[[int], EventItem]
) -> None:
    items = [ring(seed) for seed in (1, 2, 3)]
    with listening(web, house.token(Scope.EVENTS_READ), last=items[0].id) as stream:
        stream.frame()
        assert [stream.frame()["id"] for _ in range(2)] == [items[1].id, items[2].id]
        fourth = ring(4)
        assert stream.frame()["id"] == fourth.id


def test_an_event_between_looking_back_and_listening_is_told_once(
    web: WebServer, house: House, ring: Callable[[int], EventItem]
) -> None:
    first = ring(1)
    missed = routes._missed
    meanwhile: list[EventItem] = []

    def with_a_ring_meanwhile(*args: object) -> object:
        meanwhile.append(ring(2))
        return missed(*args)  # type: ignore[arg-type]  # passed on as they came

    with (
        patch.object(routes, "_missed", with_a_ring_meanwhile),
        listening(web, house.token(Scope.EVENTS_READ), last=first.id) as stream,
    ):
        stream.frame()
        assert stream.frame()["id"] == meanwhile[0].id
        third = ring(3)
        assert stream.frame()["id"] == third.id


def test_silence_is_filled_with_comments(web: WebServer, house: House) -> None:
    with (
        patch.object(routes, "COMMENT_S", 0.02),
        listening(web, house.token(Scope.EVENTS_READ)) as stream,
    ):
        assert [stream.frame() for _ in range(3)] == [{"": "listening"}, {"": ""}, {"": ""}]


def test_a_line_on_which_much_happens_is_asked_about_all_the_same(
    web: WebServer,
    house: House,
    databases: Databases,
    hub: Hub,
    ring: Callable[[int], EventItem],
) -> None:
    item = ring(1)
    with (
        patch.object(routes, "COMMENT_S", 0.3),
        listening(web, house.token(Scope.EVENTS_READ)) as stream,
    ):
        stream.frame()
        with databases.write() as unit:
            unit.main.execute(delete(MemberRow))
            unit.commit()

        def ended() -> bool:
            hub.tell(OWN, item)
            return stream.frame() == {}

        wait_until(ended, what="the end of the line")


def test_a_line_ends_soon_after_its_member_goes(
    web: WebServer, house: House, databases: Databases
) -> None:
    with (
        patch.object(routes, "COMMENT_S", 0.02),
        listening(web, house.token(Scope.EVENTS_READ)) as stream,
    ):
        stream.frame()
        with databases.write() as unit:
            unit.main.execute(delete(MemberRow))
            unit.commit()
        wait_until(lambda: stream.frame() == {}, what="the end of the line")


@pytest.mark.parametrize("table", [TokenRow, SessionRow])
def test_a_line_ends_soon_after_its_token_is_revoked_or_its_session_ended(
    web: WebServer, house: House, databases: Databases, table: type[TokenRow] | type[SessionRow]
) -> None:
    code = house.token(Scope.EVENTS_READ) if table is TokenRow else house.session()
    with patch.object(routes, "COMMENT_S", 0.02), listening(web, code) as stream:
        assert [stream.frame() for _ in range(2)] == [{"": "listening"}, {"": ""}]
        with databases.write() as unit:
            unit.main.execute(delete(table))
            unit.commit()
        wait_until(lambda: stream.frame() == {}, what="the end of the line")


def test_a_line_ends_when_its_token_would_have(
    house: House, databases: Databases, hub: Hub
) -> None:
    now = [NOW_MS]
    app = app_over(databases, store_nowhere(), hub, clock=lambda: now[0])
    with (
        patch.object(routes, "COMMENT_S", 0.02),
        WebServer(app, hub.close) as web,
        listening(web, house.token(Scope.EVENTS_READ)) as stream,
    ):
        assert [stream.frame() for _ in range(2)] == [{"": "listening"}, {"": ""}]
        now[0] += 90 * DAY_MS
        wait_until(lambda: stream.frame() == {}, what="the end of the line")


def test_nobody_and_a_token_for_something_else_hear_nothing(web: WebServer, house: House) -> None:
    with listening(web, "dst_pat_nobody") as stream:
        assert stream.status == 401
    with listening(web, house.token(Scope.CLIPS_READ)) as stream:
        assert stream.status == 403


def test_a_neighbours_ring_is_not_heard(
    web: WebServer, house: House, databases: Databases, ring: Callable[[int], EventItem], hub: Hub
) -> None:
    neighbour = House(databases, person("neighbour"), HouseholdId("n" * 26))
    with listening(web, neighbour.token(Scope.EVENTS_READ)) as stream:
        stream.frame()
        ours = ring(1)
        hub.tell(neighbour.id, replace(ours, id=make_event(NOW_MS, 9).event))
        assert stream.frame()["id"] == make_event(NOW_MS, 9).event
    assert house.id != neighbour.id


def test_too_many_listeners_are_asked_to_come_back(web: WebServer, house: House) -> None:
    token = house.token(Scope.EVENTS_READ)
    with listening(web, token) as first, listening(web, token) as second:
        assert (first.status, second.status) == (200, 200)
        with listening(web, token) as third:
            assert third.status == 503

    def may_listen_again() -> bool:
        with listening(web, token) as stream:
            return stream.status == 200

    # Their places are free once the server has seen them go.
    wait_until(may_listen_again, what="a free place")


def test_events_are_listed_with_where_to_go_on(
    web: WebServer, house: House, ring: Callable[[int], EventItem]
) -> None:
    items = [ring(seed) for seed in (1, 2, 3)]
    headers = {"Authorization": f"Bearer {house.token(Scope.EVENTS_READ)}"}
    page = httpx.get(f"{web.url}/v1/events?limit=2&kind=ring", headers=headers)
    body = page.json()
    assert [item["id"] for item in body["items"]] == [items[2].id, items[1].id]
    assert page.headers["link"] == f'<{body["next"]}>; rel="next"'
    rest = httpx.get(body["next"].replace(URL, web.url), headers=headers).json()
    assert [item["id"] for item in rest["items"]] == [items[0].id]
    assert rest["next"] is None


def test_an_event_taken_before_times_had_bounds_spoils_no_list_and_no_stream(
    web: WebServer, house: House, ring: Callable[[int], EventItem], databases: Databases
) -> None:
    heard, wild, later = ring(1), ring(2), ring(3)
    with databases.write() as unit:
        unit.main.execute(update(EventRow).where(EventRow.id == wild.id).values(at_ms=2**53 - 1))
        unit.commit()
    token = house.token(Scope.EVENTS_READ)
    headers = {"Authorization": f"Bearer {token}"}
    page = httpx.get(f"{web.url}/v1/events", headers=headers)
    assert page.status_code == 200
    found = page.json()["items"]
    assert [item["id"] for item in found] == [wild.id, later.id, heard.id]
    assert found[0]["at"] == "9998-12-31T23:59:59.999Z"
    with listening(web, token, heard.id) as stream:
        assert stream.frame() == {"": "listening"}
        assert [stream.frame()["id"] for _ in range(2)] == [wild.id, later.id]


def test_a_list_is_nobodys_without_a_token(web: WebServer) -> None:
    assert httpx.get(f"{web.url}/v1/events").status_code == 401
