"""The ``doorstep-sim`` command: a door, its visitors and the whole service, on a laptop.

A command imports what it runs when it runs: `env` is typed into a waiting terminal, and
video, panel and service take a second to load.
"""
# ruff: noqa: PLC0415

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from doorstep_shared.errors import DoorstepError
from doorstep_simulator.block import COMMANDS
from doorstep_simulator.defaults import DEFAULT_SEED, UP_SCENE
from doorstep_simulator.env import read_exports
from doorstep_simulator.folder import default_folder
from doorstep_simulator.interrupts import ending_in_order
from doorstep_simulator.telling import Telling, counting, say_error, spoken, stderr

app: Final = typer.Typer(
    name="doorstep-sim",
    help="A door with visitors, a doorbell on simulated pins, and the whole service, on a laptop.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

FolderOption = Annotated[
    Path | None, typer.Option("--folder", help="Where everything lives; .demo by default.")
]
SceneOption = Annotated[
    str,
    typer.Option("--scene", help="The rendered scene.", metavar="SEED[:SECONDS[:WIDTH]]"),
]
SpeedOption = Annotated[
    float, typer.Option("--speed", help="Pace of the doorbell's clock.", min=0.1, max=50)
]
INTERRUPTED: Final = 130


@app.command()
def demo(
    *,
    video: Annotated[
        Path | None, typer.Option("--video", help="A video file; the rendered scene by default.")
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option("--speed", help="Pace; by the length by default.", min=0.1, max=50),
    ] = None,
    scene_text: SceneOption = str(DEFAULT_SEED),
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep everything it wrote, in .demo/demo.")
    ] = False,
    open_report: Annotated[bool, typer.Option("--open", help="Open the report.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    folder: FolderOption = None,
) -> None:
    """Show a film to a doorbell, ring once, and open what arrives with curl and age."""
    from doorstep_simulator.demo import Wishes, run_demo
    from doorstep_simulator.findings import to_json
    from doorstep_simulator.playback import parse_film, read_film
    from doorstep_simulator.words import print_report

    home = folder or default_folder()
    film = parse_film(f"scene:{scene_text}") if video is None else read_film(video)
    report = home / "report.html"
    tell = Telling()
    wishes = Wishes(home / "demo", report, film, speed=speed, keeps_files=keep)
    outcome = run_demo(wishes, tell)
    if as_json:
        typer.echo(json.dumps(to_json(outcome.report)))
    else:
        print_report(outcome.report)
    if outcome.failure is not None:
        raise outcome.failure
    if open_report:
        _open(report, tell)


@app.command()
def up(
    *,
    scene_text: SceneOption = UP_SCENE,
    speed: SpeedOption = 1.0,
    folder: FolderOption = None,
) -> None:
    """Run the whole service and one doorbell, with a panel, until Ctrl-C."""
    from doorstep_simulator.playback import parse_film
    from doorstep_simulator.up import run_up

    film = parse_film(f"scene:{scene_text}")
    run_up(folder or default_folder(), film, speed, Telling())


@app.command()
def env(*, folder: FolderOption = None) -> None:
    """Print what another terminal needs, for: eval "$(.venv/bin/doorstep-sim env)"."""
    exports = read_exports(folder or default_folder())
    for line in exports.lines():
        typer.echo(line)
    newest = exports.clip_id or "(no clip is stored yet)"
    stderr.print(
        f"Set: API={exports.api}  TOKEN  ID={newest}  DOORSTEP_HOME={exports.home}  PATH"
        "  DOORSTEP_CLOUD_STATE_DIR  DOORSTEP_DEVICE_STATE_DIR"
        "  and umask 077: what this shell writes from now on is yours alone",
        soft_wrap=True,
        markup=False,
    )
    stderr.print("Next, to open the newest clip with anybody's tools:", soft_wrap=True)
    for command in COMMANDS:
        stderr.print(f"  {command}", soft_wrap=True, markup=False)


@app.command()
def doorbell(
    state: Annotated[Path, typer.Argument(help="The doorbell's card: a folder.")],
    *,
    claim: Annotated[
        str | None, typer.Option("--claim", help="Join the household that printed it; - for stdin.")
    ] = None,
    source: Annotated[
        str, typer.Option("--source", help="scene:SEED, video:FILE, rtsp://… or /dev/video0.")
    ] = f"scene:{DEFAULT_SEED}",
    speed: SpeedOption = 1.0,
) -> None:
    """Run one doorbell on simulated pins, with a panel, at the service it belongs to."""
    from doorstep_simulator.playback import parse_film
    from doorstep_simulator.up import run_doorbell

    text = sys.stdin.readline() if claim == "-" else claim
    run_doorbell(state, text, parse_film(source), speed, Telling())


@app.command()
def chaos(
    *,
    clips: Annotated[int, typer.Option("--clips", help="At least so many.", min=1)] = 30,
    kills: Annotated[int, typer.Option("--kills", help="SIGKILLs.", min=0)] = 10,
    seed: Annotated[int, typer.Option("--seed", help="Decides every fault.")] = DEFAULT_SEED,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="The timeline, SVG.", dir_okay=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    folder: FolderOption = None,
) -> None:
    """Kill, stall, cut and fill what delivers clips, then audit that nothing is lost."""
    from doorstep_simulator.chaos import (
        BELLS,
        check_promises,
        print_outcome,
        run_chaos,
    )
    from doorstep_simulator.chaos_plan import draw_plan

    plan = draw_plan(seed=seed, clips=clips, kills=kills, bells=BELLS)
    home = (folder or default_folder()) / "chaos"
    outcome = run_chaos(plan, home, picture, Telling())
    if as_json:
        typer.echo(json.dumps(outcome.to_json()))
    else:
        print_outcome(outcome, Console(highlight=False))
    check_promises(outcome, home)


@app.command()
def pictures() -> None:
    """Make the README's pictures from a real run."""
    from doorstep_simulator.pictures import make_pictures

    home = default_folder()
    tell = Telling()
    for picture in make_pictures(home.parent / "docs" / "pictures", home, tell):
        tell(f"{spoken(picture)}, {picture.stat().st_size // 1000} kB")


@app.command()
def scene(
    *,
    seed: Annotated[int, typer.Option("--seed", help="Decides who comes and when.")] = DEFAULT_SEED,
    seconds: Annotated[float, typer.Option("--seconds", help="Length.", min=1)] = 40.0,
    out: Annotated[Path, typer.Option("--out", help="The video, MP4.")],
    truth: Annotated[Path, typer.Option("--truth", help="What is true of each picture, CSV.")],
) -> None:
    """Render a doorstep with visitors, the same for the same seed, and its ground truth."""
    from doorstep_simulator.scene import Scene, write_scene

    with counting("Rendering") as progress:
        write_scene(Scene(seed, seconds), out, truth, progress)
    stderr.print(f"{out}, {truth}", soft_wrap=True, markup=False)


def main() -> None:
    """Run the command; exit 0 done, 1 failed, 2 usage."""
    # Keys and clear video are written: for their owner only.
    os.umask(0o077)
    try:
        with ending_in_order():
            app()
    except DoorstepError as error:
        say_error("doorstep-sim", error)
        sys.exit(1)
    except KeyboardInterrupt:
        stderr.print("Ended.")
        sys.exit(INTERRUPTED)


def _open(report: Path, tell: Telling) -> None:
    """Open the report in a browser, or say where it is."""
    opener = shutil.which("xdg-open")
    if opener is None or not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        tell(f"there is no browser to open here: {report.as_uri()}")
        return
    subprocess.run([opener, str(report)], check=False)


if __name__ == "__main__":
    main()
