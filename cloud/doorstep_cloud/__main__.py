"""The command ``doorstep-cloud``: thin, each a call of one function."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bars

from doorstep_cloud.app.admin import NotRunningError, ask_running
from doorstep_cloud.app.backup_asking import ask_for_backup
from doorstep_cloud.app.backups import Backups
from doorstep_cloud.app.logs import configure_logs
from doorstep_cloud.app.restoring import restore
from doorstep_cloud.app.running import run_all
from doorstep_cloud.app.state import ADMIN_SOCKET, held, require_folder_to_copy
from doorstep_cloud.app.state import migrate as migrate_state
from doorstep_cloud.app.sweep_words import sweep_lines
from doorstep_cloud.households.principal import now_ms
from doorstep_cloud.settings import Settings, read_settings
from doorstep_cloud.store.backups import Progress, Which
from doorstep_shared.errors import DoorstepError

SWEEP_S: Final = 3600.0
"""A sweep of a large store takes its time."""

app: Final = typer.Typer(
    name="doorstep-cloud",
    help="The service of Doorstep: it keeps sealed clips and cannot open them.",
    epilog="Settings are environment variables: "
    + ", ".join(f"DOORSTEP_CLOUD_{name.upper()}" for name in Settings.model_fields),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

backup_app: Final = typer.Typer(
    no_args_is_help=True, help="Copy one of the two databases; they never lie together."
)
restore_app: Final = typer.Typer(
    no_args_is_help=True, help="Put such a copy back, while the service does not run."
)
app.add_typer(backup_app, name="backup")
app.add_typer(restore_app, name="restore")

_Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on stdout.")]


@app.command("all")
def run() -> None:
    """Run the whole service in this process until it is told to stop."""
    configure_logs()
    run_all(read_settings())


@app.command()
def migrate() -> None:
    """Make the state folder, the databases and the service's keys, or bring them up to date."""
    settings = read_settings()
    names = list(
        dict.fromkeys(["localhost", "127.0.0.1", settings.broker_host, settings.device_broker_host])
    )
    done = migrate_state(settings.state_dir, names, now_ms())
    for line in done or ["Everything is up to date; nothing was changed."]:
        typer.echo(line, err=True)


@app.command()
def invite(*, as_json: _Json = False) -> None:
    """Make an invite for one household, and say how to use it."""
    found = ask_running(read_settings().state_dir / ADMIN_SOCKET, "POST", "/invites")
    if as_json:
        typer.echo(json.dumps(found))
        return
    typer.echo(found["invite"])
    typer.echo(f"It founds one household, until {found['expires_at']}. There:", err=True)
    typer.echo(f"  doorstep init {found['public_url']} --invite {found['invite']}", err=True)


@backup_app.command("main")
def backup_main(
    file: Annotated[Path, typer.Argument(help="Where to; outside the state folder.")],
) -> None:
    """Copy what lists everything and opens nothing; the service may run."""
    _back_up(Which.MAIN, file.absolute())


@backup_app.command("vault")
def backup_vault() -> None:
    """Copy what opens clips for their households; it is removed within a day."""
    _back_up(Which.VAULT, None)


@restore_app.command("main")
def restore_main(
    file: Annotated[Path, typer.Argument(help="What `backup main` made.")],
) -> None:
    """Put a backup of main in place; what is there now is set aside."""
    _restore(Which.MAIN, file)


@restore_app.command("vault")
def restore_vault(
    file: Annotated[
        Path | None, typer.Argument(help="What `backup vault` made; the newest by default.")
    ] = None,
) -> None:
    """Put a backup of the vault in place, if it is less than a day old."""
    _restore(Which.VAULT, file)


@app.command()
def check(*, as_json: _Json = False) -> None:
    """Ask the running service whether all it needs is well; exit 1 if not."""
    found = ask_running(read_settings().state_dir / ADMIN_SOCKET, "GET", "/check")
    parts = found["parts"]
    if as_json:
        typer.echo(json.dumps(found))
    elif isinstance(parts, list):
        for part in parts:
            typer.echo(f"{part['name']}: {part['fact']}")
    if not found["is_ready"]:
        raise typer.Exit(1)


@app.command()
def sweep(*, as_json: _Json = False) -> None:
    """Let the running service look for what is left over or missing; say what it did."""
    path = read_settings().state_dir / ADMIN_SOCKET
    if not as_json:
        typer.echo("Sweeping; a large store takes some minutes.", err=True)
    found = ask_running(path, "POST", "/sweep", timeout_s=SWEEP_S)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for line in sweep_lines(found):
        typer.echo(line)


def _back_up(which: Which, target: Path | None) -> None:
    folder = read_settings().state_dir
    with _progress("Copying") as progress:
        try:
            made = ask_for_backup(folder / ADMIN_SOCKET, which, target, progress)
        except NotRunningError:
            require_folder_to_copy(folder)
            with held(folder):
                made = Backups(folder, now_ms).make(which, target, progress)
    typer.echo(made)
    if which is Which.VAULT:
        typer.echo("It is removed within a day: keep no copy of it elsewhere.", err=True)


def _restore(which: Which, file: Path | None) -> None:
    with _progress("Copying") as progress:
        done = restore(read_settings().state_dir, which, file, now_ms(), progress)
    for line in done:
        typer.echo(line, err=True)


@contextmanager
def _progress(what: str) -> Iterator[Progress]:
    """Show a bar on a terminal while something is copied and checked."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def main() -> None:
    """Run the command; say an error as fact, what is safe, what to do."""
    # Whatever this program writes is for its own user only.
    os.umask(0o077)
    try:
        app()
    except DoorstepError as error:
        lines = [f"doorstep-cloud: {error.fact}."]
        lines += [error.safe] if error.safe else []
        lines += [f"Do: {error.do}"] if error.do else []
        sys.stderr.write("\n".join(lines) + "\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
