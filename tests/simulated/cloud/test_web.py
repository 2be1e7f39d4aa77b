"""What is common to all of HTTP: problems, limits, headers, health, the page, the description."""

import json
import re
import socket
import threading
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from doorstep_cloud.access.attempts import MAX_PER_WINDOW
from doorstep_cloud.store.errors import ConflictError, DatabaseUnavailableError, TooOftenError
from doorstep_cloud.store.objects import ObjectStoreError, connect_objects
from doorstep_cloud.web.health import Probes
from doorstep_cloud.web.limits import MAX_BODY_BYTES
from doorstep_cloud.web.problems import install_problems
from doorstep_cloud.web.words import TAKES
from doorstep_shared.consent import BrokenPolicyError
from doorstep_shared.errors import (
    BadMessageError,
    DoorstepError,
    RefusedError,
    TryLaterError,
)
from doorstep_shared.statements import BrokenChainError, ForkedChainError
from tests.cast import PUBLIC_URL, Stage
from tests.people import OWNER

PROBLEM = "application/problem+json"
CHALLENGE = "/v1/sign-in/challenge"


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (BadMessageError("x"), 400, "bad-message"),
        (RefusedError("x"), 403, "refused"),
        (ConflictError("x"), 409, "conflict"),
        (BrokenChainError("x"), 409, "broken-chain"),
        (ForkedChainError("x"), 409, "forked-chain"),
        (BrokenPolicyError("x"), 409, "broken-policy"),
        (TryLaterError("x"), 503, "try-later"),
        (DatabaseUnavailableError("x", after_s=1.2), 503, "database-unavailable"),
        (TooOftenError("x", after_s=30), 429, "too-often"),
        (DoorstepError("x"), 500, "doorstep"),
    ],
)
def test_each_family_of_errors_has_its_answer(error: DoorstepError, status: int, name: str) -> None:
    app = FastAPI()
    install_problems(app)

    @app.get("/")
    def fail() -> None:
        raise error

    with TestClient(app) as client:
        answer = client.get("/")
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == PROBLEM
    assert answer.json()["type"] == f"urn:doorstep:problem:{name}"
    retry = {"try-later": "2", "database-unavailable": "2", "too-often": "30"}.get(name)
    assert answer.headers.get("Retry-After") == retry


def test_a_problem_says_the_fact_what_is_safe_and_what_to_do() -> None:
    app = FastAPI()
    install_problems(app)

    @app.get("/")
    def fail() -> None:
        raise ConflictError("the fact", safe="What is safe.", do="the next command")

    with TestClient(app) as client:
        assert client.get("/").json() == {
            "type": "urn:doorstep:problem:conflict",
            "title": "the fact",
            "status": 409,
            "detail": "What is safe.",
            "do": "the next command",
        }


def test_a_mistake_of_ours_shows_nothing_of_our_inside() -> None:
    app = FastAPI()
    install_problems(app)

    @app.get("/")
    def fail() -> None:
        raise ZeroDivisionError("secret")

    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.get("/")
    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == PROBLEM
    assert "secret" not in answer.text
    assert "ZeroDivision" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("DELETE", "/v1/household", 405), ("GET", "/docs", 404)],
)
def test_an_address_that_is_none_is_a_problem_too(
    service: Stage, method: str, path: str, status: int
) -> None:
    answer = service.client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == PROBLEM


@pytest.mark.parametrize("path", ["/v1/statements?afer=1", "/healthz?x", "/v1/household?after=1"])
def test_an_unknown_parameter_is_refused_by_name(service: Stage, path: str) -> None:
    answer = service.client.get(path)
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:doorstep:problem:unknown-parameter"
    assert f"'{re.split('[?=]', path)[1]}'" in answer.json()["title"]


def test_a_parameter_with_a_wrong_value_is_refused_by_name(home: Stage) -> None:
    answer = home.client.get("/v1/statements?after=-1", headers=home.session(OWNER))
    assert answer.status_code == 400
    assert answer.json()["title"] == "`after` takes the number of the last one you have, 0 or more"
    assert "openapi" not in answer.json()["do"]


def test_what_every_parameter_takes_is_said_in_plain_words(service: Stage) -> None:
    paths = service.client.get("/openapi.json").json()["paths"]
    found = {
        (parameter["in"], parameter["name"].lower())
        for operations in paths.values()
        for operation in operations.values()
        for parameter in operation.get("parameters", ())
    }
    free = {("header", "range"), ("header", "if-range"), ("header", "if-none-match")}
    assert {where for where in TAKES if where[0] != "body"} == found - free


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("/v1/events?since=yesterday", "`since` takes a time like 2026-11-22T18:00:00Z"),
        ("/v1/clips?limit=0&kind=dog", "`kind` takes ring or motion; `limit` takes a number from"),
        ("/v1/clips/mine", "`clip` takes a clip's id, as in /v1/clips, or latest"),
        ("/v1/clips/latest/film.age", "`name` takes file, thumb or details"),
    ],
)
def test_a_wrong_value_is_answered_by_what_the_parameter_takes(
    home: Stage, path: str, title: str
) -> None:
    answer = home.client.get(path, headers=home.session(OWNER))
    assert answer.status_code == 400
    assert answer.json()["title"].startswith(title)


