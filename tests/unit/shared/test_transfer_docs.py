"""The state tables of docs/transfer.md are the ones the code runs by."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import pytest

from doorstep_shared.transfer.messages import Code
from doorstep_shared.transfer.receiver import RECEIVER_TRANSITIONS
from doorstep_shared.transfer.sender import SENDER_TRANSITIONS

DOCS = Path(__file__).parents[3] / "docs" / "transfer.md"


def table(transitions: Mapping[tuple[StrEnum, StrEnum], StrEnum]) -> str:
    """Return `transitions` as a Markdown table, one row for each way from a state to another."""
    ways: dict[tuple[StrEnum, StrEnum], list[str]] = {}
    for (state, cause), following in transitions.items():
        ways.setdefault((state, following), []).append(cause.value)
    order = {state: place for place, state in enumerate(type(next(iter(ways))[0]))}
    rows = [
        f"| {state.name} | {'; '.join(ways[state, following])} | {following.name} |"
        for state, following in sorted(ways, key=lambda way: (order[way[0]], order[way[1]]))
    ]
    return "\n".join(["| from | because | to |", "|---|---|---|", *rows])


@pytest.mark.parametrize(
    "transitions", [SENDER_TRANSITIONS, RECEIVER_TRANSITIONS], ids=["sender", "receiver"]
)
def test_the_documented_state_table_is_the_one_in_the_code(
    transitions: Mapping[tuple[StrEnum, StrEnum], StrEnum],
) -> None:
    assert table(transitions) in DOCS.read_text()


@pytest.mark.parametrize("code", Code)
def test_every_code_is_documented(code: Code) -> None:
    assert f"| `0x{code:02x}` {code.name} |" in DOCS.read_text()
