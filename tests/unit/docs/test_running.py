"""The page on running names the settings there are, and the broker's limits."""

import re
from pathlib import Path
from typing import Final

from pydantic_settings import BaseSettings

from doorstep_cloud.settings import PREFIX, Settings
from doorstep_device.bootstrap import DeviceSettings
from doorstep_simulator.broker import BrokerFiles, _configuration
from tests.unit.docs.pages import DOCS, blocks, rows, section

RUNNING: Final = (DOCS / "running.md").read_text()

# Where a broker listens and what it logs is its owner's business; the rest protects doorbells.
OWN: Final = {"user", "log_dest", "log_type", "connection_messages", "listener"}
FILES: Final = {"plugin", "plugin_opt_config_file", "cafile", "certfile", "keyfile"}


def told(title: str) -> dict[str, str]:
    """Return the variables under a heading, with their defaults as told."""
    table = rows(section(RUNNING, title))
    return {row[0].strip("`"): row[1].strip("`") for row in table}


def defaults(settings: type[BaseSettings], prefix: str) -> dict[str, str]:
    """Return the variables of ``settings``, with their defaults as a person would type them."""
    found = {}
    for name, field in settings.model_fields.items():
        value = field.default
        text = "" if value is None else re.sub(r"\.0$", "", str(value))
        text = text.lower() if isinstance(value, bool) else text
        found[prefix + name.upper()] = text.replace(str(Path.home()), "~")
    return found


def test_the_settings_of_the_service_are_told_with_their_defaults() -> None:
    assert told("Settings") == defaults(Settings, PREFIX)


def test_the_settings_of_the_doorbell_are_told_with_their_defaults() -> None:
    assert told("A doorbell") == defaults(DeviceSettings, "DOORSTEP_DEVICE_")


def directives(text: str) -> dict[str, str]:
    pairs = (line.partition(" ") for line in text.splitlines() if line)
    return {name: value for name, _, value in pairs if name not in OWN}


def test_the_broker_of_the_page_is_as_strict_as_the_one_of_make_up() -> None:
    folder = Path("broker")
    files = BrokerFiles(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    used = directives(_configuration(folder, 8883, files, Path("plugin.so")))
    shown = next(block for block in blocks(RUNNING) if "plugin" in block and "listener" in block)
    assert directives(shown).keys() == used.keys()
    for name in used.keys() - FILES:
        assert directives(shown)[name] == used[name]
