"""Every route by every actor: who gets past the policy, and what all others are told.

What is expected stands in one table. A route that is in no row of it fails, hidden
ones and those of the admin socket too, so that no later route is forgotten. What the
walk asks for is undone: each request finds the service as it was.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import httpx
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from doorstep_cloud.access.attempts import Attempts
from doorstep_cloud.access.policy import Scope
from doorstep_cloud.app import running
from doorstep_cloud.app.admin import create_admin_app
from doorstep_cloud.clips.tables import ClipObjectRow, ClipRow, EnvelopeRow
from doorstep_cloud.events.hub import Hub
from doorstep_cloud.households.keyring import MAX_CHANGE_BYTES
from doorstep_cloud.store.databases import Unit
from doorstep_shared.consent import EVERYTHING_OFF, ConsentPolicy, sign_policy
from doorstep_shared.encoding import to_base64url
from doorstep_shared.ids import HouseholdId
from doorstep_shared.signing import Signed
from doorstep_shared.statements import sign_statement
from tests.cast import FOREIGN, OWN, STRANGER, VIEWER, Stage, as_json, keyring_files, stage
from tests.orders import delete_order
from tests.people import (
    DAY_MS,
    FRONT_DOOR,
    NOW_MS,
    OWNER,
    doorbell,
    epoch,
    first_statement,
    person,
    random_from,
)

Headers = Mapping[str, str]

PROBLEM: Final = "application/problem+json"
CLIP: Final = "0190a1b2-c3d4-7000-8000-00000000000c"
DOOMED: Final = "0190a1b2-c3d4-7000-8000-00000000000e"
GONE: Final = person("gone")
LONG_AGO_MS: Final = 100 * DAY_MS
"""Longer than any session or token lasts."""


class Who(Enum):
    """Whose role reaches a route."""

    ANYBODY = "who needs no session: it shows nothing of a household, or brings its own secret"
    ALL = "owners and viewers"
    OWNERS = "owners"


@dataclass(frozen=True, slots=True)
class Row:
    """What a route answers.

    Attributes:
        status: To whom it is open, on a request that is as it should be.
        scope: What a token needs; None when no token suffices.
        is_callers: The id is looked for among the caller's own things only.
    """

    who: Who
    status: int
    scope: Scope | None = None
    is_callers: bool = False


TABLE: Final[Mapping[str, Row]] = {
    "GET /": Row(Who.ANYBODY, 200),
    "GET /healthz": Row(Who.ANYBODY, 200),
    "GET /readyz": Row(Who.ANYBODY, 200),
    "GET /metrics": Row(Who.ANYBODY, 404),  # to whom is not on this machine it is no address
    "GET /openapi.json": Row(Who.ANYBODY, 200),
    "HEAD /openapi.json": Row(Who.ANYBODY, 200),
    "GET /v1/access-rules.json": Row(Who.ANYBODY, 200),
    "POST /v1/households": Row(Who.ANYBODY, 403),  # the invite decides, and this is none
    "POST /v1/sign-in/challenge": Row(Who.ANYBODY, 201),
    "POST /v1/sessions": Row(Who.ANYBODY, 400),  # the signature decides, and this is none
    "POST /v1/enrolments": Row(Who.ANYBODY, 400),  # the claim's secret decides: not even a key
    "GET /v1/household": Row(Who.ALL, 200),
    "GET /v1/household/settings": Row(Who.ALL, 200),
    "PUT /v1/household/settings": Row(Who.OWNERS, 200),
    "GET /v1/statements": Row(Who.ALL, 200),
    "POST /v1/statements": Row(Who.OWNERS, 201),
    "GET /v1/keyring.age": Row(Who.ALL, 200, Scope.KEYRING_READ),
    "PUT /v1/keyring.age": Row(Who.OWNERS, 200),
    "GET /v1/consent-policy": Row(Who.ALL, 200),
    "PUT /v1/consent-policy": Row(Who.OWNERS, 200),
    "GET /v1/tokens": Row(Who.OWNERS, 200),
    "POST /v1/tokens": Row(Who.OWNERS, 201),
    "DELETE /v1/tokens/{token_id}": Row(Who.OWNERS, 204, is_callers=True),
    "POST /v1/claims": Row(Who.OWNERS, 201, Scope.DEVICES_WRITE),
    "GET /v1/claims/{claim_id}": Row(Who.OWNERS, 200, Scope.DEVICES_WRITE),
    "GET /v1/devices": Row(Who.ALL, 200, Scope.DEVICES_WRITE),
    "GET /v1/devices/{device}/commands": Row(Who.ALL, 200),
    "POST /v1/devices/{device}/commands": Row(Who.OWNERS, 201),
    "GET /v1/events": Row(Who.ALL, 200, Scope.EVENTS_READ),
    # Whoever may listen is told that too many do, so that no stream stays open.
    "GET /v1/events/stream": Row(Who.ALL, 503, Scope.EVENTS_READ),
    "GET /v1/clips": Row(Who.ALL, 200, Scope.CLIPS_READ),
    "GET /v1/clips/{clip}": Row(Who.ALL, 200, Scope.CLIPS_READ),
    "DELETE /v1/clips/{clip}": Row(Who.OWNERS, 200, Scope.CLIPS_DELETE),
    "GET /v1/clips/{clip}/manifest": Row(Who.ALL, 200, Scope.CLIPS_READ),
    # The store of this walk is away, which only those hear who may have it.
    "GET /v1/clips/{clip}/{name}.age": Row(Who.ALL, 503, Scope.CLIPS_READ),
    "HEAD /v1/clips/{clip}/{name}.age": Row(Who.ALL, 200, Scope.CLIPS_READ),
}

HIDDEN: Final = {"GET /openapi.json", "HEAD /openapi.json", "HEAD /v1/clips/{clip}/{name}.age"}
"""Not in the OpenAPI."""

FOR_GOOD: Final = "DELETE /v1/clips/{clip}"
"""Cannot be undone, but asked again: it deletes a clip that is there for that, and ever again."""

ADMIN: Final = {"POST /invites", "GET /check", "POST /sweep", "POST /backups"}
"""The admin socket's routes: its file's rights are the only ones, so nobody is told apart."""

NOBODIES: Final = (
    "anonymous",
    "doorbell",
    "nonsense",
    "another scheme",
    "removed member",
    "removed member's token",
    "expired session",
    "expired token",
)
MEMBERS: Final = ("owner", "viewer", "stranger")
TOKENS: Final[Mapping[str, frozenset[Scope]]] = {
    **{f"token of {scope}": frozenset({scope}) for scope in Scope},
    "token of all scopes": frozenset(Scope),
    "stranger's token": frozenset(Scope),
}
ELSEWHERE: Final = frozenset({"stranger", "stranger's token"})
EVERYBODY: Final = (*NOBODIES, *MEMBERS, *TOKENS)

# Of our household, and such as nobody has.
OURS: Final = "ours"
NONE: Final = "none"


def expected(operation: str, actor: str) -> int:
    """Return the status that the table gives ``actor``, who asks for what is ours if it has an id.

    Without an id everybody asks for what is their own household's.
    """
    row = TABLE[operation]
    if row.who is Who.ANYBODY:
        return row.status
    if actor in NOBODIES:
        return 401
    is_role = actor != "viewer" or row.who is Who.ALL
    is_scope = actor not in TOKENS or row.scope in TOKENS[actor]
    if "{" in operation and actor in ELSEWHERE and (is_scope or not row.is_callers):
        return 404
    return row.status if is_role and is_scope else 403


# ── the stage ───────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Walk:
    """A service with everything there is to ask for, and what each actor sends.

    Attributes:
        headers: Of each actor.
        ids: What stands in an address, of ours and of nobody.
        is_undone: Whether what is asked now will be undone.
    """

    service: Stage
    headers: dict[str, Headers]
    ids: dict[str, dict[str, str]]
    is_undone: bool = True

    def ask(self, operation: str, actor: str, whose: str = OURS) -> httpx.Response:
        """Return the answer to ``actor``."""
        method, template = operation.split(" ", 1)
        ids = self.ids[whose]
        self.is_undone = operation != FOR_GOOD
        if operation == FOR_GOOD and whose == OURS:
            ids = ids | {"clip": DOOMED}
        address = template.format_map(ids)
        body = self.body(operation, is_stranger=actor in ELSEWHERE)
        answer: httpx.Response = self.service.client.request(
            method, address, headers=dict(self.headers[actor]), json=body
        )
        return answer

    def body(self, operation: str, *, is_stranger: bool) -> object:
        """Return what does as asked if the actor may: signed by the household it is of."""
        who, household = (STRANGER, FOREIGN) if is_stranger else (OWNER, OWN)
        people = [STRANGER] if is_stranger else [OWNER, VIEWER]

        def statement(**changes: object) -> object:
            after = self.service.next_statement(household, **changes)
            return as_json(sign_statement(after, who.sign))

        def consent() -> object:
            signed = self.policy(household, is_stranger=is_stranger)
            return {
                "policy": as_json(signed),
                "statement": statement(policy_hash=signed.body_hash),
            }

        order = delete_order(until=NOW_MS, signer=who, household=household)
        bodies: dict[str, Callable[[], object]] = {
            "POST /v1/households": lambda: {
                "invite": "dst_inv_none",
                "statement": as_json(sign_statement(first_statement(who, household), who.sign)),
                "keyring": keyring_files(people),
            },
            "POST /v1/sign-in/challenge": dict,
            "POST /v1/sessions": lambda: {"signed": statement()},
            "POST /v1/enrolments": lambda: {
                "claim_id": to_base64url(bytes(16)),
                "device": FRONT_DOOR.device.id,
                "csr": "x",
                "manifest_key": to_base64url(FRONT_DOOR.device.manifest_key),
                "age_recipient": FRONT_DOOR.device.age_recipient,
                "mac": to_base64url(bytes(32)),
            },
            "PUT /v1/household/settings": lambda: {"retention_days": 30},
            "POST /v1/statements": statement,
            "PUT /v1/keyring.age": lambda: {
                "statement": statement(),
                "files": keyring_files(people),
            },
            "PUT /v1/consent-policy": consent,
            "POST /v1/tokens": lambda: {"name": "x", "scopes": ["events:read"], "days": 1},
            "POST /v1/claims": lambda: {"claim_id": to_base64url(random_from("new")(16))},
            "POST /v1/devices/{device}/commands": lambda: {"command": as_json(order)},
        }
        return bodies[operation]() if operation in bodies else None

    def policy(self, household: HouseholdId, *, is_stranger: bool) -> Signed:
        """Return the first version of a household's consent policy."""
        now = self.service.clock()
        policy = ConsentPolicy(
            **EVERYTHING_OFF.model_dump(),
            household=household,
            version=1,
            prev=None,
            at=now,
            in_force_at=now,
        )
        return sign_policy(policy, (STRANGER if is_stranger else OWNER).sign)


