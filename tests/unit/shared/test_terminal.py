"""What a stranger says is shown, and commands nothing."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_shared.terminal import commands_terminal, plain


@given(st.text() | st.text(alphabet="\x1b\x7f\x9b\u200f\u202e\u2028\u2066\ud800é\r\n"))
def test_each_character_that_commands_is_a_mark_and_every_other_stays(text: str) -> None:
    shown = plain(text)
    assert len(shown) == len(text)
    for before, after in zip(text, shown, strict=True):
        is_kept = before == "\n" or unicodedata.category(before)[0] != "C"
        if is_kept and unicodedata.category(before) not in {"Zl", "Zp"}:
            assert after == before
        elif unicodedata.category(before) not in {"Cn", "Co"}:
            assert after == "\ufffd"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("\x1b]0;OWNED\x07", "\ufffd]0;OWNED\ufffd"),
        ("\x9b31m", "\ufffd31m"),
        ("one\rtwo", "one\ufffdtwo"),
        ("\u202etxt", "\ufffdtxt"),
        ("\ud800", "\ufffd"),
        ("Zürich, 3 Clips — ok\n", "Zürich, 3 Clips — ok\n"),
    ],
)
def test_a_command_is_shown_as_a_mark(said: str, shown: str) -> None:
    assert plain(said) == shown


def test_the_end_of_a_line_commands_too() -> None:
    assert [commands_terminal(each) for each in "\n\x1ba "] == [True, True, False, False]
