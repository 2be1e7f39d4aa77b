"""A service that is broken or means harm: each of its answers ends a command in three lines.

It is a real server on this machine, so that lengths, codings and redirects are
what a network brings.
"""

import gzip
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any, Self

import pytest

from doorstep_client import __main__ as command
from doorstep_client import clips
from doorstep_client.clips import Filter
from doorstep_client.errors import OddAnswerError, ServiceUnreachableError
from doorstep_client.home import Home, ServiceAccount
from doorstep_client.household import Household
from doorstep_client.service import MAX_JSON_BYTES, MAX_PROBLEM_BYTES, MAX_SENT_EVENT_BYTES, Service
from doorstep_shared.errors import DoorstepError
from doorstep_shared.ids import draw_event_id, parse_clip_id
from doorstep_shared.manifest import ClipKind, Manifest
from doorstep_shared.opening import facts_of
from doorstep_shared.seal import seal_bytes
from tests.people import (
    FRONT_DOOR,
    HOUSEHOLD,
    NOW_MS,
    OWNER,
    epoch_identity,
    first_head,
    random_from,
)

MIB = 1024 * 1024
# What the machine's own buffers take before the sender notices that nobody reads.
BUFFERS_BYTES = 16 * MIB
ESCAPES = "\x1b]0;owned\x07\x9b31m\u202e"


# What a household of one statement is answered where nothing odd is.
NOTHING_NEW = {"statements": [], "policies": [], "head": {"seq": 0, "sha256": "A" * 43}}


class Asked(BaseHTTPRequestHandler):
    """One connection to the odd service."""

    protocol_version = "HTTP/1.1"
    service: "OddService"

    def answer(self) -> None:
        """Say what the service was told to say."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.service.asked.append((self.command, self.path, dict(self.headers.items())))
        say = self.service.says.get(self.path.partition("?")[0], as_json(NOTHING_NEW))
        with suppress(OSError):  # the client has hung up, as it should
            say(self)

    do_GET = do_POST = do_DELETE = answer  # noqa: N815  # the library's names

    def begin(self, status: int, kind: str, **headers: str) -> None:
        """Send the head of an answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def chunk(self, data: bytes) -> None:
        """Send a part of an answer whose length is not told."""
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.service.sent_bytes += len(data)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Takes it well that a client hangs up: that is what is tried here."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401  # as in the library
        """Say nothing on stderr, which is the command's, unless it is our own mistake."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


Say = Callable[[Asked], None]


class OddService:
    """A server that says what a test wants.

    Attributes:
        says: What, by path.
        asked: Method, path and headers of each request.
        sent_bytes: Of answers without an end.
    """

    def __init__(self) -> None:
        self.says: dict[str, Say] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.sent_bytes = 0
        self._server = Server(("127.0.0.1", 0), type("Handler", (Asked,), {"service": self}))
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def as_bytes(data: bytes, status: int = 200, **headers: str) -> Say:
    """Say ``data``."""

    def say(asked: Asked) -> None:
        asked.begin(status, "application/json", Content_Length=str(len(data)), **headers)
        asked.wfile.write(data)

    return say


def as_json(value: object, status: int = 200) -> Say:
    """Say ``value``."""
    return as_bytes(json.dumps(value).encode(), status)


def without_end(data: bytes, status: int = 200, kind: str = "application/json") -> Say:
    """Say ``data`` again and again."""

    def say(asked: Asked) -> None:
        asked.begin(status, kind, Transfer_Encoding="chunked")
        while True:
            asked.chunk(data)

    return say


def as_events(*chunks: bytes, kind: str = "text/event-stream") -> Say:
    """Say these parts of a stream and end it."""

    def say(asked: Asked) -> None:
        asked.begin(200, kind, Transfer_Encoding="chunked")
        for data in chunks:
            asked.chunk(data)
        asked.wfile.write(b"0\r\n\r\n")

    return say


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[OddService]:
    """An odd service; by itself it says that there are no statements but those known."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with OddService() as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, service: OddService, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A household at that service, signed in."""
    folder = Home(tmp_path / "keys")
    monkeypatch.setenv("DOORSTEP_HOME", str(folder.folder))
    assert folder.keys_or_new(random_from("person/owner")).sign == OWNER.sign
    head = first_head()
    folder.save_account(
        ServiceAccount(service.url, HOUSEHOLD, OWNER.member.member, head.root.hex())
    )
    folder.save_chain([head.signed])
    folder.save_session("dst_ses_one")
    return folder