@pytest.fixture(scope="module")
def walk() -> Iterator[Walk]:
    """The walk's service; what is asked of it from here on is undone."""
    with stage() as service, pytest.MonkeyPatch.context() as patch:
        made = prepare(service)
        commit = Unit.commit

        def flush(unit: Unit) -> None:
            if not made.is_undone:
                commit(unit)
                return
            unit.vault.flush()
            unit.main.flush()

        patch.setattr(Unit, "commit", flush)
        yield made


def prepare(service: Stage) -> Walk:
    """Return a walk over a household that has everything there is to ask for."""
    service.app.state.attempts = Attempts(limit=100_000)
    service.clock.at_ms -= LONG_AGO_MS
    service.found(OWNER, OWN)
    service.found(STRANGER, FOREIGN)
    service.add_members(VIEWER, GONE)
    enrolled = service.enrol(FRONT_DOOR, service.claim("walk"))
    service.list_devices(enrolled.device)
    for clip in (CLIP, DOOMED):
        store_clip(service, clip)
    expired = {
        "expired session": service.session(OWNER),
        "expired token": service.token(OWNER, *Scope),
    }
    assert lets_in(service, expired.values())
    service.clock.at_ms += LONG_AGO_MS
    headers: dict[str, Headers] = {
        "anonymous": {},
        # A doorbell has a certificate for the broker and nothing for HTTP.
        "doorbell": {"Authorization": f"Bearer {FRONT_DOOR.device.id}"},
        "nonsense": {"Authorization": "Bearer dst_ses_" + "0" * 32},
        "another scheme": {"Authorization": "Basic b3duZXI6b3duZXI="},
        "removed member": service.session(GONE),
        "removed member's token": service.token(GONE, *Scope),
        **expired,
        "owner": service.session(OWNER),
        "viewer": service.session(VIEWER),
        "stranger": service.session(STRANGER),
        **{f"token of {scope}": service.token(OWNER, scope) for scope in Scope},
        "token of all scopes": service.token(OWNER, *Scope),
        "stranger's token": service.token(STRANGER, *Scope),
    }
    removed = [headers[name] for name in ("removed member", "removed member's token")]
    assert lets_in(service, removed)
    remove(service)
    tokens = service.client.get("/v1/tokens", headers=headers["owner"]).json()["items"]
    ours = {
        "claim_id": to_base64url(service.claims["walk"].claim_id),
        "token_id": tokens[0]["id"],
        "clip": CLIP,
        "device": FRONT_DOOR.device.id,
        "name": "file",
    }
    none = {
        "claim_id": to_base64url(bytes(16)),
        "token_id": "f" * 16,
        "clip": CLIP.replace("c", "d"),
        "device": doorbell("nobody's").device.id,
        "name": "file",
    }
    service.app.state.hub = Hub(listeners_per_household=0)
    return Walk(service, headers, {OURS: ours, NONE: none})


