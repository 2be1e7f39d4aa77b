"""What a sweep found, in words for whoever runs the service."""

from collections.abc import Mapping
from typing import Final

CLOCK: Final = "is_clock_believed"
MISSING: Final = "objects_missing"

WORDS: Final = {
    "envelopes_of_tombstones": "deleted clips whose envelopes were still in the vault: deleted now",
    "envelopes_of_nobody": "clips in the vault that nothing else knows: deleted",
    "objects_of_tombstones": "sealed objects of deleted clips in the store: deleted",
    "objects_of_nobody": "sealed objects in the store that nothing else knows: deleted",
    "objects_left": "objects in the store left alone: a day young at most, or none of ours",
    "objects_missing_in_all": "sealed objects missing in the store: look at its disks and backups",
    "clips_without_envelope": "clips that nobody can open any more: given up a day after this "
    "was first seen; restore the vault before",
    "clips_given_up": "clips given up now: their envelopes did not come back for a day",
    "spool_leftovers": "payloads in the spool that nobody waited for: removed",
    "tombstones_dropped": "records of deleted clips older than 400 days: dropped",
}


def sweep_lines(found: Mapping[str, object]) -> list[str]:
    """Return the report as lines; one line when all is in order."""
    lines = [f"{found[name]} {words}" for name, words in WORDS.items() if found.get(name)]
    missing = found.get(MISSING)
    if isinstance(missing, list):
        lines += [f"  missing: {key}" for key in missing]
    if not found.get(CLOCK, True):
        lines.append("The clock of this machine is doubted: nothing was deleted for its age.")
    return lines or ["Nothing is left over, and nothing is missing."]