@pytest.fixture
def fails(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Returns the three lines in which ``doorstep`` fails with these words behind it."""
    del home

    def run(*words: str) -> str:
        monkeypatch.setattr("sys.argv", ["doorstep", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            command.main()
        said = capsys.readouterr()
        assert ended.value.code == 1
        assert said.out == ""
        fact, safe, do = said.err.removeprefix("Listening. Ctrl-C ends.\n").splitlines()
        assert fact.startswith("doorstep: ")
        assert safe
        assert do.startswith("Do: doorstep ")
        return fact

    return run


Fails = Callable[..., str]

CLIP = "01a202d7-b47e-70c0-99fa-42ebdacb74a8"


def event(**changes: object) -> dict[str, object]:
    """Return an event as the service tells it."""
    honest: dict[str, object] = {
        "id": draw_event_id(NOW_MS, random_from("event")),
        "kind": "ring",
        "device": FRONT_DOOR.device.id,
        "at": "2026-11-22T10:00:00Z",
        "received_at": "2026-11-22T10:00:01Z",
        "clock_synced": True,
        "alert": "now",
        "is_missed": False,
        "clip": None,
    }
    return honest | changes


def device(**changes: object) -> dict[str, object]:
    """Return a doorbell as the service tells it."""
    honest: dict[str, object] = {
        "id": FRONT_DOOR.device.id,
        "state": "active",
        "is_online": True,
        "last_heard_at": None,
        "agent": "0.1",
        "enrolled_at": "2026-11-22T10:00:00Z",
        "health": None,
    }
    return honest | changes


# ── shapes ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "data",
    [
        b'{"items": null}',
        b"[]",
        b"{}",
        b"null",
        b"",
        b"{",
        b"<html>",
        b'{"items": ["x"]}',
        b'{"items": [{}]}',
        b"[" * 100000,
        b'{"items": ' * 100000,
        b"\xff",
        b"9" * 5000,
        json.dumps({"items": [device(is_online="yes")]}).encode(),
        json.dumps({"items": [device(id="../../etc")]}).encode(),
        json.dumps({"items": [device(agent="x" * 65)]}).encode(),
    ],
)
@pytest.mark.parametrize("words", [["status"], ["device", "list"], ["device", "list", "--json"]])
def test_what_is_no_list_of_doorbells_is_told(
    service: OddService, fails: Fails, data: bytes, words: list[str]
) -> None:
    service.says["/v1/devices"] = as_bytes(data)
    assert "GET /v1/devices" in fails(*words)


@pytest.mark.parametrize("answer", [{}, [], None, {"items": [7]}, {"id": 7, "token": "\xe9"}])
def test_what_is_no_token_is_told(service: OddService, fails: Fails, answer: object) -> None:
    service.says["/v1/tokens"] = as_json(answer, 201)
    assert "/v1/tokens" in fails("token", "create", "x")
    service.says["/v1/tokens"] = as_json(answer)
    assert "/v1/tokens" in fails("token", "list")


@pytest.mark.parametrize("answer", [{}, {"device": {}}, {"device": {"id": "x"}}, {"device": 7}])
def test_what_answers_no_claim_is_told(service: OddService, fails: Fails, answer: object) -> None:
    with Household(Home.default()) as household:
        service.says["/v1/claims"] = as_json({"ca_sha256": "A" * 43}, 201)
        household.make_claim(random_from("claim"))
    (claim_id,) = Home.default().claims()
    service.says[f"/v1/claims/{claim_id}"] = as_json(answer)
    assert "/v1/claims" in fails("device", "add", "--resume", "--timeout", "0")


@pytest.mark.parametrize("nonce", ["A" * 50_000, "", "*", 5, None, {"a": [1.5]}, "\ud800"])
def test_a_challenge_that_is_none_is_not_signed(
    service: OddService, fails: Fails, nonce: object
) -> None:
    service.says["/v1/devices"] = as_json({"title": "signed out"}, 401)
    service.says["/v1/sign-in/challenge"] = as_json({"server_nonce": nonce}, 201)
    assert "challenge" in fails("status")
    assert "/v1/sessions" not in [path for _, path, _ in service.asked]


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["clip", "verify", CLIP], f"/v1/clips/{CLIP}/manifest"),
        (["clip", "save"], "/v1/clips/latest"),
    ],
)
@pytest.mark.parametrize("data", [b"[]", b"", b"[" * 100_000, b'{"id": "../../x"}'])
def test_a_clip_that_is_none_is_told(
    service: OddService, fails: Fails, words: list[str], path: str, data: bytes
) -> None:
    service.says[path] = as_bytes(data)
    assert path in fails(*words)


@pytest.mark.parametrize("data", [b"[]", b"", b"age-encryption.org/v1\n", b"\xff" * 9000])
def test_a_keyring_that_is_none_is_told(service: OddService, home: Home, data: bytes) -> None:
    service.says["/v1/keyring.age"] = as_bytes(data)
    with Household(home) as household, pytest.raises(DoorstepError):
        household.epochs()


@pytest.mark.parametrize(
    "at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "10000-01-01T00:00:00Z", 7]
)
def test_a_moment_outside_the_calendar_is_told(
    service: OddService, fails: Fails, at: object
) -> None:
    service.says["/v1/events"] = as_json({"items": [event(at=at)], "next": None})
    assert "/v1/events" in fails("event", "list")


# ── pages ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "onward",
    [
        "http://[::1",
        "http://�",
        "",
        "/v1/events?cursor=1",
        5,
        "x" * 3000,
        "http://127.0.0.1:1/v1/events?cursor=1",
        "https://example.com/v1/events?cursor=1",
    ],
)
def test_a_next_page_elsewhere_is_not_asked_for(
    service: OddService, fails: Fails, onward: object
) -> None:
    service.says["/v1/events"] = as_json({"items": [event()], "next": onward})
    fails("event", "list")
    assert [path.partition("?")[0] for _, path, _ in service.asked] == ["/v1/events"]


@pytest.mark.parametrize("rest", ["/v1/events", "/v1/clips?cursor=1", "/v1/tokens/x?cursor=1"])
def test_a_next_page_that_is_none_of_this_list_is_not_asked_for(
    service: OddService, fails: Fails, rest: str
) -> None:
    service.says["/v1/events"] = as_json({"items": [event()], "next": service.url + rest})
    assert "next page" in fails("event", "list")
    assert len(service.asked) == 1


def test_a_list_of_the_same_page_for_ever_ends_where_it_was_wanted(
    service: OddService, home: Home
) -> None:
    onward = f"{service.url}/v1/events?cursor=1"
    service.says["/v1/events"] = as_json({"items": [event()] * 7, "next": onward})
    with Household(home) as household:
        assert len(clips.list_events(household, Filter(limit=20))) == 20
    assert len(service.asked) == 3


def test_a_page_longer_than_was_asked_for_is_refused(service: OddService, fails: Fails) -> None:
    service.says["/v1/events"] = as_json({"items": [event()] * 101, "next": None})
    assert "/v1/events" in fails("event", "list")


# ── statuses ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [200, 201, 202, 205, 301, 302, 303, 307, 308])
def test_a_token_counts_as_revoked_only_when_the_service_says_so(
    service: OddService, fails: Fails, status: int
) -> None:
    elsewhere = as_bytes(b"", status, Location=f"{service.url}/elsewhere")
    service.says["/v1/tokens/abc"] = elsewhere
    assert str(status) in fails("token", "revoke", "abc")
    assert [path for _, path, _ in service.asked] == ["/v1/tokens/abc"]


@pytest.mark.parametrize("status", [201, 204, 206, 302, 307])
@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["status"], "/v1/devices"),
        (["token", "list"], "/v1/tokens"),
        (["event", "list"], "/v1/events"),
        (["listen"], "/v1/events/stream"),
        (["clip", "verify", CLIP], f"/v1/clips/{CLIP}/manifest"),
    ],
)
def test_an_answer_of_another_status_is_none(
    service: OddService, fails: Fails, status: int, words: list[str], path: str
) -> None:
    service.says[path] = as_bytes(b"", status, Location=f"{service.url}/elsewhere")
    assert str(status) in fails(*words)
    assert "/elsewhere" not in [asked for _, asked, _ in service.asked]


def test_a_token_s_name_leads_nowhere_else(service: OddService, fails: Fails) -> None:
    fails("token", "revoke", "../clips?x=1#y")
    assert [path for _, path, _ in service.asked] == ["/v1/tokens/..%2Fclips%3Fx%3D1%23y"]


# ── lengths ─────────────────────────────────────────────────────────────────────────────


def test_a_packed_answer_is_asked_against_and_refused(service: OddService, fails: Fails) -> None:
    bomb = gzip.compress(b" " * 8 * MIB)
    for path, words in (
        ("/v1/devices", ["status"]),
        (f"/v1/clips/{CLIP}/manifest", ["clip", "verify", CLIP]),
        ("/v1/events/stream", ["listen"]),
    ):
        for status in (200, 500):
            service.says[path] = as_bytes(bomb, status, Content_Encoding="gzip")
            assert "packed" in fails(*words)
    assert {headers["Accept-Encoding"] for _, _, headers in service.asked} == {"identity"}


def test_json_without_end_is_read_up_to_its_bound(service: OddService, fails: Fails) -> None:
    service.says["/v1/devices"] = without_end(b" " * 65536)
    assert f"{MAX_JSON_BYTES:,}" in fails("status")
    assert service.sent_bytes <= MAX_JSON_BYTES + BUFFERS_BYTES


@pytest.mark.parametrize("words", [["status"], ["token", "revoke", "x"], ["listen"]])
def test_a_refusal_without_end_is_read_up_to_its_bound(
    service: OddService, fails: Fails, words: list[str]
) -> None:
    for path in ("/v1/devices", "/v1/tokens/x", "/v1/events/stream"):
        service.says[path] = without_end(b" " * 65536, 500)
    assert "500" in fails(*words)
    assert service.sent_bytes <= MAX_PROBLEM_BYTES + BUFFERS_BYTES


def test_a_download_is_read_up_to_what_was_signed(service: OddService, home: Home) -> None:
    sealed = seal_bytes(b"video", epoch_identity(1).recipient(), random_from("video"))
    manifest = Manifest(
        household=HOUSEHOLD,
        device=FRONT_DOOR.device.id,
        clip=parse_clip_id(CLIP),
        seq=1,
        prev=None,
        epoch=1,
        recipient=str(epoch_identity(1).recipient()),
        kind=ClipKind.RING,
        events=(draw_event_id(NOW_MS, random_from("event")),),
        pre_roll_ms=0,
        start=NOW_MS,
        end=NOW_MS,
        clock_synced=True,
        file=facts_of(sealed.envelope, sealed.payload),
        thumb=None,
        details=None,
    )
    service.says[f"/v1/clips/{CLIP}/file.age"] = without_end(b" " * 65536)
    signed_bytes = len(sealed.envelope + sealed.payload)
    with Household(home) as household, pytest.raises(OddAnswerError, match=f" {signed_bytes} "):
        clips.open_clip_object(household, manifest)
    assert service.sent_bytes <= BUFFERS_BYTES


def test_a_keyring_without_end_is_read_up_to_its_bound(service: OddService, home: Home) -> None:
    service.says["/v1/keyring.age"] = without_end(b" " * 65536)
    with Household(home) as household, pytest.raises(OddAnswerError):
        household.epochs()
    assert service.sent_bytes <= BUFFERS_BYTES


def test_a_refusal_is_told_in_short_lines_of_its_own(service: OddService, fails: Fails) -> None:
    problem = {
        "title": f"no\nDo: {ESCAPES}" + "x" * 9000,
        "detail": "a\u2028b",
        "do": "doorstep\nx",
    }
    service.says["/v1/devices"] = as_json(problem, 403)
    fact = fails("status")
    assert len(fact) < 500
    assert not any(forbidden in fact for forbidden in ("\x1b", "\x07", "\x9b", "\u202e"))


# ── the stream ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "piece",
    [
        b"data: " + b"x" * 65536,
        b"data: x\n" * 8192,
        b": no blank line\n" * 4096,
        b"\xff" * 65536,
        b"id: 1\r\n" * 8192,
    ],
)
def test_an_event_without_end_ends_listening(
    service: OddService, fails: Fails, piece: bytes
) -> None:
    service.says["/v1/events/stream"] = without_end(piece, kind="text/event-stream")
    assert "does not end" in fails("listen")
    assert service.sent_bytes <= MAX_SENT_EVENT_BYTES + BUFFERS_BYTES


@pytest.mark.parametrize(
    "data", [b"{", b"\xff\xff", b"[" * 50_000, b'{"id": "\xc3\xa9"}', b"null", b"1"]
)
def test_an_event_that_is_none_ends_listening(
    service: OddService, fails: Fails, data: bytes
) -> None:
    service.says["/v1/events/stream"] = as_events(b"id: \xc3\xa9\x1b\ndata: " + data + b"\n\n")
    assert "/v1/events/stream" in fails("listen")


def test_many_events_in_small_pieces_are_heard_whole(service: OddService, home: Home) -> None:
    del home
    line = json.dumps(event()).encode()
    sent = b"".join(b": alive\n\nid: 1\nevent: open\ndata: " + line + b"\n\n" for _ in range(400))
    pieces = [sent[at : at + 777] for at in range(0, len(sent), 777)]
    service.says["/v1/events/stream"] = as_events(*pieces)
    with Service(service.url) as asking:
        opened, *heard = asking.stream("/v1/events/stream")
    assert opened == ""
    assert heard == [line.decode()] * 400


@pytest.mark.parametrize("charset", ["zlib", "base64", "utf-16", "nonsense"])
def test_a_stream_is_utf_8_whatever_charset_it_names(
    service: OddService, home: Home, charset: str
) -> None:
    del home
    kind = f"text/event-stream; charset={charset}"
    service.says["/v1/events/stream"] = as_events("data: é\n\n".encode(), kind=kind)
    with Service(service.url) as asking:
        assert list(asking.stream("/v1/events/stream")) == ["", "é"]


def test_a_page_of_words_is_no_stream(service: OddService, home: Home) -> None:
    del home
    service.says["/v1/events/stream"] = as_events(b"<html>", kind="text/html")
    with Service(service.url) as asking, pytest.raises(ServiceUnreachableError):
        list(asking.stream("/v1/events/stream"))


# ── what is shown ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("words", [["device", "list"], ["device", "list", "--json"], ["status"]])
def test_no_answer_commands_the_terminal(
    service: OddService,
    home: Home,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del home
    told = device(agent=ESCAPES, state=ESCAPES)
    service.says["/v1/devices"] = as_json({"items": [told]})
    order = {
        "counter": 1,
        "name": ESCAPES,
        "clips": 1,
        "until": None,
        "received_at": "2026-09-21T14:13:20Z",
        "expires_at": "2026-09-21T14:13:20Z",
        "state": "waiting",
        "reason": ESCAPES,
    }
    orders = {"items": [order], "next_counter": 2}
    service.says[f"/v1/devices/{told['id']}/commands"] = as_json(orders)
    screen = BytesIO()
    # As narrow a terminal as there is: what it cannot show is shown by number.
    monkeypatch.setattr("sys.stdout", TextIOWrapper(screen, encoding="ascii"))
    monkeypatch.setattr("sys.argv", ["doorstep", *words])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 0
    shown = screen.getvalue()
    assert FRONT_DOOR.device.id.encode() in shown
    assert b"\x1b" not in shown
    assert b"owned" in shown
    if "--json" in words:
        assert json.loads(shown)[0]["agent"] == ESCAPES
