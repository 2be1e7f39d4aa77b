"""The power cuts of `tests/simulated`, with twenty times as many draws of what survives."""

import pytest

from tests.simulated import test_power_cuts as brief
from tests.simulated.test_power_cuts import often_rotated_logs

__all__ = ["often_rotated_logs"]


@pytest.mark.parametrize("name", brief.SCENES)
def test_no_luck_of_the_disk_loses_what_was_promised(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brief, "LUCKS", range(3, 63))
    brief.test_a_power_cut_after_any_step_loses_nothing_that_was_promised(name)
