"""Every route by every actor: who gets past the policy, and what the others are told."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import pytest

from doorstep_cloud.access.policy import Scope
from doorstep_cloud.clips.tables import ClipObjectRow, ClipRow, EnvelopeRow
from doorstep_cloud.events.hub import Hub
from doorstep_shared.consent import EVERYTHING_OFF
from doorstep_shared.encoding import to_base64url
from doorstep_shared.statements import sign_statement
from tests.cast import FOREIGN, OWN, STRANGER, VIEWER, Stage, as_json, keyring_files, stage
from tests.orders import delete_order
from tests.people import FRONT_DOOR, NOW_MS, OWNER, doorbell, random_from

Headers = Mapping[str, str]

CLIP: Final = "0190a1b2-c3d4-7000-8000-00000000000c"

OWNERS: Final = frozenset({"owner", "stranger"})
MEMBERS: Final = OWNERS | {"viewer"}
EVERYBODY: Final = MEMBERS | {"nobody", "doorbell", *Scope}

# What needs no session: it is open to all, or it brings its own secret.
OPEN: Final = {
    "GET /",
    "GET /healthz",
    "GET /metrics",  # To this machine; to all others it is no address.
    "GET /readyz",
    "GET /v1/access-rules.json",
    "POST /v1/households",
    "POST /v1/sign-in/challenge",
    "POST /v1/sessions",
    "POST /v1/enrolments",
}

# Asked of one's own household: the stranger is an owner elsewhere and asks about theirs.
OWN_HOUSEHOLD: Final[Mapping[str, frozenset[str]]] = {
    "GET /v1/household": MEMBERS,
    "GET /v1/statements": MEMBERS,
    "POST /v1/statements": OWNERS,
    "GET /v1/keyring.age": MEMBERS | {Scope.KEYRING_READ},
    "PUT /v1/keyring.age": OWNERS,
    "GET /v1/consent-policy": MEMBERS,
    "PUT /v1/consent-policy": OWNERS,
    "GET /v1/tokens": OWNERS,
    "POST /v1/tokens": OWNERS,
    "DELETE /v1/tokens/{token_id}": OWNERS,
    "POST /v1/claims": OWNERS | {Scope.DEVICES_WRITE},
    "GET /v1/devices": MEMBERS | {Scope.DEVICES_WRITE},
    "GET /v1/events": MEMBERS | {Scope.EVENTS_READ},
    "GET /v1/events/stream": MEMBERS | {Scope.EVENTS_READ},
    "GET /v1/clips": MEMBERS | {Scope.CLIPS_READ},
}

# Asked of a thing of our household, by its id.
OUR_THINGS: Final[Mapping[str, frozenset[str]]] = {
    "GET /v1/claims/{claim_id}": frozenset({"owner", Scope.DEVICES_WRITE}),
    "GET /v1/devices/{device}/commands": frozenset({"owner", "viewer"}),
    "POST /v1/devices/{device}/commands": frozenset({"owner"}),
    "GET /v1/clips/{clip}": frozenset({"owner", "viewer", Scope.CLIPS_READ}),
    "GET /v1/clips/{clip}/manifest": frozenset({"owner", "viewer", Scope.CLIPS_READ}),
    "GET /v1/clips/{clip}/{name}.age": frozenset({"owner", "viewer", Scope.CLIPS_READ}),
}


def operations(service: Stage) -> dict[str, Any]:
    """Return every operation the service names in its OpenAPI."""
    paths = service.client.get("/openapi.json").json()["paths"]
    return {
        f"{method.upper()} {path}": operation
        for path, methods in paths.items()
        for method, operation in methods.items()
    }


@pytest.fixture(scope="module")
def home() -> Iterator[Stage]:
    """A service whose household has everything there is to ask for; the walk changes no answer."""
    with stage() as running:
        running.found(OWNER, OWN)
        running.found(STRANGER, FOREIGN)
        running.add_members(VIEWER)
        running.enrol(FRONT_DOOR, running.claim("walk"))
        store_clip(running)
        # Whoever may listen is told that there are too many, so that no stream stays open.
        running.app.state.hub = Hub(listeners_per_household=0)
        yield running


@pytest.fixture(scope="module")
def cast(home: Stage) -> dict[str, Headers]:
    """The header each actor sends."""
    headers: dict[str, Headers] = {
        "nobody": {},
        # A doorbell has a certificate for the broker and nothing for HTTP.
        "doorbell": {"Authorization": f"Bearer {FRONT_DOOR.device.id}"},
        "owner": home.session(OWNER),
        "viewer": home.session(VIEWER),
        "stranger": home.session(STRANGER),
    }
    return headers | {scope: home.token(OWNER, scope) for scope in Scope}


def store_clip(home: Stage) -> None:
    """Write a stored clip of our household, without its payload."""
    clip = ClipRow(
        id=CLIP,
        device=FRONT_DOOR.device.id,
        household=OWN,
        kind="ring",
        manifest=b"{}",
        manifest_sha256=bytes(32),
        seq=1,
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
        clip=CLIP,
        object="file",
        length=1,
        sha256=bytes(32),
        envelope_length=1,
        envelope_sha256=bytes(32),
        stored_at_ms=NOW_MS,
        receipt=b"{}",
    )
    envelope = EnvelopeRow(clip=CLIP, object="file", envelope=b"x", written_at_ms=NOW_MS)
    with home.databases.write() as unit:
        unit.main.add(clip)
        unit.main.flush()
        unit.main.add(file)
        unit.vault.add(envelope)
        unit.commit()


def body_of(service: Stage, operation: str, who: str) -> object:
    """Return a request body that would do what ``operation`` says, if ``who`` may."""
    signed = as_json(sign_statement(service.next_statement(), OWNER.sign))
    files = keyring_files([OWNER, VIEWER])
    # Its counter is far ahead: whoever may send it hears so, and nothing changes.
    order = delete_order(until=NOW_MS, counter=99)
    bodies: dict[str, Callable[[], object]] = {
        "POST /v1/statements": lambda: signed,
        "PUT /v1/keyring.age": lambda: {"statement": signed, "files": files},
        "PUT /v1/consent-policy": lambda: service.consent_change(EVERYTHING_OFF),
        "POST /v1/tokens": lambda: {"name": "x", "scopes": ["events:read"], "days": 1},
        "POST /v1/devices/{device}/commands": lambda: {"command": as_json(order)},
        "POST /v1/claims": lambda: {"claim_id": to_base64url(random_from(who)(16))},
    }
    return bodies[operation]() if operation in bodies else None


def ask(service: Stage, operation: str, who: str, headers: Headers) -> int:
    """Return the status ``who`` gets for ``operation`` on what is our household's."""
    method, template = operation.split(" ", 1)
    ids = {
        "claim_id": to_base64url(service.claims["walk"].claim_id),
        "token_id": "0" * 16,
        "clip": CLIP,
        "device": FRONT_DOOR.device.id,
        "name": "file",
    }
    path = re.sub(r"\{(\w+)\}", lambda match: ids[match[1]], template)
    body = body_of(service, operation, who)
    status: int = service.client.request(method, path, headers=dict(headers), json=body).status_code
    return status


