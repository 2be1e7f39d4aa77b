"""The metrics: for whoever asks on this machine, and about nobody."""

import asyncio
from collections.abc import Iterator
from itertools import product

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.routing import Route
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from doorstep_cloud.app import credentials
from doorstep_cloud.app.figures import (
    FAMILIES,
    read_certificates,
    read_databases,
    read_disk,
    read_rows,
    read_store,
    read_worker,
)
from doorstep_cloud.app.jobs import Expiry
from doorstep_cloud.app.sweep import LOST_SINCE
from doorstep_cloud.app.worker import Job, Worker
from doorstep_cloud.events.hub import Hub
from doorstep_cloud.store.errors import DatabaseUnavailableError
from doorstep_cloud.store.passes import note_found
from doorstep_cloud.store.tables import JobRow
from doorstep_cloud.web.metrics import OWN, PATH, RING_BUCKETS_S, Family, Kind, Metrics
from doorstep_shared.errors import TryLaterError
from tests.cast import FOREIGN, Stage
from tests.cast import OWN as OUR_HOUSEHOLD
from tests.people import NOW_MS, OWNER, doorbell
from tests.services import store_nowhere

HERE = ("127.0.0.1", 40000)
HERE_URL = "http://127.0.0.1:8080"
ELSEWHERE = ("203.0.113.9", 40000)
Sample = tuple[str, tuple[tuple[str, str], ...]]


@pytest.fixture
def here(home: Stage) -> Iterator[TestClient]:
    """Somebody who asks on the service's own machine."""
    with TestClient(home.app, base_url=HERE_URL, client=HERE) as client:
        yield client


def read(client: TestClient) -> dict[Sample, float]:
    """Return every sample that a scrape brings, by its name and its labels."""
    answer = client.get(PATH)
    assert answer.status_code == 200, answer.text
    return samples(answer.text)


def samples(text: str) -> dict[Sample, float]:
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def sample(name: str, **labels: str) -> Sample:
    return name, tuple(sorted(labels.items()))


def outside(home: Stage, peer: tuple[str, int]) -> TestClient:
    return TestClient(home.app, base_url=HERE_URL, client=peer)


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1"])
def test_this_machine_reads_them(home: Stage, peer: str) -> None:
    answer = outside(home, (peer, 1)).get(PATH)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "header",
    [
        "X-Forwarded-For",
        "x-forwarded-for",
        "Forwarded",
        "Via",
        "X-Real-IP",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded",
        "CF-Connecting-IP",
        "CF-Ray",
        "True-Client-IP",
        "X-Client-IP",
    ],
)
def test_what_a_proxy_passes_on_is_nobody_of_this_machine(here: TestClient, header: str) -> None:
    assert here.get(PATH, headers={header: "127.0.0.1"}).status_code == 404


