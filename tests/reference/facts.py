"""Every fact that our programs log, found in their source: what it is called and what it names."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).parents[2]
CLOUD: Final = CHECKOUT / "cloud" / "doorstep_cloud"
DEVICE: Final = CHECKOUT / "device" / "doorstep_device"

LEVELS: Final = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
LOGGERS: Final = frozenset({"log", "_log"})

# Keywords that no call shows, by the words behind its stars.
SPREAD: Final[Mapping[str, tuple[str, ...]]] = {
    "counts": ("counts of ingest",),
    "facts": ("counts of the sweep",),
}
# Names of facts that no call shows, by the expression in its place.
CHOSEN: Final[Mapping[str, tuple[str, ...]]] = {
    "_STORED[item.kind]": ("ring_stored", "motion_stored"),
}


class HiddenFactError(Exception):
    """A call whose fact or names cannot be read from it."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One call that logs.

    Attributes:
        keys: What it names beside its event, its time and its level.
        where: File and line.
    """

    event: str
    keys: frozenset[str]
    where: str


def facts_in(folder: Path) -> list[Fact]:
    """Return every fact logged below ``folder``, by name.

    Raises:
        HiddenFactError: Saying where, and what to write down in this module.
    """
    found = [fact for path in sorted(folder.rglob("*.py")) for fact in _facts(path)]
    return sorted(found, key=lambda fact: (fact.event, fact.where))


def _facts(path: Path) -> Iterator[Fact]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            # `stack.callback(log.info, "…")` is a call of `log.info` that comes later.
            callee, arguments = node.func, node.args
            if arguments and _is_log(arguments[0]):
                callee, arguments = arguments[0], arguments[1:]
            if _is_log(callee):
                where = f"{path.relative_to(CHECKOUT)}:{node.lineno}"
                keys = frozenset(_keys(node, where))
                if isinstance(callee, ast.Attribute) and callee.attr == "exception":
                    keys |= {"exception"}
                yield from (Fact(event, keys, where) for event in _events(arguments, where))


def _is_log(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and node.attr in LEVELS
        and isinstance(node.value, ast.Name)
        and node.value.id in LOGGERS
    )


def _events(arguments: list[ast.expr], where: str) -> tuple[str, ...]:
    if arguments and isinstance(arguments[0], ast.Constant) and isinstance(arguments[0].value, str):
        return (arguments[0].value,)
    text = ast.unparse(arguments[0]) if arguments else "nothing"
    if text not in CHOSEN:
        raise HiddenFactError(f"{where} logs {text}: add it to CHOSEN in tests/reference/facts.py")
    return CHOSEN[text]


def _keys(call: ast.Call, where: str) -> Iterator[str]:
    for keyword in call.keywords:
        if keyword.arg is not None:
            yield keyword.arg
            continue
        text = ast.unparse(keyword.value)
        if text not in SPREAD:
            raise HiddenFactError(
                f"{where} logs **{text}: add it to SPREAD in tests/reference/facts.py"
            )
        yield from SPREAD[text]
