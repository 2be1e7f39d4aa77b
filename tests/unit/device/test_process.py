"""What a crash of the agent leaves behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Says the limit before and after, and whether the process is dumpable; then crashes.
SCRIPT = """
import ctypes, os, resource
from doorstep_device.adapters.process import forbid_core_dumps
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
forbid_core_dumps()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE), flush=True)
os.abort()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_crash_leaves_no_core(tmp_path: Path) -> None:
    crashed = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert crashed.returncode == -6, crashed.stderr
    assert crashed.stdout.split() == ["1", "0", "0", "0"]
    assert os.listdir(tmp_path) == []  # noqa: PTH208  # names are enough
