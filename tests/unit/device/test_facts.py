"""How facts are told: to people without a command to their terminal, to machines as JSON."""

import io
import json
import re
from contextlib import redirect_stdout

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from doorstep_device.facts import configure_facts
from doorstep_shared.terminal import commands_terminal

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
HOSTILE = "\x1b]0;OWNED\x07\x1b[2J\x9b31m\u202e"


def told(*, as_json: bool, **fact: object) -> str:
    """Return what is written of a fact."""
    with redirect_stdout(io.StringIO()) as said:
        configure_facts(as_json=as_json)
        structlog.get_logger().warning("message_dropped", **fact)
    return said.getvalue()


@given(st.text() | st.text(alphabet=HOSTILE + "\r\n é"))
def test_nothing_a_broker_says_commands_a_terminal(text: str) -> None:
    for fact in (
        text,
        [text],
        {"deep": {text: text}},
        ValueError(text),
        text.encode("utf-8", "replace"),
    ):
        line = COLOUR.sub("", told(as_json=False, topic=fact)).removesuffix("\n")
        assert not any(map(commands_terminal, line)), line
        assert "message_dropped" in line


def test_a_hostile_topic_is_still_to_be_read() -> None:
    line = COLOUR.sub("", told(as_json=False, topic=f"doorstep/{HOSTILE}/end"))
    assert "topic=doorstep/\ufffd]0;OWNED\ufffd\ufffd[2J\ufffd31m\ufffd/end" in line


def test_where_a_part_crashed_is_told_line_by_line() -> None:
    with pytest.raises(ValueError, match="invalid literal") as crashed:
        int(HOSTILE + "\n")
    crashed.value.add_note(HOSTILE)
    said = COLOUR.sub("", told(as_json=False, exc_info=crashed.value))
    assert "Traceback" in said
    assert '\n    int(HOSTILE + "\\n")\n' in said
    assert not any(commands_terminal(each) for each in said.replace("\n", ""))


def test_machines_are_told_every_character() -> None:
    line = told(as_json=True, topic=HOSTILE)
    assert line.isascii()
    assert json.loads(line)["topic"] == HOSTILE
