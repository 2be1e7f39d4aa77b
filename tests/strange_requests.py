"""Requests of every shape at the whole web app, made from its own description.

`/openapi.json` says which addresses there are and what they take; what is asked is drawn
from that, from requests that would be right, and from what no client would send. Beside our
household lives a stranger's, whose names must be in no answer.
"""

import hashlib
import io
import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from botocore.response import StreamingBody
from httpx import Response

from doorstep_cloud.access.attempts import Attempts
from doorstep_cloud.access.policy import Scope
from doorstep_cloud.clips.service import announce, object_key, record_stored
from doorstep_cloud.events.service import record_event
from doorstep_cloud.store.objects import ObjectMissingError, ObjectStore, ObjectStream
from doorstep_cloud.web.problems import MEDIA_TYPE
from doorstep_shared.ids import HouseholdId
from doorstep_shared.manifest import ClipKind, ObjectName
from doorstep_shared.statements import sign_statement
from tests.cast import (
    FOREIGN,
    OWN,
    STRANGER,
    Enrolled,
    Stage,
    as_json,
    bearer,
    enrolment_request,
    keyring_files,
)
from tests.flood import ODD_VALUES, mutate
from tests.people import NOW_MS, OWNER, Doorbell, doorbell, epoch_identity
from tests.scripted_doorbell import make_clip, make_event

RECIPIENT: Final = epoch_identity(1).recipient()
SIZES: Final = {ObjectName.FILE: 3_000, ObjectName.THUMB: 500}
FRONT: Final = doorbell("front")
FOREIGN_BELL: Final = doorbell("of a stranger")
MARKER: Final = "marker-of-a-stranger"

Json: TypeAlias = Any
"""A JSON value."""

# It never ends, and has tests of its own.
LEFT_OUT: Final = {("get", "/v1/events/stream")}
_PLANT_EVERY: Final = 400
_FORGET_ATTEMPTS_EVERY: Final = 10
_DEEPEST: Final = 6

_ODD_TEXTS: Final = (
    "",
    " ",
    "..",
    "../../etc/passwd",
    "%00",
    "\x7f",
    "0",
    "-1",
    "9" * 30,
    "1e309",
    "NaN",
    "٣",
    "ü" * 200,
    "a" * 3000,
    "latest",
    "2026-11-22T18:00:00Z",
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00+14:00",
    "null",
    "'; drop table clip; --",
)


class Memory(ObjectStore):
    """An object store in memory."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def put_if_absent(self, key: str, data: Path | bytes, sha256: bytes) -> bool:
        assert isinstance(data, bytes)
        assert hashlib.sha256(data).digest() == sha256
        self.held[key] = data
        return True

    def sha256_of(self, key: str) -> bytes:
        return hashlib.sha256(self._find(key)).digest()

    def open_range(self, key: str, start: int, end: int) -> ObjectStream:
        part = self._find(key)[start:end]
        return ObjectStream(StreamingBody(io.BytesIO(part), len(part)))

    def delete(self, key: str) -> None:
        self.held.pop(key, None)

    def _find(self, key: str) -> bytes:
        if key not in self.held:
            raise ObjectMissingError("nothing is stored here")
        return self.held[key]


@dataclass(frozen=True, slots=True)
class Request:
    """One request, and who makes it."""

    actor: str
    method: str
    url: str
    headers: Mapping[str, str | bytes]
    body: bytes | None

    def __str__(self) -> str:
        """Return it as a failed test shows it; the bearer's code is left out."""
        return f"{self.method} {self.url} by {self.actor}: {self.body!r:.400}"