def allowed(
    service: Stage, cast: Mapping[str, Headers], operation: str, refusals: set[int]
) -> frozenset[str]:
    """Return who gets another answer than one of ``refusals``."""
    answers = {who: ask(service, operation, who, cast[who]) for who in EVERYBODY}
    return frozenset(who for who, status in answers.items() if status not in refusals)


@pytest.mark.parametrize("operation", OWN_HOUSEHOLD)
def test_who_may_ask_about_their_own_household(
    home: Stage, cast: dict[str, Headers], operation: str
) -> None:
    assert allowed(home, cast, operation, {401, 403}) == OWN_HOUSEHOLD[operation]


@pytest.mark.parametrize("operation", OUR_THINGS)
def test_who_may_ask_about_a_thing_of_ours(
    home: Stage, cast: dict[str, Headers], operation: str
) -> None:
    assert allowed(home, cast, operation, {401, 403, 404}) == OUR_THINGS[operation]


def test_every_route_is_open_on_purpose_or_asks_the_policy(home: Stage) -> None:
    assert set(operations(home)) == OPEN | set(OWN_HOUSEHOLD) | set(OUR_THINGS)


@pytest.mark.parametrize("operation", [*OWN_HOUSEHOLD, *OUR_THINGS])
@pytest.mark.parametrize("who", ["nobody", "doorbell"])
def test_without_session_or_token_every_household_is_closed(
    home: Stage, cast: dict[str, Headers], operation: str, who: str
) -> None:
    # A request is read before it is judged: one that cannot be read may hear so first.
    assert ask(home, operation, who, cast[who]) in {401, 404}


def test_nobody_is_sent_away_while_somebody_else_writes(
    home: Stage, cast: dict[str, Headers]
) -> None:
    writing = [name for name in OWN_HOUSEHOLD if not name.startswith("GET ")]
    with home.databases.write():
        answers = {name: ask(home, name, "nobody", cast["nobody"]) for name in writing}
    assert answers == dict.fromkeys(writing, 401)


@pytest.mark.parametrize("operation", OUR_THINGS)
def test_anothers_thing_answers_like_none(
    home: Stage, cast: dict[str, Headers], operation: str
) -> None:
    method, template = operation.split(" ", 1)
    answers = []
    for claim, clip, device in (
        (to_base64url(home.claims["walk"].claim_id), CLIP, FRONT_DOOR.device.id),
        (to_base64url(bytes(16)), CLIP.replace("c", "d"), doorbell("nobody's").device.id),
    ):
        path = template.format(claim_id=claim, clip=clip, device=device, name="file")
        asked = body_of(home, operation, "stranger")
        headers = dict(cast["stranger"])
        answers.append(home.client.request(method, path, headers=headers, json=asked))
    assert answers[0].status_code == answers[1].status_code == 404
    assert answers[0].content == answers[1].content
    assert set(answers[0].headers) == set(answers[1].headers)


def test_what_is_open_shows_nothing_of_a_household(home: Stage, cast: dict[str, Headers]) -> None:
    for operation in sorted(OPEN):
        method, path = operation.split(" ", 1)
        shown = home.client.request(method, path, headers=dict(cast["stranger"])).text
        for secret in (OWNER.member.member, FRONT_DOOR.device.id, CLIP):
            assert secret not in shown, operation


@pytest.mark.parametrize(
    "code", ["", "dst_ses_", "dst_ses_" + "0" * 32, "dst_pat_" + "0" * 38, "Ω"]
)
def test_a_code_that_is_none_is_nobodys(home: Stage, code: str) -> None:
    headers = {"Authorization": f"Bearer {code}".encode()}
    answer = home.client.get("/v1/household", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_rules_can_be_read_by_anybody(home: Stage) -> None:
    rules = home.client.get("/v1/access-rules.json").json()
    assert {
        "rule": "household:read_clip_object",
        "action": "read_clip_object",
        "household": "own",
        "roles": ["owner", "viewer"],
        "token_scope": "clips:read",
    } in rules
