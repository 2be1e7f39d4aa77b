"""`docs/reference/settings.md`: every setting of every program."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from doorstep_client.home import ENVIRONMENT_NAME
from doorstep_cloud.settings import PREFIX, Settings
from doorstep_device.bootstrap import DeviceSettings
from tests.reference.markdown import code, table

_HEAD: Final = """\
# Settings

Every setting of every program, made from the code by `make reference`. All are environment
variables; one that is unknown or out of bounds is refused by name, and nothing starts.
[Running](../running.md) says what to set for what.
"""

_CLIENT: Final = (
    code(ENVIRONMENT_NAME),
    "path",
    "`~/.local/share/doorstep`",
    "The owner's keys and statements, for nobody else to read.",
)
_HEADS: Final = ("variable", "takes", "default", "meaning")

PROGRAMS: Final[tuple[tuple[str, type[BaseSettings], str], ...]] = (
    ("The service, `doorstep-cloud`", Settings, PREFIX),
    ("The doorbell, `doorstep-device`", DeviceSettings, "DOORSTEP_DEVICE_"),
)

_BOUNDS: Final = {"ge": "≥ ", "le": "≤ ", "min_length": "length ≥ ", "max_length": "length ≤ "}


def meanings(settings: type[BaseSettings]) -> dict[str, str]:
    """Return what the docstring of ``settings`` says of each of its attributes."""
    section = (settings.__doc__ or "").partition("Attributes:\n")[2]
    found = re.findall(r"^ {8}(\w+): (.+?)(?=^ {8}\w+: |\Z)", section, re.MULTILINE | re.DOTALL)
    return {name: " ".join(words.split()).replace("``", "`") for name, words in found}


def page() -> str:
    """Return the page."""
    parts = [_HEAD]
    for title, settings, prefix in PROGRAMS:
        parts += [f"## {title}\n", table(_HEADS, _rows(settings, prefix))]
    parts += ["## The owner's command, `doorstep`\n", table(_HEADS, [_CLIENT])]
    return "\n".join(parts)


def _rows(settings: type[BaseSettings], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    words = meanings(settings)
    for name, field in settings.model_fields.items():
        yield code(prefix + name.upper()), _takes(field), _default(field), words[name]


def _takes(field: FieldInfo) -> str:
    kinds = re.sub(r"[\w.]+\.|<class '|'>", "", str(field.annotation))
    names = {"int": "number", "float": "number", "str": "text", "bool": "true or false"}
    names |= {"Path": "path", "Path | None": "path", "SecretStr": "secret", "Zone": "corners"}
    names |= {"SecretStr | None": "secret"}
    bounds = [
        f"{words}{value}"
        for limit in field.metadata
        for name, words in _BOUNDS.items()
        if (value := getattr(limit, name, None)) is not None
    ]
    return ", ".join([names.get(kinds, kinds), *bounds])


def _default(field: FieldInfo) -> str:
    text = "" if field.default is None else str(field.default)
    if isinstance(field.default, bool):
        text = text.lower()
    return code(text.replace(str(Path.home()), "~")) if text else "-"