@pytest.mark.parametrize(
    "host",
    ["door.example.org", "127.0.0.1.example.org", "localhost:", "127.0.0.1:8080:1", "[::2]", ""],
)
def test_who_asks_by_another_name_came_through_a_proxy_that_says_nothing(
    here: TestClient, host: str
) -> None:
    assert here.get(PATH, headers={"Host": host}).status_code == 404


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:9", "[::1]", "[::1]:65535"])
def test_each_name_of_this_machine_will_do(here: TestClient, host: str) -> None:
    assert here.get(PATH, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("peer", [ELSEWHERE, ("testclient", 1), ("10.0.0.1", 1), ("::2", 1)])
def test_to_everybody_else_it_is_an_address_that_is_none(
    home: Stage, peer: tuple[str, int]
) -> None:
    client = outside(home, peer)
    endings = ("", "/", "//", "?name=x")
    for method, ending in product(("GET", "HEAD", "POST", "OPTIONS"), endings):
        asked = client.request(method, PATH + ending, follow_redirects=False)
        unknown = client.request(method, "/nowhere" + ending, follow_redirects=False)
        assert asked.status_code == unknown.status_code == 404
        assert asked.content == unknown.content
        assert dict(asked.headers) == dict(unknown.headers)


def test_a_scrape_brings_what_was_answered(here: TestClient, home: Stage) -> None:
    before = read(here)
    here.get("/healthz")
    here.get(f"/v1/clips/{doorbell('front').device.id}", headers=home.session(OWNER))
    here.get("/nowhere/at/all")
    here.request("BREW", "/healthz")
    after = read(here)

    def more(name: str, **labels: str) -> float:
        key = sample(name, **labels)
        return after.get(key, 0) - before.get(key, 0)

    requests = "doorstep_http_requests_total"
    assert more(requests, method="GET", route="/healthz", status="200") == 1
    assert more(requests, method="GET", route="none", status="404") == 1
    assert more(requests, method="none", route="/healthz", status="405") == 1
    assert more("doorstep_http_request_seconds_count", route="/healthz") == 2
    assert more("doorstep_http_request_seconds_bucket", route="/healthz", le="10.0") == 2


def test_a_mistake_of_ours_is_counted_too(home: Stage) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    home.app.add_api_route("/broken", fail, methods=["GET"])
    client = TestClient(home.app, base_url=HERE_URL, client=HERE, raise_server_exceptions=False)
    assert client.get("/broken").status_code == 500
    counted = read(client)
    key = sample("doorstep_http_requests_total", method="GET", route="/broken", status="500")
    assert counted[key] == 1


def test_listeners_and_downloads_are_counted_while_they_last(here: TestClient, home: Stage) -> None:
    hub: Hub = home.app.state.hub

    async def listen() -> dict[Sample, float]:
        one, two = hub.listen(OUR_HOUSEHOLD), hub.listen(FOREIGN)
        found = await asyncio.to_thread(read, here)
        one.close()
        two.close()
        return found

    places = home.app.state.download_places
    with places.taken(OUR_HOUSEHOLD), places.taken(OUR_HOUSEHOLD), places.taken(OUR_HOUSEHOLD):
        with pytest.raises(TryLaterError), places.taken(OUR_HOUSEHOLD):
            pass
        found = asyncio.run(listen())
    assert found[sample("doorstep_listeners")] == 2
    assert found[sample("doorstep_downloads_running")] == 3
    assert found[sample("doorstep_download_places")] == places.count
    after = read(here)
    assert after[sample("doorstep_listeners")] == 0
    assert after[sample("doorstep_downloads_running")] == 0
    assert after[sample("doorstep_downloads_refused_total")] == 1


def test_no_series_is_about_anybody(here: TestClient, home: Stage) -> None:
    """Every value of every label is a word of our code, whatever was asked for before."""
    bell = doorbell("front")
    home.enrol(bell, home.claim())
    session = home.session(OWNER)
    for path in (
        f"/v1/claims/{OUR_HOUSEHOLD}",
        f"/v1/clips/{bell.device.id}?device={bell.device.id}",
        f"/{bell.device.id}/{OUR_HOUSEHOLD}",
        "/v1/household",
        "/v1/tokens",
    ):
        here.get(path, headers=session)
        here.request(session["Authorization"][-20:], path, headers=session)
    routes = {route.path for route in home.app.routes if isinstance(route, Route)}
    templates = {*(route for route in routes), *home.client.get("/openapi.json").json()["paths"]}
    known = {
        "method": {"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "none"},
        "route": {*templates, "none"},
        "status": {str(status) for status in range(200, 600)},
        "source": {"web"},
        "le": {*map(str, RING_BUCKETS_S), "0.02", "0.1", "0.5", "2.0", "10.0", "+Inf"},
    }
    found = read(here)
    assert len(found) > 50
    for _, labels in found:
        for label, value in labels:
            assert value in known[label], (label, value)


def test_a_ring_is_counted_by_how_long_it_took() -> None:
    metrics = Metrics()
    for seconds in (0.004, 0.04, 0.04, 60):
        metrics.note_ring(seconds)
    found = samples(metrics.render().decode())
    name = "doorstep_ring_acknowledgement_seconds"
    buckets = {le: found[sample(f"{name}_bucket", le=le)] for le in ("0.005", "0.05", "5.0")}
    assert buckets == {"0.005": 1, "0.05": 3, "5.0": 3}
    assert found[sample(f"{name}_count")] == 4


def test_a_part_that_cannot_be_read_is_said_and_the_others_are_there() -> None:
    def away() -> dict[Family, dict[tuple[str, ...], float]]:
        raise DatabaseUnavailableError("x")

    metrics, family = Metrics(), Family("doorstep_x", Kind.GAUGE, "words")
    metrics.watch("gone", away)
    metrics.watch("there", lambda: {family: {(): 7}})
    found = samples(metrics.render().decode())
    assert found[sample("doorstep_x")] == 7
    assert found[sample("doorstep_metrics_missing", source="gone")] == 1
    assert found[sample("doorstep_metrics_missing", source="there")] == 0


def test_each_app_has_metrics_of_its_own() -> None:
    one, other = Metrics(), Metrics()
    one.note_ring(1)
    assert b"acknowledgement_seconds_count 1.0" in one.render()
    assert b"acknowledgement_seconds_count 0.0" in other.render()


def test_the_process_tells_of_itself_and_no_birthday_is_told() -> None:
    text = Metrics().render().decode()
    assert "process_resident_memory_bytes" in text
    assert "process_cpu_seconds_total" in text
    assert "_created" not in text


def test_the_certificates_end_when_they_say(home: Stage) -> None:
    ((_, found),) = read_certificates(home.folder, lambda: NOW_MS).items()
    assert set(found) == {("ca",), ("broker",), ("ingest",)}
    assert 700 < found["broker",] < 760
    (home.folder / credentials.CA[0]).write_text("torn")
    with pytest.raises(credentials.MissingCredentialsError):
        read_certificates(home.folder, lambda: NOW_MS)


def test_databases_tell_their_size_and_what_they_gave_up(home: Stage) -> None:
    sizes = {family.name: found for family, found in read_disk(home.folder).items()}
    path = home.folder / "main.db"
    assert sizes["doorstep_database_bytes"]["main", "database"] == path.stat().st_size
    assert sizes["doorstep_database_bytes"]["vault", "wal"] >= 0
    assert sizes["doorstep_state_free_bytes"][()] > 0
    home.databases.main.dispose()
    path.rename(path.with_suffix(".away"))
    path.mkdir()
    with pytest.raises(DatabaseUnavailableError):
        read_rows(home.databases, lambda: NOW_MS)
    ((_, given_up),) = read_databases(home.databases).items()
    assert given_up == {("read",): 1, ("write",): 0}


def test_the_rows_tell_who_is_there_and_when_each_job_passed(home: Stage) -> None:
    with home.databases.write() as unit:
        unit.main.add(JobRow(name="sweep", passed_at_ms=NOW_MS))
        note_found(unit, LOST_SINCE, ["a clip"], NOW_MS)
        unit.commit()
    found = {one.name: values for one, values in read_rows(home.databases, lambda: NOW_MS).items()}
    assert found["doorstep_doorbells_online"] == {(): 0}
    assert found["doorstep_job_passed_timestamp_seconds"] == {("sweep",): NOW_MS / 1000}


def test_the_worker_tells_what_passed_what_failed_and_what_is_held(home: Stage) -> None:
    def fail() -> None:
        raise TryLaterError("x")

    worker = Worker(monotonic_s=lambda: 0.0)
    worker.take([Job("good", 60, lambda: None), Job("bad", 60, fail)])
    with capture_logs():
        worker.run_due()
    expiry = Expiry(home.databases, home.app.state.deleter, lambda: NOW_MS, lambda: 0.0)
    found = {one.name: values for one, values in read_worker(worker, expiry).items()}
    assert found["doorstep_job_passes_total"]["good",] == 1
    assert found["doorstep_job_errors_total"]["bad",] == 1
    assert found["doorstep_expiry_held"] == {(): expiry.is_held}


def test_a_store_that_does_not_answer_is_counted() -> None:
    store = store_nowhere()
    before = store.errors
    with pytest.raises(TryLaterError):
        store.sha256_of("x")
    ((_, found),) = read_store(store).items()
    assert found == {(): before + 1}


def test_every_metric_is_named_as_what_it_is() -> None:
    families = (*OWN, *FAMILIES)
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert family.name.startswith("doorstep_")
        assert family.name.endswith("_total") == (family.kind is Kind.COUNTER)
        assert family.words.endswith(".")