def lets_in(service: Stage, headers: Iterable[Headers]) -> bool:
    """Return whether everybody with these headers may list clips."""
    answers = [service.client.get("/v1/clips", headers=dict(one)) for one in headers]
    return {answer.status_code for answer in answers} == {200}


def remove(service: Stage) -> None:
    """Take `GONE` off the roster, who was signed in and had a token."""
    roster = (OWNER.member, VIEWER.member)
    signed = sign_statement(service.next_statement(roster=roster, epoch=epoch(2)), OWNER.sign)
    change = {"statement": as_json(signed), "files": keyring_files([OWNER, VIEWER])}
    answer = service.client.put("/v1/keyring.age", json=change, headers=service.session(OWNER))
    assert answer.status_code == 200, answer.text
    service._accept(signed)


def store_clip(service: Stage, name: str) -> None:
    """Write a stored clip of our household, without its payload."""
    clip = ClipRow(
        id=name,
        device=FRONT_DOOR.device.id,
        household=OWN,
        kind="ring",
        manifest=b"{}",
        manifest_sha256=bytes(32),
        seq=int(name[-1], 16),
        epoch=1,
        started_at_ms=NOW_MS,
        ended_at_ms=NOW_MS,
        pre_roll_ms=0,
        part=1,
        is_last=True,
        is_truncated=False,
        clock_synced=True,
        announced_at_ms=NOW_MS,
        stored_at_ms=NOW_MS,
        deleted_at_ms=None,
    )
    file = ClipObjectRow(
        clip=name,
        object="file",
        length=1,
        sha256=bytes(32),
        envelope_length=1,
        envelope_sha256=bytes(32),
        stored_at_ms=NOW_MS,
        receipt=b"{}",
    )
    envelope = EnvelopeRow(clip=name, object="file", envelope=b"x", written_at_ms=NOW_MS)
    with service.databases.write() as unit:
        unit.main.add(clip)
        unit.main.flush()
        unit.main.add(file)
        unit.vault.add(envelope)
        unit.commit()


