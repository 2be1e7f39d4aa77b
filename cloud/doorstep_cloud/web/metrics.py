"""What an operator would be woken for, as Prometheus reads it; for this machine only.

Numbers about the service and never about a household: a label's value is a word of our
code (a count's name, a route's template, a status), never an id, a name or an address.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPMethod
from ipaddress import ip_address
from typing import Annotated, Final, TypeAlias

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from doorstep_shared.errors import DoorstepError

PATH: Final = "/metrics"

router: Final = APIRouter(tags=["health"])


class Kind(StrEnum):
    """What a metric's numbers mean over time."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric.

    Attributes:
        name: As it is scraped; that of a counter ends in ``_total``.
        words: What it counts or measures, and what to do about it if that is not plain.
        labels: Names of its labels.
    """

    name: str
    kind: Kind
    words: str
    labels: tuple[str, ...] = ()


Readings: TypeAlias = Mapping[tuple[str, ...], float]
"""Numbers by the values of a family's labels."""

Source: TypeAlias = Callable[[], Mapping[Family, Readings]]
"""Reads some families when it is asked, within a moment.

It raises a `DoorstepError` when it cannot; its families are then left out, and `MISSING` is 1.
"""

RING_SECONDS: Final = Family(
    "doorstep_ring_acknowledgement_seconds",
    Kind.HISTOGRAM,
    "From a ring's arrival at ingest until its doorbell was told that it is stored.",
)
REQUESTS: Final = Family(
    "doorstep_http_requests_total",
    Kind.COUNTER,
    "Answers over HTTP; the route is its template, or `none` where there is none.",
    ("method", "route", "status"),
)
REQUEST_SECONDS: Final = Family(
    "doorstep_http_request_seconds",
    Kind.HISTOGRAM,
    "Until an answer began; a download or a stream then goes on.",
    ("route",),
)
MISSING: Final = Family(
    "doorstep_metrics_missing",
    Kind.GAUGE,
    "1 if a part could not be read for this scrape, and its metrics are left out.",
    ("source",),
)
OWN: Final = (RING_SECONDS, REQUESTS, REQUEST_SECONDS, MISSING)

RING_BUCKETS_S: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""A ring should be acknowledged within 50 ms, and is repeated by its doorbell after 2 s."""

_REQUEST_BUCKETS_S: Final = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0)
_NO_ROUTE: Final = "none"

# Anything a proxy says about whom it asks for: then nobody on this machine asks.
_FORWARDED: Final = re.compile(
    "x[-_]forwarded.*|x[-_]original[-_].*|forwarded|via|x-real-ip|x-client-ip|true-client-ip"
    "|x-cluster-client-ip|fastly-client-ip|cf-.*|cdn-loop"
)

# Through a proxy that says nothing one still asks by the service's public name.
_OUR_NAMES: Final = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)


class Metrics:
    """The metrics of one app, in a registry of its own. Safe to use from any thread."""

    def __init__(self) -> None:
        self._sources: dict[str, Source] = {}
        self._rings = Histogram(
            RING_SECONDS.name, RING_SECONDS.words, registry=None, buckets=RING_BUCKETS_S
        )
        self._requests = Counter(REQUESTS.name, REQUESTS.words, REQUESTS.labels, registry=None)
        self._request_seconds = Histogram(
            REQUEST_SECONDS.name,
            REQUEST_SECONDS.words,
            REQUEST_SECONDS.labels,
            registry=None,
            buckets=_REQUEST_BUCKETS_S,
        )
        self._registry = CollectorRegistry()
        self._registry.register(_Gathered(self._gather))
        ProcessCollector(registry=self._registry)

    def watch(self, name: str, source: Source) -> None:
        """Read ``source`` at every scrape; ``name`` says which when it cannot be read."""
        self._sources[name] = source

    def note_ring(self, seconds: float) -> None:
        """Count a ring that was acknowledged after ``seconds``."""
        self._rings.observe(seconds)

    def note_request(self, method: str, route: str | None, status: int, seconds: float) -> None:
        """Count an answer that began after ``seconds``.

        Args:
            method: As it was asked: anybody may ask with any word.
            route: The template of its address; None where there is none.
            status: Of the answer.
            seconds: Since the request came.
        """
        known = method if method in HTTPMethod.__members__ else _NO_ROUTE
        template = route or _NO_ROUTE
        self._requests.labels(known, template, str(status)).inc()
        self._request_seconds.labels(template).observe(seconds)

    def render(self) -> bytes:
        """Return every metric in Prometheus' text format."""
        return generate_latest(self._registry)

    def _gather(self) -> Iterator[Metric]:
        for own in (self._rings, self._requests, self._request_seconds):
            yield from map(_without_birthdays, own.collect())
        missing: dict[tuple[str, ...], float] = {}
        for name, source in self._sources.items():
            try:
                found = source()
            except DoorstepError:
                missing[name,] = 1
            else:
                missing[name,] = 0
                for family, readings in found.items():
                    yield _as_metric(family, readings)
        yield _as_metric(MISSING, missing)


class MetricsGate:
    """Middleware: who does not ask on this machine itself finds nothing at `PATH`.

    The request goes on to an address that does not exist, so the answer is to the byte
    the one that any unknown address has.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and _is_metrics(scope["path"]) and not is_asked_here(scope):
            scope = {**scope, "path": "/-", "raw_path": b"/-"}
        await self._app(scope, receive, send)


def is_asked_here(scope: Scope) -> bool:
    """Return whether a request comes from this machine, by a name of its own, past any proxy.

    A proxy that says nothing and asks by a name of this machine cannot be told from a program
    on it: such a one has to keep the address to itself.
    """
    peer = scope.get("client")
    headers = Headers(scope=scope)
    return (
        peer is not None
        and _is_loopback(peer[0])
        and _OUR_NAMES.fullmatch(headers.get("host", "")) is not None
        and not any(map(_FORWARDED.fullmatch, headers))
    )


def metrics_of(request: Request) -> Metrics:
    """Return the metrics this app was composed with."""
    found = request.app.state.metrics
    if not isinstance(found, Metrics):
        raise TypeError("the app was composed without metrics")
    return found


@router.get(PATH, response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def show_metrics(metrics: Annotated[Metrics, Depends(metrics_of)]) -> Response:
    """Return the service's metrics in Prometheus' text format; a 404 from any other machine."""
    return Response(metrics.render(), media_type=CONTENT_TYPE_LATEST)


class _Gathered(Collector):
    """A collector that is a function."""

    def __init__(self, gather: Callable[[], Iterable[Metric]]) -> None:
        self._gather = gather

    def collect(self) -> Iterable[Metric]:
        """Return what there is now."""
        return self._gather()

    def describe(self) -> Iterable[Metric]:
        """Return nothing: asked for at registration, when there are no sources yet."""
        return ()


def _is_metrics(path: str) -> bool:
    # The router would answer the second with the address of the first.
    return re.fullmatch(f"{PATH}/*", path) is not None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _as_metric(family: Family, readings: Readings) -> Metric:
    metric: CounterMetricFamily | GaugeMetricFamily
    if family.kind is Kind.COUNTER:
        metric = CounterMetricFamily(family.name, family.words, labels=family.labels)
    else:
        metric = GaugeMetricFamily(family.name, family.words, labels=family.labels)
    for values, number in readings.items():
        metric.add_metric(values, number)
    return metric


def _without_birthdays(metric: Metric) -> Metric:
    """Leave out when each series began, which the client adds as series of their own."""
    metric.samples = [one for one in metric.samples if not one.name.endswith("_created")]
    return metric