class Asker:
    """Draws requests of one seed and sends them to a stage with two households."""

    def __init__(self, home: Stage, store: Memory, seed: int) -> None:
        self._home = home
        self._store = store
        self._random = random.Random(seed)
        self._planted = 0
        self._own: dict[str, list[str]] = {"clip": [], "event": [], "device": [FRONT.device.id]}
        self._foreign: dict[str, list[str]] = {"clip": [], "event": [], "device": []}
        self._enrolled = self._enrol(FRONT, "front")
        self._enrol_foreign()
        self.actors = self._make_actors()
        self._spec: Json = home.client.get("/openapi.json").json()
        self._operations = [
            (method, path, operation)
            for path, operations in self._spec["paths"].items()
            for method, operation in operations.items()
            if (method, path) not in LEFT_OUT
        ]

    @property
    def markers(self) -> set[str]:
        """Return what must be in no answer: names of the other household, and what it keeps."""
        return {FOREIGN, MARKER, *(name for names in self._foreign.values() for name in names)}

    def ask(self, times: int) -> dict[int, int]:
        """Send so many requests, judging every answer; return how often each status came."""
        statuses: dict[int, int] = {}
        for number in range(times):
            if number % _PLANT_EVERY == 0:
                self._plant()
            if number % _FORGET_ATTEMPTS_EVERY == 0:
                # Else whoever asks often is answered 429 and nothing else.
                self._home.app.state.attempts = Attempts()
            request = self._draw()
            answer = self._send(request)
            self._judge(request, answer)
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
        return statuses

    def _send(self, request: Request) -> Response:
        answer: Response = self._home.client.request(
            request.method,
            request.url,
            headers=list(request.headers.items()),
            content=request.body,
        )
        return answer

    def _judge(self, request: Request, answer: Response) -> None:
        status = answer.status_code
        said = f"{request} -> {status} {answer.text:.600}"
        assert status < 500 or (status == 503 and answer.headers["Retry-After"]), said
        if status >= 400 and request.method != "HEAD":
            assert answer.headers["Content-Type"] == MEDIA_TYPE, said
            problem = answer.json()
            assert set(problem) == {"type", "title", "status", "detail", "do"}, said
            assert problem["status"] == status, said
            assert all(problem.values()), said
        told = answer.text + str(answer.headers)
        assert not [marker for marker in self.markers if marker in told], said

    def _draw(self) -> Request:
        draw = self._random
        method, path, operation = draw.choice(self._operations)
        actor = draw.choice(list(self.actors))
        headers: dict[str, str | bytes] = dict(self.actors[actor])
        url = self._fill(path, operation)
        query = list(self._query(operation))
        if query:
            url += "?" + "&".join(f"{quote(name)}={quote(value)}" for name, value in query)
        headers.update(self._odd_headers(operation))
        body = self._body(path, operation)
        if body is not None and "Content-Type" not in headers:
            headers["Content-Type"] = "application/json"
        if draw.random() < 0.03:
            method = draw.choice(("get", "put", "delete", "post", "patch", "head", "options"))
        return Request(actor, method.upper(), url, headers, body)

    def _fill(self, path: str, operation: Json) -> str:
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path":
                value = self._value_for(parameter["name"])
                # A slash, or nothing at all, would be another address.
                path = path.replace("{" + parameter["name"] + "}", quote(value, safe="") or "x")
        return path

    def _query(self, operation: Json) -> Iterator[tuple[str, str]]:
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "query" and self._random.random() < 0.4:
                yield parameter["name"], self._value_for(parameter["name"])
        if self._random.random() < 0.03:
            yield self._random.choice(("limit", "nothing", "ü", "kind")), "1"

    def _value_for(self, name: str) -> str:
        draw = self._random
        known = {
            "kind": ["ring", "motion"],
            "since": ["2026-01-01T00:00:00Z"],
            "until": ["2027-01-01T00:00:00Z"],
            "limit": ["1", "50", "200"],
            "after": ["0", "1", "-1", str(2**63)],
            "name": ["file", "thumb", "details"],
            "if_days": ["1", "60"],
        }
        own = known.get(name) or self._own.get(name) or ["A" * 22]
        foreign = self._foreign.get(name) or self._foreign["clip"]
        return draw.choices(
            (draw.choice(own), draw.choice(foreign), draw.choice(_ODD_TEXTS), self._text()),
            (6, 3, 2, 1),
        )[0]

    def _text(self) -> str:
        length = self._random.randrange(1, 60)
        return "".join(chr(self._random.randrange(0x20, 0xD7FF)) for _ in range(length))

    def _odd_headers(self, operation: Json) -> Iterator[tuple[str, str | bytes]]:
        draw = self._random
        odd = {
            "range": ("bytes=0-10", "bytes=-5", "bytes=9-2", "bytes=0-1,5-6", "lines=1", "bytes="),
            "if-range": ('"x"', "yesterday", "W/"),
            "if-none-match": ("*", '"x"', 'W/"x", "y"', ",,,"),
        }
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "header" and draw.random() < 0.4:
                yield parameter["name"], draw.choice(odd[parameter["name"].lower()])
        if draw.random() < 0.05:
            yield draw.choice(
                (
                    ("Content-Type", "text/plain"),
                    ("Content-Type", "application/x-www-form-urlencoded"),
                    ("Content-Encoding", "gzip"),
                    ("X-Forwarded-For", "10.0.0.1, \u00ff".encode("latin-1")),
                    ("Accept", "application/xml"),
                    ("Cookie", "a=b; " * 100),
                )
            )

    def _body(self, path: str, operation: Json) -> bytes | None:
        draw = self._random
        content = operation.get("requestBody", {}).get("content", {})
        if not content:
            return b"{}" if draw.random() < 0.02 else None
        right = self._right_body(path)
        chance = draw.random()
        if chance < 0.05:
            return draw.choice((b"", b"{", b"null", b"[]", b'"\\ud800"', draw.randbytes(200)))
        if chance < 0.5 and right is not None:
            whole = json.dumps(right).encode()
            return whole if chance < 0.15 else mutate(whole, draw)
        schema = content["application/json"]["schema"]
        return json.dumps(self._of_schema(schema, 0)).encode()

    def _right_body(self, path: str) -> Json:
        """Return what a client would send there; None if that is not known here."""
        home, draw = self._home, self._random
        enrolled = self._enrolled
        makers: Mapping[str, Callable[[], Json]] = {
            "/v1/sessions": lambda: {"signed": as_json(home.sign_in(OWNER))},
            "/v1/tokens": lambda: {
                "name": "n",
                "scopes": [draw.choice(list(Scope)).value],
                "days": 1,
            },
            "/v1/households": lambda: home.founding(OWNER, HouseholdId("x" * 26)),
            # The signature of somebody who is no owner.
            "/v1/statements": lambda: as_json(
                sign_statement(home.next_statement(at=NOW_MS + 1), FRONT.sign)
            ),
            "/v1/keyring.age": lambda: {
                "statement": as_json(sign_statement(home.next_statement(), OWNER.sign)),
                "files": keyring_files([OWNER]),
            },
            "/v1/enrolments": lambda: enrolment_request(
                enrolled.device, enrolled.tls, enrolled.claim
            ),
            "/v1/household/settings": lambda: {"retention_days": draw.randrange(14, 61)},
        }
        return makers[path]() if path in makers else None

    def _of_schema(self, schema: Json, depth: int) -> Json:
        """Return a value that a schema allows, nearly always."""
        draw = self._random
        if draw.random() < 0.08 or depth > _DEEPEST:
            return draw.choice(ODD_VALUES)
        if "$ref" in schema:
            name = schema["$ref"].rsplit("/", 1)[1]
            return self._of_schema(self._spec["components"]["schemas"][name], depth)
        if "anyOf" in schema:
            return self._of_schema(draw.choice(schema["anyOf"]), depth)
        if "enum" in schema:
            return draw.choice(schema["enum"])
        if "const" in schema:
            return schema["const"]
        return self._of_type(schema, depth)

    def _of_type(self, schema: Json, depth: int) -> Json:
        draw = self._random
        match schema.get("type"):
            case "object":
                found = {
                    name: self._of_schema(inner, depth + 1)
                    for name, inner in schema.get("properties", {}).items()
                    if draw.random() < 0.9
                }
                for inner in schema.get("patternProperties", {}).values():
                    found["a" * 26] = self._of_schema(inner, depth + 1)
                return found
            case "array":
                inner = schema.get("items", {"type": "string"})
                return [self._of_schema(inner, depth + 1) for _ in range(draw.randrange(4))]
            case "integer" | "number":
                low, high = schema.get("minimum", -(2**40)), schema.get("maximum", 2**40)
                return draw.choice((low, high, draw.randrange(int(low), int(high) + 1)))
            case "boolean":
                return draw.random() < 0.5
            case "null":
                return None
            case _:
                # No name of the other household: what is named so would be listed so.
                ids = self._own["clip"]
                return draw.choice((*_ODD_TEXTS, *ids, "A" * 22, "A" * 43, self._text()))

    def _make_actors(self) -> dict[str, dict[str, str]]:
        home = self._home
        actors: dict[str, dict[str, str]] = {
            "nobody": {},
            "nonsense": bearer("nonsense"),
            "a token of nobody's": bearer("dst_pat_" + "a" * 38),
            "basic": {"Authorization": "Basic YTpi"},
            "the owner": home.session(OWNER),
        }
        for scope in Scope:
            actors[f"a token for {scope.value}"] = home.token(OWNER, scope.value)
        wish = {"name": MARKER, "scopes": ["clips:read"], "days": 1}
        session = home.session(STRANGER)
        assert home.client.post("/v1/tokens", json=wish, headers=session).status_code == 201
        return actors

    def _enrol(self, bell: Doorbell, name: str) -> Enrolled:
        enrolled = self._home.enrol(bell, self._home.claim(name))
        self._home.list_devices(enrolled.device)
        return enrolled

    def _enrol_foreign(self) -> None:
        claim = self._home.claim("foreign", STRANGER)
        enrolled = self._home.enrol(FOREIGN_BELL, claim)
        self._home.list_devices(enrolled.device, who=STRANGER)
        self._foreign["device"].append(enrolled.device.id)

    def _plant(self) -> None:
        """Let each household have one more stored clip and one more ring."""
        for names, bell, household in (
            (self._own, FRONT, OWN),
            (self._foreign, FOREIGN_BELL, FOREIGN),
        ):
            clip = make_clip(bell, household, RECIPIENT, seed=self._planted, sizes=SIZES)
            event = make_event(NOW_MS, seed=self._planted + (household == FOREIGN) * 100_000)
            envelopes = {name: box.envelope for name, box in clip.boxes.items()}
            with self._home.databases.write() as unit:
                record_event(unit, household, bell.device.id, ClipKind.RING, event, now=NOW_MS)
                announce(unit, clip.signed, clip.manifest, envelopes, NOW_MS)
                unit.main.flush()
                for name, box in clip.boxes.items():
                    digest = hashlib.sha256(box.payload).digest()
                    self._store.put_if_absent(object_key(clip.id, name), box.payload, digest)
                    record_stored(unit, clip.id, name, b"receipt", NOW_MS)
                unit.commit()
            names["clip"].append(clip.id)
            names["event"].append(event.event)
        self._planted += 1