def admin_app(service: Stage) -> FastAPI:
    """Return the admin app with every router that the running service gives it."""
    app = create_admin_app(service.databases, service.app.state.probes, "", service.clock)
    included = re.findall(r"admin_app\.include_router\((\w+)\.router\)", inspect.getsource(running))
    assert included
    for name in included:
        app.include_router(getattr(running, name).router)
    return app


def operations(routes: Iterable[Any]) -> Iterator[str]:
    """Yield every operation there is, in the OpenAPI or not."""
    for route in routes:
        if (inner := getattr(route, "original_router", None)) is not None:
            yield from operations(inner.routes)
        else:
            yield from (f"{method} {route.path}" for method in route.methods)


def assert_problem(answer: httpx.Response) -> None:
    """See the shape that every refusal has: the fact, what is safe, the next step."""
    assert answer.headers["Content-Type"] == PROBLEM, (answer.status_code, answer.text)
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "do"}
    assert problem["status"] == answer.status_code
    assert all(problem.values())


# ── the walk ────────────────────────────────────────────────────────────────────────────


def test_every_route_is_in_the_table(walk: Walk) -> None:
    there_are = set(operations(walk.service.app.routes))
    assert there_are == set(TABLE)
    paths = walk.service.client.get("/openapi.json").json()["paths"]
    named = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert there_are - named == HIDDEN


