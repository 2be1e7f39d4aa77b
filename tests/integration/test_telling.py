"""What a busy run tells: one ring from finger to listener, numbers for the operator, no secret."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from doorstep_cloud.app.figures import FAMILIES
from doorstep_cloud.web.metrics import OWN
from doorstep_simulator.doorbell import Doorbell
from tests.running import Home, ring, wait_for, wait_for_fact

CLOUD_LOG: Final = "cloud"
TOKEN_NAME: Final = "Grandmother's tablet"

FORMS: Final = {
    "an address": re.compile(r"\b\d{1,3}(\.\d{1,3}){3}\b|localhost|https?://"),
    "a token, session or invite": re.compile(r"dst_[a-z]+_"),
    "a key": re.compile(r"AGE-SECRET-KEY|BEGIN [A-Z ]*(KEY|CERTIFICATE)"),
    "sealed or pictured bytes": re.compile(r"[A-Za-z0-9+/_-]{120,}"),
}


@dataclass(slots=True)
class Listening:
    """`doorstep listen --json`, running, and its lines with the time at which each came."""

    process: subprocess.Popen[str]
    lines: list[tuple[float, str]] = field(default_factory=list)

    def read(self) -> None:
        """Take its lines until it ends."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append((time.time() * 1000, line))


@dataclass(frozen=True, slots=True)
class Busy:
    """What is there after a run in which much happened.

    Attributes:
        event: A ring that was pressed, stored and heard.
        said: On the listener's stderr.
    """

    home: Home
    bell: Doorbell
    event: str
    clip: str
    heard: list[tuple[float, str]]
    said: str
    secrets: Mapping[str, str]

    def log(self, of: str) -> list[str]:
        """Return the lines of the doorbell's log, or of the service's."""
        log = self.bell.wiring.log if of == "doorbell" else self.home.stack.log(CLOUD_LOG)
        return log.read_text().splitlines()