def test_what_is_missing_in_a_body_is_named(home: Stage) -> None:
    wish = {"scopes": [], "days": 1000}
    answer = home.client.post("/v1/tokens", json=wish, headers=home.session(OWNER))
    assert answer.status_code == 422
    assert answer.json()["title"].split("; ") == [
        "`name` is missing",
        "`scopes` takes a list of scopes such as events:read",
        "`days` takes a number from 1 to 90",
    ]


def test_a_key_of_the_wrong_length_is_told_without_a_pattern(home: Stage) -> None:
    asked = {"claim_id": "AAAA"}
    answer = home.client.post("/v1/claims", json=asked, headers=home.session(OWNER))
    assert answer.json()["title"] == "`claim_id` is not of the form it has here"


@pytest.mark.parametrize(
    ("method", "path", "command"),
    [
        ("GET", "/v1/clips/01890a5d-ac96-774b-bcce-b302099a8057", "doorstep clip list"),
        ("GET", "/v1/clips/latest", "doorstep clip list        (shows what is on its way)"),
        ("GET", "/v1/claims/AAAAAAAAAAAAAAAAAAAAAA", "doorstep device add"),
        ("DELETE", "/v1/tokens/0123456789abcdef", "doorstep token list"),
    ],
)
def test_who_asks_for_what_is_not_there_is_told_the_command_that_shows_what_is(
    home: Stage, method: str, path: str, command: str
) -> None:
    answer = home.client.request(method, path, headers=home.session(OWNER))
    assert (answer.status_code, answer.json()["do"]) == (404, command)


def test_an_unknown_field_is_refused_by_name_and_not_said_back(service: Stage) -> None:
    answer = service.client.post(CHALLENGE, json={"pasword": "hunter2"})
    assert answer.status_code == 422
    assert answer.json()["title"] == "`pasword` is not known here"
    assert "hunter2" not in answer.text