@pytest.mark.parametrize("operation", TABLE)
def test_everybody_gets_what_the_table_says(walk: Walk, operation: str) -> None:
    answers = {actor: walk.ask(operation, actor) for actor in EVERYBODY}
    found = {actor: answer.status_code for actor, answer in answers.items()}
    assert found == {actor: expected(operation, actor) for actor in EVERYBODY}
    for answer in answers.values():
        if answer.status_code >= 400 and not operation.startswith("HEAD "):
            assert_problem(answer)
        assert ("WWW-Authenticate" in answer.headers) is (answer.status_code == 401)


@pytest.mark.parametrize("operation", [name for name in TABLE if "{" in name])
def test_anothers_thing_answers_as_none_to_the_byte(walk: Walk, operation: str) -> None:
    for actor in (*ELSEWHERE, *NOBODIES):
        ours, none = walk.ask(operation, actor), walk.ask(operation, actor, NONE)
        assert said(ours) == said(none), actor
    # And whoever may have ours hears the same of what there is not.
    assert said(walk.ask(operation, "owner", NONE)) == said(walk.ask(operation, "stranger"))


def said(answer: httpx.Response) -> tuple[int, bytes, list[tuple[str, str]]]:
    """Return everything an answer says but when."""
    headers = [(name, value) for name, value in answer.headers.multi_items() if name != "date"]
    return answer.status_code, answer.content, headers


def test_nobody_is_sent_away_while_somebody_else_writes(walk: Walk) -> None:
    writing = [
        name
        for name, row in TABLE.items()
        if row.who is not Who.ANYBODY and not name.startswith("GET ")
    ]
    with walk.service.databases.write():
        answers = {name: walk.ask(name, "anonymous").status_code for name in writing}
    assert answers == dict.fromkeys(writing, 401)


def test_what_is_open_shows_nothing_of_a_household(walk: Walk) -> None:
    for operation, row in TABLE.items():
        if row.who is Who.ANYBODY:
            shown = walk.ask(operation, "stranger").text
            for secret in (OWNER.member.member, FRONT_DOOR.device.id, CLIP):
                assert secret not in shown, operation


