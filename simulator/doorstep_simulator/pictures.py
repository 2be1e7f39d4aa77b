"""The README's pictures, from a real run of the rendered doorstep."""

import io
from pathlib import Path
from typing import Final

from rich.console import Console

from doorstep_shared.manifest import ClipKind
from doorstep_simulator.demo import Wishes, run_demo
from doorstep_simulator.owner import OpenedClip
from doorstep_simulator.playback import Film
from doorstep_simulator.telling import Telling
from doorstep_simulator.terminal_picture import COLUMNS, Typed, write_pictures
from doorstep_simulator.words import print_report

COMMAND: Final = "make demo"


def make_pictures(folder: Path, home: Path, tell: Telling) -> tuple[Path, Path]:
    """Run a demo and write its terminal and a visit's film strip; return their paths.

    Args:
        folder: Where the pictures go.
        home: Where demos run.
        tell: Told what goes on, too.

    Raises:
        DoorstepError: The demo failed: then there are no new pictures.
    """
    screen = io.StringIO()
    # Colours, but no bar that moves.
    console = Console(
        file=screen, force_terminal=True, force_interactive=False, width=COLUMNS, highlight=False
    )
    tell("a demo runs, in real time; this takes about a minute and a half")
    wishes = Wishes(home / "demo", home / "report.html", Film())
    outcome = run_demo(wishes, Telling(console))
    if outcome.failure is not None:
        raise outcome.failure
    visit = max(outcome.material.clips, key=_shown)
    print_report(outcome.report, console)
    lines = screen.getvalue().splitlines()
    # How the stack is stopped is between the result and its times, and of no interest here.
    told = "\n".join(line for line in lines if " stopped in " not in line)
    return write_pictures(folder, [Typed(COMMAND, told)], visit.video)


def _shown(clip: OpenedClip) -> tuple[bool, float]:
    """Return how much there is to see: somebody, and for how long."""
    return clip.item.kind is ClipKind.MOTION, clip.item.duration_s
