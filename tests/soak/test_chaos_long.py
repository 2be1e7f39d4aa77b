"""The fault lab of `tests/integration`, with 300 clips and 50 kills."""

import json
import subprocess
from pathlib import Path

from doorstep_simulator.chaos import MAX_RECOVERY_S
from doorstep_simulator.folder import default_folder
from tests.running import SIMULATOR

SEED = 1


def test_fifty_kills_lose_nothing_and_nobody_is_missed_for_long(tmp_path: Path) -> None:
    options = {
        "--clips": 300,
        "--kills": 50,
        "--seed": SEED,
        "--picture": default_folder() / "faults.svg",
        "--folder": tmp_path,
    }
    words = [str(word) for option in options.items() for word in option]
    # What it tells as it goes passes through: ten minutes are long.
    done = subprocess.run(
        [str(SIMULATOR), "chaos", "--json", *words], stdout=subprocess.PIPE, check=False
    )
    found = json.loads(done.stdout)
    assert done.returncode == 0, found["findings"]
    assert found["clips"] >= 300
    assert (found["kills"], found["lost"], found["doubled"]) == (50, 0, 0)
    assert found["recovery_s_max"] <= MAX_RECOVERY_S