@pytest.mark.parametrize(
    "code", ["", "dst_ses_", "dst_ses_" + "0" * 32, "dst_pat_" + "0" * 38, "Ω"]
)
def test_a_code_that_is_none_is_nobodys(walk: Walk, code: str) -> None:
    headers = {"Authorization": f"Bearer {code}".encode()}
    answer = walk.service.client.get("/v1/household", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_rules_can_be_read_by_anybody(walk: Walk) -> None:
    assert {
        "rule": "household:read_clip_object",
        "action": "read_clip_object",
        "household": "own",
        "roles": ["owner", "viewer"],
        "token_scope": "clips:read",
    } in walk.service.client.get("/v1/access-rules.json").json()


def test_the_walk_leaves_no_trace(walk: Walk) -> None:
    headers = walk.headers["owner"]
    household = walk.service.client.get("/v1/household", headers=headers).json()
    assert household["head"]["seq"] == walk.service.heads[OWN].statement.seq
    assert walk.service.client.get(f"/v1/clips/{CLIP}", headers=headers).status_code == 200


# ── what no route takes ─────────────────────────────────────────────────────────────────


def paths() -> dict[str, set[str]]:
    """Return the methods of each address."""
    found: dict[str, set[str]] = {}
    for operation in TABLE:
        method, path = operation.split(" ", 1)
        found.setdefault(path, set()).add(method)
    return found


@pytest.mark.parametrize("path", paths())
def test_another_method_is_a_problem(walk: Walk, path: str) -> None:
    others = {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - paths()[path]
    for method in sorted(others):
        answer = walk.service.client.request(
            method, path.format_map(walk.ids[OURS]), headers=dict(walk.headers["owner"])
        )
        assert answer.status_code == (404 if path == "/metrics" else 405), method
        assert_problem(answer)


@pytest.mark.parametrize("operation", [name for name in TABLE if name.split()[0] != "HEAD"])
@pytest.mark.parametrize("actor", ["anonymous", "owner"])
def test_a_body_that_is_no_json_or_of_another_sort_is_a_problem(
    walk: Walk, operation: str, actor: str
) -> None:
    method, template = operation.split(" ", 1)
    address = template.format_map(walk.ids[OURS])
    takes_body = walk.body(operation, is_stranger=False) is not None
    for kind, body, is_taken in (
        ("application/json", b"<xml/>", False),
        ("text/plain", b"{}", not takes_body),
        ("multipart/form-data; boundary=x", b"--x--\r\n", False),
    ):
        if is_taken:
            continue
        headers = {**walk.headers[actor], "Content-Type": kind}
        answer = walk.service.client.request(method, address, content=body, headers=headers)
        assert 400 <= answer.status_code < 500, (kind, answer.text)
        assert_problem(answer)


@pytest.mark.parametrize("operation", [name for name in TABLE if name.split()[0] != "HEAD"])
def test_a_body_beyond_every_limit_is_a_problem(walk: Walk, operation: str) -> None:
    method, template = operation.split(" ", 1)
    answer = walk.service.client.request(
        method,
        template.format_map(walk.ids[OURS]),
        content=b" " * (MAX_CHANGE_BYTES + 1),
        headers={**walk.headers["owner"], "Content-Type": "application/json"},
    )
    assert answer.status_code == 413
    assert_problem(answer)


# ── the admin socket ────────────────────────────────────────────────────────────────────


def test_what_the_operator_may_ask_is_no_address_on_the_network(walk: Walk) -> None:
    app = admin_app(walk.service)
    assert set(operations(app.routes)) == ADMIN
    for operation in sorted(ADMIN):
        method, path = operation.split(" ", 1)
        for actor in EVERYBODY:
            answer = walk.service.client.request(
                method, path, headers=dict(walk.headers[actor]), json={}
            )
            assert answer.status_code == 404, (operation, actor)
            assert_problem(answer)


def test_no_address_of_the_network_is_on_the_admin_socket(walk: Walk) -> None:
    with TestClient(admin_app(walk.service)) as client:
        for operation in TABLE:
            method, template = operation.split(" ", 1)
            path = template.format_map(walk.ids[OURS])
            headers = dict(walk.headers["owner"])
            assert client.request(method, path, headers=headers).status_code == 404, operation


def test_the_admin_socket_asks_nobody_who_they_are(walk: Walk) -> None:
    with TestClient(admin_app(walk.service)) as client:
        for actor in EVERYBODY:
            headers = dict(walk.headers[actor])
            assert client.post("/invites", headers=headers).status_code == 201, actor
            assert client.get("/check", headers=headers).status_code == 200, actor
        for operation in sorted(ADMIN):
            method, path = operation.split(" ", 1)
            wrong = client.request("PATCH", path)
            assert wrong.status_code == 405
            assert_problem(wrong)
            long = client.request(method, path, content=b" " * (MAX_CHANGE_BYTES + 1))
            assert long.status_code == 413
            assert_problem(long)
