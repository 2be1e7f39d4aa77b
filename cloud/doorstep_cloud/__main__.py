"""The command ``doorstep-cloud``: thin, each a call of one function."""

import json
import os
import sys
from typing import Annotated, Final

import typer

from doorstep_cloud.app.admin import ask_running
from doorstep_cloud.app.logs import configure_logs
from doorstep_cloud.app.running import run_all
from doorstep_cloud.app.state import ADMIN_SOCKET
from doorstep_cloud.app.state import migrate as migrate_state
from doorstep_cloud.households.principal import now_ms
from doorstep_cloud.settings import Settings, read_settings
from doorstep_shared.errors import DoorstepError

app: Final = typer.Typer(
    name="doorstep-cloud",
    help="The service of Doorstep: it keeps sealed clips and cannot open them.",
    epilog="Settings are environment variables: "
    + ", ".join(f"DOORSTEP_CLOUD_{name.upper()}" for name in Settings.model_fields),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

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
