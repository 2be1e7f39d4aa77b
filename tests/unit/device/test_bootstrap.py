"""What an agent is put together from."""

import asyncio
import os
import re
import stat
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from doorstep_device.adapters.clock import SystemClock
from doorstep_device.adapters.disk import FolderDisk
from doorstep_device.agent import Agent
from doorstep_device.bootstrap import BUILT_AT, DeviceSettings, build_agent
from doorstep_device.identity import (
    CA_PATH,
    CERTIFICATE_PATH,
    TLS_KEY_PATH,
    DamagedIdentityError,
    read_keys,
)
from doorstep_device.rules.zones import Zone
from tests.cards import enrolled_card
from tests.simulated_doorbell import ScriptedPanel

PEM_OF_NOTHING = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
CHECKOUT = Path(__file__).parents[3]


@pytest.fixture
def card(tmp_path: Path) -> Path:
    return enrolled_card(tmp_path / "card")


def built(settings: DeviceSettings) -> Agent:
    """Return the agent of that card; it never runs."""

    async def build() -> Agent:
        return build_agent(
            settings=settings, panel=ScriptedPanel(), make_camera=None, clock=SystemClock()
        )

    return asyncio.run(build())


def test_what_the_settings_say_reaches_the_agent(card: Path) -> None:
    zone = Zone(((0, 0.5), (1, 0.5), (1, 1)))
    parts = built(DeviceSettings(state_dir=card, zone=zone, pre_roll_s=9))._parts
    assert parts.rule.settings.zone == zone
    assert parts.pre_roll_s == 9
    assert parts.boot.device == read_keys(FolderDisk(card)).public.device
    assert re.fullmatch(r"doorstep \d+\.\d+\.\d+\S*", parts.boot.version)


def test_damaged_statements_do_not_stop_it(card: Path) -> None:
    (card / "statements.json").write_bytes(b"\0" * 512)
    assert built(DeviceSettings(state_dir=card))._parts.membership.head is None
    assert (card / "statements.json.kept-1").exists()


@pytest.mark.parametrize("damage", [b"", b"\xff", None])
def test_a_damaged_certificate_is_told_as_damage(card: Path, damage: bytes | None) -> None:
    if damage is None:
        (card / CERTIFICATE_PATH).unlink()
    else:
        (card / CERTIFICATE_PATH).write_bytes(damage)
    with pytest.raises(DamagedIdentityError) as told:
        built(DeviceSettings(state_dir=card))
    assert told.value.do


@pytest.mark.parametrize("damage", [b"", b"\xff", PEM_OF_NOTHING, None])
@pytest.mark.parametrize("path", [CA_PATH, CERTIFICATE_PATH, TLS_KEY_PATH])
def test_a_doorbell_whose_files_for_the_broker_are_damaged_says_what_to_do(
    card: Path, path: str, damage: bytes | None
) -> None:
    if damage is None:
        (card / path).unlink()
    else:
        (card / path).write_bytes(damage)
    with pytest.raises(DamagedIdentityError) as told:
        built(DeviceSettings(state_dir=card))
    assert "of this doorbell cannot be read from its card" in told.value.fact
    assert told.value.safe == "Clips already on the card are kept, sealed."
    assert "doorstep device add" in told.value.do


def test_a_certificate_for_another_key_is_damage(card: Path, tmp_path: Path) -> None:
    other = enrolled_card(tmp_path / "other")
    (card / CERTIFICATE_PATH).write_bytes((other / CERTIFICATE_PATH).read_bytes())
    with pytest.raises(DamagedIdentityError, match="the certificates of this doorbell"):
        built(DeviceSettings(state_dir=card))


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_nothing_on_the_card_is_for_others(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        card = enrolled_card(tmp_path / "card")
        built(DeviceSettings(state_dir=card))
    finally:
        os.umask(before)
    modes: dict[bool, set[int]] = {True: set(), False: set()}
    for path in (card, *card.rglob("*")):
        modes[path.is_dir()].add(stat.S_IMODE(path.stat().st_mode))
    assert modes == {True: {0o700}, False: {0o600}}


def newest_release(changelog: str) -> date | None:
    """Return the newest date among a changelog's releases; None before the first."""
    found = re.findall(r"^## \[[^]]+\] - (\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE)
    return max(map(date.fromisoformat, found), default=None)


def test_the_build_s_date_is_past_and_no_older_than_the_newest_release() -> None:
    """A floor in the future would call good certificates expired; one too old is no floor."""
    assert datetime(2026, 1, 1, tzinfo=UTC) < BUILT_AT <= datetime.now(UTC)
    released = newest_release((CHECKOUT / "CHANGELOG.md").read_text())
    assert released is None or released <= BUILT_AT.date()


def test_releases_are_found_in_a_changelog() -> None:
    shown = "## [Unreleased]\n\n## [0.2.0] - 2027-03-01\n\n## [0.1.0] - 2026-12-24\n"
    assert newest_release(shown) == date(2027, 3, 1)
    assert newest_release("## [Unreleased]\n") is None
