"""`docs/what-the-operator-can-see.md`, made from tables, bodies and log calls."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel

import doorstep_cloud.app.schema  # noqa: F401  # it knows every module with tables
from doorstep_cloud.store.base import MainBase, VaultBase
from doorstep_shared import manifest, receipts, statements
from doorstep_shared.commands import Command
from doorstep_shared.consent import ConsentPolicy
from doorstep_shared.deletions import Deletion
from tests.reference import sight
from tests.reference.bodies import MODELS
from tests.reference.facts import CLOUD, Fact, facts_in
from tests.reference.markdown import code, table
from tests.reference.sight import Fields, Group

SIGNED: Final[tuple[type[BaseModel], ...]] = (
    *(statements.Statement, statements.Member, statements.Device, statements.Epoch),
    *(statements.Recovery, manifest.Manifest, manifest.ObjectFacts, manifest.EnvelopeFacts),
    *(manifest.PayloadFacts, receipts.Receipt, Deletion, Command, ConsentPolicy),
)

_HEAD: Final = """\
# What the operator can see

Whoever runs a Doorstep service can read everything the service can. This page names all of it,
field by field, and says what each tells about people. It is made from the code by `make reference`,
and a test fails when a table, a message or a log line has a field that is not on it.

Three groups:

- **sealed**: only the household's own keys open it. The service keeps it, sends it, and cannot read
  it, and nobody can make it do so.
- **visible**: readable as it stands, and therefore something the operator knows and could be made
  to hand over.
- **logged**: written to the service's log as it happens. Keep that log for 7 days at most; nothing
  here needs it longer.
"""

_IN_SHORT: Final = """\
## In short

Sealed: film, thumbnail, details (where something moved, and what the doorbell took it for), and
every key that opens them. They lie in the object store under the clip's id, as noise; what is
visible of them is their length and their hash.

Visible: that a household exists and how many people and doorbells it has, by random numbers and
public keys; when a bell rang or something moved; when each clip begins and ends, and how large it
is; when a doorbell is connected, and how it is; the household's consent policy and how long it
keeps things; the names that people give to their tokens.

Logged: what happened, by ids and in words of the code. Never a name, a picture, a token or an
address. **But** the operator sees the addresses that requests and doorbells come from while they
come: a proxy in front of the service and the broker know them, and write them down unless they are
told not to ([running](running.md#the-proxy) says how).

A doorbell writes a log of its own, on its own card; that is the household's, and no operator reads
it.
"""


@dataclass(frozen=True, slots=True)
class Gap:
    """A field that the code has and the registry has not, or the other way round."""

    field: str
    is_unknown: bool

    def __str__(self) -> str:
        """Return what to do about it."""
        if self.is_unknown:
            return f"{self.field} is not in tests/reference/sight.py: say there what it tells"
        return f"{self.field} is in tests/reference/sight.py and nowhere else: take it out"


def columns() -> dict[str, list[str]]:
    """Return the columns of every table of both databases."""
    tables = [*MainBase.metadata.sorted_tables, *VaultBase.metadata.sorted_tables]
    return {one.name: [column.name for column in one.columns] for one in tables}


def bodies() -> dict[str, list[str]]:
    """Return the fields of every body that travels over MQTT."""
    return {name: list(model.model_fields) for name, model in MODELS.items()}


def signed() -> dict[str, list[str]]:
    """Return the fields of every body that is signed."""
    return {model.__name__: list(model.model_fields) for model in SIGNED}


def facts() -> dict[str, list[str]]:
    """Return every fact that the service logs, with all that it ever names."""
    found: dict[str, set[str]] = {}
    for fact in facts_in(CLOUD):
        found.setdefault(fact.event, set()).update(fact.keys)
    return {event: sorted(keys) for event, keys in sorted(found.items())}


def gaps() -> list[Gap]:
    """Return where code and registry differ."""
    logged = facts_in(CLOUD)
    return [
        *_gaps_of("column", columns(), sight.COLUMNS),
        *_gaps_of("field", bodies(), sight.BODIES),
        *_gaps_of("field", signed(), sight.SIGNED),
        *_between("fact", {fact.event: f" ({fact.where})" for fact in logged}, sight.FACTS),
        *_between("name in a fact", _keys_with_place(logged), sight.KEYS),
    ]


def page() -> str:
    """Return the page."""
    parts = [_HEAD, _IN_SHORT, "## Sealed\n", _of_group(Group.SEALED)]
    parts += ["## Visible\n", "### In the databases\n"]
    parts += _tables(columns(), sight.COLUMNS, Group.VISIBLE)
    parts += ["### In messages between doorbell and service\n"]
    parts += ["Segments of clips are sealed bytes and have no fields.\n"]
    parts += _tables(bodies(), sight.BODIES, Group.VISIBLE)
    parts += ["### In what people and doorbells sign\n"]
    parts += _tables(signed(), sight.SIGNED, Group.VISIBLE)
    parts += ["## Logged\n", _logged()]
    return "\n".join(parts)


def _gaps_of(
    what: str, found: Mapping[str, list[str]], known: Mapping[str, Fields]
) -> Iterator[Gap]:
    in_code = {f"{name}.{field}": "" for name, fields in found.items() for field in fields}
    written = [f"{name}.{field}" for name, fields in known.items() for field in fields]
    yield from _between(what, in_code, written)


def _between(what: str, found: Mapping[str, str], known: Iterable[str]) -> Iterator[Gap]:
    written = set(known)
    for name, where in found.items():
        if name not in written:
            yield Gap(f"the {what} {name}{where}", is_unknown=True)
    for name in sorted(written - set(found)):
        yield Gap(f"the {what} {name}", is_unknown=False)


def _keys_with_place(logged: Iterable[Fact]) -> dict[str, str]:
    return {key: f" ({fact.where})" for fact in logged for key in sorted(fact.keys)}


def _of_group(group: Group) -> str:
    """Return all fields of a group in one table."""
    rows = [
        (code(f"{name}.{field}"), known[field].words)
        for names, registry in ((columns(), sight.COLUMNS), (bodies(), sight.BODIES))
        for name, fields in names.items()
        for field in fields
        if (known := registry[name])[field].group is group
    ]
    rows.append(("`clips/{clip}/{object}` in the object store", "film, thumbnail and details"))
    return table(("field", "what it holds"), rows)


def _tables(
    found: Mapping[str, list[str]], known: Mapping[str, Fields], group: Group
) -> Iterator[str]:
    for name, fields in found.items():
        rows = [
            (code(field), known[name][field].words)
            for field in fields
            if known[name][field].group is group
        ]
        if rows:
            yield f"**{name}**\n"
            yield table(("field", "what it tells"), rows)


def _logged() -> str:
    found = facts()
    events = [
        (code(event), sight.FACTS[event], ", ".join(map(code, keys)))
        for event, keys in found.items()
    ]
    keys = sorted({key for keys in found.values() for key in keys})
    names = [(code(key), sight.KEYS[key]) for key in keys]
    return "\n".join(
        [
            "Each line has its time, its level, the fact, and what the fact names.\n",
            table(("fact", "what happened", "names"), events),
            table(("name", "what it tells"), names),
        ]
    )