@pytest.fixture(scope="module")
def busy(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Busy]:
    """A ring while somebody listens, a network that goes and comes, and requests of all kinds."""
    errors = tmp_path_factory.mktemp("listener") / "stderr"
    with home.doorbell() as bell, errors.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "doorstep_client", "listen", "--json"],
            env=os.environ
            | {"DOORSTEP_HOME": str(home.owner.home.folder), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        listening = Listening(process)
        reader = threading.Thread(target=listening.read, daemon=True)
        reader.start()
        try:
            wait_for(lambda: "Listening" in errors.read_text(), "a listener")
            event = ring(bell)
            wait_for(lambda: any(event in line for _, line in listening.lines), "a heard ring")
            clip = home.wait_until_stored(event).id
            secrets = ask_of_all_kinds(home, clip, errors.parent / "token")
            bell.cut_network()
            wait_for_fact(bell, "broker_lost", connection="control")
            bell.mend_network()
            wait_for(lambda: len(bell.facts.all("broker_connected")) >= 4, "both lines, once more")
            yield Busy(home, bell, event, clip, listening.lines, errors.read_text(), secrets)
        finally:
            process.terminate()
            process.wait(20)
            reader.join(20)
            assert process.stdout is not None
            process.stdout.close()


def ask_of_all_kinds(home: Home, clip: str, file: Path) -> dict[str, str]:
    """Ask well and badly over HTTP; return what was secret in it."""
    token = home.owner.make_token(file)
    good, bad = {"Authorization": f"Bearer {token}"}, {"Authorization": f"Bearer {token[:-3]}abc"}
    with httpx.Client(base_url=home.stack.ports.api_url) as client:
        for headers in (good, bad, {}):
            for path in (
                f"/v1/clips/{clip}",
                f"/v1/clips/{clip}/file.age",
                f"/v1/clips/{clip}?{token}={token}",
                f"/v1/clips?device={home.device}&since={clip}",
                f"/{token}/{clip}",
                "/v1/household",
                "/v1/keyring.age",
            ):
                client.get(path, headers=headers)
            client.post("/v1/tokens", headers=headers, json={"name": TOKEN_NAME})
            client.request(token[:12], "/", headers=headers)
    account = home.owner.home.account()
    keys = home.owner.home.keys()
    return {
        "the token": token,
        "the token's name": TOKEN_NAME,
        "the household": account.household,
        "the owner": account.member,
        "the owner's age key": str(keys.age),
        "the owner's signing key": keys.sign.seed.hex(),
    }


def moment(line: str) -> float:
    """Return when a line of a log was written, Unix milliseconds."""
    fact = json.loads(line)
    if "at_ms" in fact:
        return float(fact["at_ms"])
    return datetime.fromisoformat(fact["timestamp"]).timestamp() * 1000


def test_one_ring_is_followed_from_finger_to_listener_by_its_id(busy: Busy) -> None:
    """Each log is searched for the id, as an operator would; then its lines are put in order."""
    found = [
        (moment(line), f"{of}: {json.loads(line)['event']}")
        for of in ("doorbell", "service")
        for line in busy.log(of)
        if busy.event in line and '"event_id"' in line
    ]
    found += [
        (when, "listener: heard")
        for when, line in busy.heard
        if json.loads(line)["id"] == busy.event
    ]
    told = {what: when for when, what in sorted(found, reverse=True)}
    way = ["doorbell: ring_pressed", "doorbell: event_stored", "service: ring_stored"]
    for last in ("listener: heard", "doorbell: event_acked"):
        # A doorbell's stamps are whole milliseconds, cut off; the service's are not.
        times = [int(told[step]) for step in (*way, last)]
        assert times == sorted(times), (last, told)
    assert "doorbell: event_published" in told


def test_one_clip_is_followed_from_the_doorbell_into_the_store(busy: Busy) -> None:
    def facts(of: str) -> set[str]:
        lines = [json.loads(line) for line in busy.log(of) if busy.clip in line]
        return {line["event"] for line in lines if line.get("clip_id") == busy.clip}

    assert facts("doorbell") >= {"clip_finished", "clip_announced", "object_uploaded"}
    assert "object_stored" in facts("service")


def test_no_line_of_any_log_names_a_person_a_secret_or_an_address(busy: Busy) -> None:
    lines = {
        "doorbell": busy.log("doorbell"),
        "service": busy.log("service"),
        "listener": busy.said.splitlines(),
    }
    assert len(lines["service"]) > 25
    assert len(lines["doorbell"]) > 10
    for of, told in lines.items():
        for line in told:
            for what, secret in busy.secrets.items():
                assert secret not in line, (of, what, line)
            for what, form in FORMS.items():
                assert not form.search(line), (of, what, line)


def test_the_search_would_have_found_them(busy: Busy) -> None:
    shown = [
        "from 10.0.0.7:5000",
        busy.home.stack.ports.api_url,
        busy.secrets["the token"],
        busy.secrets["the owner's age key"],
        "iVBORw0KGgo" * 12,
    ]
    for line in shown:
        assert any(form.search(line) for form in FORMS.values()), line


def test_every_line_of_the_service_is_a_fact_with_its_time(busy: Busy) -> None:
    for line in busy.log("service"):
        fact = json.loads(line)
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", fact["event"]), line
        assert {"timestamp", "level"} <= set(fact)


def scrape(busy: Busy, **headers: str) -> httpx.Response:
    return httpx.get(f"{busy.home.stack.ports.api_url}/metrics", headers=headers)


def test_a_busy_service_tells_every_number_there_is(busy: Busy) -> None:
    families = list(text_string_to_metric_families(scrape(busy).text))
    ours = {family.name.removesuffix("_total") for family in (*FAMILIES, *OWN)}
    assert ours - {family.name for family in families} == set()
    assert {family.name for family in families} - ours == {
        name for family in families if (name := family.name).startswith("process_")
    }
    samples = {
        (one.name, *sorted(one.labels.items())): one.value
        for family in families
        for one in family.samples
    }
    assert samples["doorstep_ingest_total", ("what", "event_stored")] >= 1
    assert samples["doorstep_ring_acknowledgement_seconds_count",] >= 1
    assert samples["doorstep_doorbells_online",] >= 1
    assert samples["doorstep_doorbells_admitted",] >= 1
    assert samples["doorstep_state_free_bytes",] > 0
    for connection in ("control", "bulk", "access"):
        assert samples["doorstep_broker_connection_up", ("connection", connection)] == 1
    assert not [key for key, value in samples.items() if "_missing" in key[0] and value]


def test_no_number_of_a_busy_service_is_about_anybody(busy: Busy) -> None:
    values = {
        value
        for family in text_string_to_metric_families(scrape(busy).text)
        for one in family.samples
        for name, value in one.labels.items()
        if name != "le"
    }
    assert len(values) > 40
    ids = (busy.event, busy.clip, busy.home.device, *busy.secrets.values())
    for value in values:
        # A word of our code, a status, or the template of a route.
        assert re.fullmatch(r"[a-z_-]+|[A-Z]+|\d{3}|/|(/[a-z0-9_.{}-]+)+", value), value
        assert not any(one in value for one in ids)
        assert not re.search(r"[0-9a-z]{20,}|\d{4,}", value), value


def test_a_proxy_gets_nothing_of_it(busy: Busy) -> None:
    url = busy.home.stack.ports.api_url
    unknown = httpx.get(f"{url}/nowhere")
    asked = scrape(busy, **{"X-Forwarded-For": "198.51.100.7"})
    assert asked.status_code == unknown.status_code == 404
    assert asked.content == unknown.content