@pytest.mark.parametrize(
    ("body", "status", "name"),
    [
        (b"{", 400, "no-json"),
        (b"\xff", 400, "no-json"),
        (b'{"a": NaN}', 400, "no-json"),
        (b'{"a": 1, "a": 1}', 400, "no-json"),
        (b"[" * 100_000, 413, "too-long"),
        (b"[" * 50_000, 400, "no-json"),
        (b'{"a": ' * 9 + b"1" + b"}" * 9, 400, "too-deep"),
        (b"[" * 9 + b"]" * 9, 400, "too-deep"),
        (b" " * MAX_BODY_BYTES + b"{}", 413, "too-long"),
    ],
)
def test_a_body_has_bounds(service: Stage, body: bytes, status: int, name: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = service.client.post(CHALLENGE, content=body, headers=headers)
    assert answer.status_code == status
    assert answer.json()["type"] == f"urn:doorstep:problem:{name}"
    assert answer.headers["Content-Type"] == PROBLEM


@pytest.mark.parametrize("body", [b'{"a": ' * 8 + b"1" + b"}" * 8, b"[" * 8 + b"]" * 8])
def test_a_body_of_eight_levels_is_read(service: Stage, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    assert service.client.post(CHALLENGE, content=body, headers=headers).status_code == 422


def test_a_body_of_exactly_64_kib_is_read(service: Stage) -> None:
    body = b" " * (MAX_BODY_BYTES - 2) + b"{}"
    headers = {"Content-Type": "application/json"}
    assert service.client.post(CHALLENGE, content=body, headers=headers).status_code == 201


def test_a_body_that_hides_its_length_is_cut_off(service: Stage) -> None:
    pieces = (b" " * 1024 for _ in range(65))
    headers = {"Content-Type": "application/json"}
    assert service.client.post(CHALLENGE, content=pieces, headers=headers).status_code == 413


def test_a_compressed_body_is_refused(service: Stage) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    answer = service.client.post(CHALLENGE, content=b"\x1f\x8b", headers=headers)
    assert answer.status_code == 415


def test_strangers_may_ask_sixty_times_a_minute(service: Stage) -> None:
    answers = [service.client.post(CHALLENGE, json={}) for _ in range(MAX_PER_WINDOW + 1)]
    assert [a.status_code for a in answers] == [201] * MAX_PER_WINDOW + [429]
    wait_s = int(answers[-1].headers["Retry-After"])
    assert 0 < wait_s <= 60
    service.clock.at_ms += wait_s * 1000
    assert service.client.post(CHALLENGE, json={}).status_code == 201


def test_every_answer_carries_the_security_headers(service: Stage) -> None:
    for path in ("/", "/healthz", "/v1/household", "/nowhere", "/openapi.json"):
        headers = service.client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff", path
        assert headers["Referrer-Policy"] == "no-referrer", path
        assert "default-src 'none'" in headers["Content-Security-Policy"], path
        assert headers["Cache-Control"] == "no-store", path
        assert "server" not in headers, path


def test_the_page_loads_nothing_and_runs_nothing(service: Stage) -> None:
    answer = service.client.get("/")
    page = answer.text
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "script" not in page
    assert "src=" not in page
    assert re.findall(r"https?://", page) == []
    assert set(re.findall(r'href="([^"]+)"', page)) == {"/openapi.json", "/healthz", "/readyz"}
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src" not in policy
    assert "unsafe" not in policy


def test_every_link_of_the_page_leads_somewhere(service: Stage) -> None:
    for path in re.findall(r'href="([^"]+)"', service.client.get("/").text):
        assert service.client.get(path).status_code == 200


@pytest.mark.parametrize("is_well", [True, False])
def test_health_is_told_part_by_part(service: Stage, *, is_well: bool) -> None:
    def probe() -> None:
        if not is_well:
            raise TryLaterError("the <broker> is away")

    service.app.state.probes = Probes({"database": lambda: None, "broker": probe})
    answer = service.client.get("/readyz")
    page = service.client.get("/").text
    assert answer.status_code == (200 if is_well else 503)
    assert answer.json()["is_ready"] is is_well
    assert [part["name"] for part in answer.json()["parts"]] == ["database", "broker"]
    assert service.client.get("/healthz").json() == {"is_alive": True}
    assert ("<p>Yes.</p>" in page) is is_well
    assert ("the &lt;broker&gt; is away" in page) is not is_well


def test_strangers_do_not_make_the_service_ask_its_parts_again_and_again() -> None:
    asked: list[int] = []
    probes = Probes({"part": lambda: asked.append(1)})
    for _ in range(50):
        probes.ask()
    assert asked == [1]


def test_whoever_comes_while_a_part_hangs_gets_the_answer_before() -> None:
    hanging, go_on = threading.Event(), threading.Event()

    def probe() -> None:
        hanging.set()
        assert go_on.wait(20)

    probes = Probes({"part": probe})
    first = threading.Thread(target=probes.ask)
    first.start()
    assert hanging.wait(20)
    meanwhile = probes.ask()
    go_on.set()
    first.join(20)
    assert (meanwhile.is_ready, meanwhile.parts[0].fact) == (False, "not asked yet")
    assert probes.ask().is_ready


def test_a_store_that_takes_calls_and_says_nothing_is_found_out_soon() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = connect_objects(
            endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}",
            bucket="clips",
            access_key="a",
            secret_key="b",
            connections=1,
            answer_s=0.05,
        )
        with pytest.raises(ObjectStoreError):
            store.sha256_of("readyz")
        silent.settimeout(5)
        silent.accept()[0].close()
        silent.settimeout(0)  # It was asked once, and not again.
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_the_log_names_routes_and_never_ids_or_codes(home: Stage) -> None:
    session = home.session(OWNER)
    code = session["Authorization"].removeprefix("Bearer ")
    with capture_logs() as facts:
        home.client.get("/v1/claims/AAAAAAAAAAAAAAAAAAAAAA", headers=session)
        home.client.get("/v1/statements?after=3", headers=session)
        home.client.get("/secret-path-of-a-visitor", headers=session)
    assert [fact["event"] for fact in facts] == ["request_answered"] * 3
    assert facts[0]["route"] == "/v1/claims/{claim_id}"
    for secret in (code, "AAAAAAAA", "after=3", "secret-path", "testclient", "127.0.0.1"):
        assert secret not in str(facts)


def test_the_description_says_what_each_operation_does(service: Stage) -> None:
    described = service.client.get("/openapi.json").json()
    assert described["info"]["description"].startswith("The service of Doorstep")
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            assert operation["description"], (method, path)
            assert operation["tags"], (method, path)
            problem = operation["responses"]["4XX"]["content"]
            assert list(problem) == [PROBLEM], (method, path)


def test_the_description_asks_for_a_code_where_one_is_needed(service: Stage) -> None:
    paths = service.client.get("/openapi.json").json()["paths"]
    assert "security" in paths["/v1/household"]["get"]
    assert "security" not in paths["/v1/sessions"]["post"]
    assert PUBLIC_URL not in json.dumps(paths)


def test_what_is_read_from_the_app_is_what_was_put_there(service: Stage) -> None:
    """A wrongly composed app fails at the first request, loudly."""
    wrong: list[tuple[str, Callable[[], object]]] = [
        ("databases", lambda: service.client.get("/v1/household")),
        ("enroller", lambda: service.client.post("/v1/enrolments", json={})),
        ("probes", lambda: service.client.get("/readyz")),
    ]
    for name, ask in wrong:
        right = getattr(service.app.state, name)
        setattr(service.app.state, name, None)
        with pytest.raises(TypeError, match="composed without"):
            ask()
        setattr(service.app.state, name, right)
