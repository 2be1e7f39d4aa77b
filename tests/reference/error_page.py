"""`docs/reference/errors.md`: every error that is raised on purpose, read from the source."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from doorstep_cloud.web.problems import STATUS
from tests.reference.facts import CHECKOUT
from tests.reference.markdown import table

FAMILIES: Final[Mapping[str, str]] = {
    "TryLaterError": "The outside world is not ready; the same call may succeed later.",
    "RefusedError": "The answer is no, theirs or ours; trying again will not change it.",
    "BadMessageError": "Bytes arrived that do not follow the protocol; they are dropped.",
}
_HOME: Final = "doorstep_shared.errors"
PACKAGES: Final[Mapping[str, str]] = {
    "doorstep_shared": "shared/doorstep_shared",
    "doorstep_hardware": "hardware/doorstep_hardware",
    "doorstep_device": "device/doorstep_device",
    "doorstep_cloud": "cloud/doorstep_cloud",
    "doorstep_client": "cloud/doorstep_client",
    "doorstep_simulator": "simulator/doorstep_simulator",
}

_HEAD: Final = """\
# Errors

Every error that is raised on purpose, made from the code by `make reference`. What a person sees
has one shape, in commands and in problem documents: the fact (`title`), what is safe all the same
(`detail`), the next step (`do`). `…` stands for what differs from case to case. An error's family
says what the caller does next, and is all that loops and HTTP answers go by.
"""


@dataclass(frozen=True, slots=True)
class Saying:
    """What one place that raises an error says to a person."""

    fact: str
    safe: str
    do: str


@dataclass(slots=True)
class ErrorClass:
    """One class of errors, as the source has it.

    Attributes:
        module: Where it is defined, as imports name it.
        words: The first line of its docstring.
    """

    name: str
    module: str
    bases: tuple[str, ...]
    words: str
    sayings: list[Saying] = field(default_factory=list)

    @property
    def full_name(self) -> str:
        """Return what tells it from one of the same name elsewhere."""
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, slots=True)
class Module:
    """One module, as its source has it."""

    name: str
    tree: ast.Module

    def full_name(self, name: str) -> str:
        """Return the full name of what this module calls ``name``."""
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom) and any(one.name == name for one in node.names):
                return f"{node.module}.{name}"
        return f"{self.name}.{name}"


def errors() -> dict[str, ErrorClass]:
    """Return every error below the families, by its full name, with what is said where."""
    modules = list(_modules())
    classes = {one.full_name: one for module in modules for one in _classes(module)}
    found = {
        name: one
        for name, one in classes.items()
        if family_of(one, classes) and one.name not in FAMILIES and not one.name.startswith("_")
    }
    for module in modules:
        for name, saying in _sayings(module):
            if name in found and saying not in found[name].sayings:
                found[name].sayings.append(saying)
    return found


def family_of(one: ErrorClass, classes: Mapping[str, ErrorClass]) -> str | None:
    """Return the family that a class is of; None if it is no error of ours."""
    families = {f"{_HOME}.{name}": name for name in FAMILIES}
    return next((families[name] for name in _lineage(one, classes) if name in families), None)


def status_of(one: ErrorClass, classes: Mapping[str, ErrorClass]) -> int:
    """Return the HTTP status of an error, as the service's table of families says."""
    lineage = set(_lineage(one, classes))
    return next(
        status for family, status in STATUS if f"{family.__module__}.{family.__name__}" in lineage
    )


def page() -> str:
    """Return the page."""
    found = errors()
    parts = [_HEAD]
    for family, words in FAMILIES.items():
        of_family = [one for one in found.values() if family_of(one, found) == family]
        parts += [f"## {family}\n", f"{words}\n"]
        for one in sorted(of_family, key=lambda one: (one.name, one.module)):
            parts += list(_described(one, found))
    return "\n".join(parts)


def _described(one: ErrorClass, classes: Mapping[str, ErrorClass]) -> Iterator[str]:
    yield f"### {one.name}\n"
    where = f"Defined in `{one.module}`"
    if one.module.startswith(("doorstep_cloud", "doorstep_shared")):
        where += f"; over HTTP {status_of(one, classes)}"
    yield f"{one.words} {where}.\n"
    rows = [(one.fact, one.safe or "-", one.do or "-") for one in one.sayings]
    if rows:
        yield table(("fact", "safe", "do"), rows)


def _lineage(one: ErrorClass, classes: Mapping[str, ErrorClass]) -> Iterator[str]:
    """Yield the full names of a class and of all it is derived from."""
    yield one.full_name
    for base in one.bases:
        if base in classes:
            yield from _lineage(classes[base], classes)
        else:
            yield base


def _modules() -> Iterator[Module]:
    for package, folder in PACKAGES.items():
        root = CHECKOUT / folder
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join([package, *parts]).removesuffix(".__init__")
            yield Module(name, ast.parse(path.read_text()))


def _classes(module: Module) -> Iterator[ErrorClass]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef) and node.name.endswith("Error"):
            bases = tuple(module.full_name(ast.unparse(base)) for base in node.bases)
            words = " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())
            yield ErrorClass(node.name, module.name, bases, words)


def _sayings(module: Module) -> Iterator[tuple[str, Saying]]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and node.args:
            named = {one.arg: one.value for one in node.keywords}
            fact, safe, do = (
                "".join(_words(value)).strip()
                for value in (node.args[0], named.get("safe"), named.get("do"))
            )
            # What only passes on another's words says nothing of its own.
            if fact.strip("…"):
                yield module.full_name(ast.unparse(node.func)), Saying(fact, safe, do)


def _words(value: ast.expr | None) -> Sequence[str]:
    """Return the words of a text, with ``…`` for what is put into it."""
    match value:
        case None:
            return ()
        case ast.Constant(value=str(text)):
            return (text,)
        case ast.JoinedStr(values=parts):
            return [word for part in parts for word in _words(part)]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return (*_words(left), *_words(right))
        case _:
            return ("…",)
