"""A card that is full takes nothing more, and keeps what it has."""

from collections.abc import Callable
from pathlib import Path

import pytest

from doorstep_device.ports.disk import Disk, DiskFullError
from doorstep_simulator.filled_card import FilledCard

WRITES: dict[str, Callable[[Disk], object]] = {
    "a folder": lambda card: card.make_dir("new"),
    "a file": lambda card: card.write_whole("new", b"x"),
    "an addition": lambda card: card.append_synced("old", b"x"),
    "a name": lambda card: card.open("new"),
}


@pytest.fixture
def card(tmp_path: Path) -> FilledCard:
    card = FilledCard(tmp_path)
    card.write_whole("old", b"kept")
    return card


@pytest.mark.parametrize("what", WRITES)
def test_a_full_card_takes_nothing_until_it_is_free_again(what: str, card: FilledCard) -> None:
    card.is_full = True
    with pytest.raises(DiskFullError):
        WRITES[what](card)
    assert card.list_dir("") == ["old"]
    assert card.read("old") == b"kept"
    card.is_full = False
    WRITES[what](card)


def test_an_open_file_meets_the_full_card_too(card: FilledCard) -> None:
    with card.open("old") as file:
        card.is_full = True
        with pytest.raises(DiskFullError):
            file.write_at(4, b"x")
        assert file.read_at(0, 9) == b"kept"
        file.truncate(2)
        file.sync()
        assert file.size() == 2


def test_what_lies_on_a_full_card_can_be_moved_and_removed(card: FilledCard) -> None:
    card.is_full = True
    card.rename("old", "older")
    card.remove("older")
    assert card.list_dir("") == []
