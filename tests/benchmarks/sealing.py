"""Sealing and opening beside pyrage, age in Rust."""

import os
import secrets
import time
from collections.abc import Callable, Iterator
from functools import partial

import pyrage  # type: ignore[import-untyped]  # a compiled module without stubs

from doorstep_shared.age_keys import Identity
from doorstep_shared.seal import Sealed, seal_bytes
from doorstep_shared.unseal import open_age_file
from tests.benchmarks.figures import Figure, take_turns
from tests.benchmarks.lab import Bench, Lab
from tests.benchmarks.table import Better, Row

MIB = 1024 * 1024
RUNS = {4: 25, 64: 5}

_OURS = Identity.generate(secrets.token_bytes)
_THEIRS = pyrage.x25519.Identity.from_str(str(_OURS))


def _measure_seal(size_mib: int, _lab: Lab) -> Iterator[Row]:
    data = os.urandom(size_mib * MIB)
    recipient, their_recipient = _OURS.recipient(), _THEIRS.to_public()

    def seal() -> Sealed:
        return seal_bytes(data, recipient, secrets.token_bytes)

    box = seal()
    assert pyrage.decrypt(box.envelope + box.payload, [_THEIRS]) == data
    what = f"sealing {size_mib} MiB to one recipient"
    theirs = partial(pyrage.encrypt, data, [their_recipient])
    yield _row(f"seal-{size_mib}mib", what, seal, theirs, size_mib)


def _measure_open(size_mib: int, _lab: Lab) -> Iterator[Row]:
    data = os.urandom(size_mib * MIB)
    sealed = pyrage.encrypt(data, [_THEIRS.to_public()])
    assert open_age_file(sealed, [_OURS]) == data
    yield _row(
        f"open-{size_mib}mib",
        f"opening {size_mib} MiB, all of it checked before any is given",
        partial(open_age_file, sealed, [_OURS]),
        partial(pyrage.decrypt, sealed, [_THEIRS]),
        size_mib,
    )


def _row(
    name: str, what: str, ours: Callable[[], object], theirs: Callable[[], object], size_mib: int
) -> Row:
    def speed(work: Callable[[], object]) -> float:
        started_s = time.perf_counter()
        work()
        return size_mib * MIB / 1e6 / (time.perf_counter() - started_s)

    mine, peer = take_turns(RUNS[size_mib], partial(speed, ours), partial(speed, theirs))
    return Row(name, what, "MB/s", Better.MORE, Figure(mine), "pyrage", Figure(peer))


BENCHES = tuple(
    Bench((f"{verb}-{size_mib}mib",), partial(measure, size_mib))
    for size_mib in RUNS
    for verb, measure in (("seal", _measure_seal), ("open", _measure_open))
)
