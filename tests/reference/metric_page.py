"""`docs/reference/metrics.md`: every metric, what it means, and when to be woken."""

from typing import Final

from doorstep_cloud.app.figures import FAMILIES
from doorstep_cloud.ingest.counters import Count
from doorstep_cloud.web.metrics import OWN, PATH, RING_BUCKETS_S
from tests.reference.markdown import code, table

_HEAD: Final = f"""\
# Metrics

`GET {PATH}` in Prometheus' text format, made from the code by `make reference`. It answers requests
that come from the service's own machine and through no proxy; to all others it is an address that
does not exist. No label names a household, a person, a doorbell, a clip, a token or an address.
[Running](../running.md#prometheus) says how to scrape it.
"""

_PROCESS: Final = """\
Beside these stand the process's own, as Prometheus' client has them for every program:
`process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_open_fds`,
`process_start_time_seconds` and their like.
"""


def page() -> str:
    """Return the page."""
    rows = [
        (code(one.name), one.kind.value, ", ".join(map(code, one.labels)) or "-", one.words)
        for one in (*FAMILIES, *OWN)
    ]
    counts = ", ".join(code(count.value) for count in Count)
    buckets = ", ".join(f"{second * 1000:g}" for second in RING_BUCKETS_S)
    return "\n".join(
        [
            _HEAD,
            table(("metric", "kind", "labels", "meaning"), rows),
            _PROCESS,
            f"`doorstep_ring_acknowledgement_seconds` has its buckets at {buckets} ms.\n",
            f"`what` of `doorstep_ingest_total` is one of {counts}.\n",
        ]
    )
