"""Who breaks the set-up on purpose gets out of it by the words alone."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.transcripts import GOLDEN, TRANSCRIPTS, played

HAS_OWN_MOSQUITTO = shutil.which("mosquitto", path="/usr/local/sbin:/usr/sbin:/usr/bin:/bin")


def may_mount() -> bool:
    """Return whether this machine lets a user have a small disk of their own."""
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.parametrize("name", TRANSCRIPTS)
def test_a_transcript_reads_as_it_did(name: str) -> None:
    if name == "no-mosquitto" and HAS_OWN_MOSQUITTO:
        pytest.skip("this machine's own mosquitto is always found")
    if name == "full-disk" and not may_mount():
        pytest.skip("this machine lets nobody mount a small disk")
    assert played(name) == (GOLDEN / f"{name}.txt").read_text(), (
        f"python -m tests.transcripts {name}"
    )


def test_every_golden_transcript_is_played() -> None:
    assert {path.stem for path in Path(GOLDEN).iterdir()} == set(TRANSCRIPTS)
    assert len(TRANSCRIPTS) >= 10
