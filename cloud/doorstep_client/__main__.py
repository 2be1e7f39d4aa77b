"""The ``doorstep`` command: what people of a household type."""

import io
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote

import typer

from doorstep_client import clips, listening, output
from doorstep_client.answers import (
    CommandItem,
    DeviceItem,
    DeviceList,
    NewToken,
    TokenItem,
    TokenList,
)
from doorstep_client.choices import one_of, spelled
from doorstep_client.consent import read_consent
from doorstep_client.consent_commands import consent_app
from doorstep_client.consent_words import consent_facts, status_line, waiting_lines
from doorstep_client.deletion import delete_again
from doorstep_client.deletion_commands import clip_delete, retention_app
from doorstep_client.errors import NotThereError, ServiceUnreachableError
from doorstep_client.home import Home, write_private
from doorstep_client.household import Household, found
from doorstep_shared.claim import Claim
from doorstep_shared.counting import many
from doorstep_shared.encoding import to_base64url
from doorstep_shared.errors import DoorstepError, RefusedError
from doorstep_shared.manifest import ClipKind, Manifest, ObjectName

PLAYERS: Final = ("mpv", "vlc", "ffplay", "totem")
SCOPES: Final = "events:read clips:read keyring:read"

# True of one that is on its way, of one that was deleted, and where there never was one: the
# service keeps no word of which clip a deleted one's event had.
NO_CLIP: Final = "none here"


def _print_version(wanted: bool) -> None:  # noqa: FBT001  # typer calls it so
    if wanted:
        typer.echo(f"doorstep {version('doorstep')}")
        raise typer.Exit


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Your household's doorbells, clips and keys. The keys never leave this computer.",
)


@app.callback()
def _root(
    *,
    _version: Annotated[  # the option's callback does it all
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    pass


event_app = typer.Typer(no_args_is_help=True, help="What happened at the door.")
clip_app = typer.Typer(no_args_is_help=True, help="Recordings: list, save, verify, delete.")
device_app = typer.Typer(no_args_is_help=True, help="Your doorbells.")
key_app = typer.Typer(no_args_is_help=True, help="Your own key.")
token_app = typer.Typer(no_args_is_help=True, help="Tokens for scripts.")
app.add_typer(event_app, name="event")
app.add_typer(clip_app, name="clip")
app.add_typer(device_app, name="device")
app.add_typer(consent_app, name="consent")
app.add_typer(retention_app, name="retention")
clip_app.command("delete")(clip_delete)
app.add_typer(key_app, name="key")
app.add_typer(token_app, name="token")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
ClipArgument = Annotated[
    str, typer.Argument(metavar="CLIP", help="A clip's id, or 'latest' for the newest stored one.")
]
KindOption = Annotated[
    ClipKind | None,
    typer.Option("--kind", parser=one_of(ClipKind), metavar=spelled(ClipKind), help="Only these."),
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="Only this doorbell's.", metavar="ID")
]
SinceOption = Annotated[
    str | None, typer.Option("--since", help="Only since then, like 2026-11-22T18:00:00Z.")
]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many.")]


def _household() -> Household:
    return Household(Home.default(), tell=output.say)


@app.command()
def init(
    url: Annotated[str, typer.Argument(help="Address of the service.")],
    invite: Annotated[str, typer.Option("--invite", help="The invitation you were given.")],
    *,
    as_json: Json = False,
) -> None:
    """Make your keys on this computer and found your household at a service."""
    home = Home.default()
    if home.has_account():
        account = home.account()
        raise RefusedError(
            f"this computer already belongs to a household at {account.url}",
            safe="Nothing was changed.",
            do=f"doorstep status        (another household needs another {'DOORSTEP_HOME'})",
        )
    account = found(home, url, invite, secrets.token_bytes)
    if as_json:
        output.print_json({"household": account.household, "member": account.member})
        return
    output.print_line(f"Your household is founded at {account.url}.")
    output.print_line(f"Your keys are in {home.folder}; nobody else has them. Keep a copy of it.")
    output.print_line("Next: doorstep device add        (adds a doorbell)")


@app.command()
def status(*, as_json: Json = False) -> None:
    """Show whether everything is well: service, household, doorbells."""
    with _household() as household:
        household.give_back()
        for line in delete_again(household):
            output.say(line)
        chain = household.chain()
        consent = read_consent(household)
        devices = household.ask(lambda service: service.get("/v1/devices", DeviceList)).items
        statement = chain.head.statement
        claims = len(household.pending_claims())
        facts = {
            "service": household.account.url,
            "household": statement.household,
            "members": len(statement.roster),
            "statement": statement.seq,
            "key_until_ms": statement.epoch.not_after,
            "waiting_claims": claims,
            "consent": consent_facts(consent),
            "devices": [device.model_dump(mode="json") for device in devices],
        }
    if as_json:
        output.print_json(facts)
        return
    days = (statement.epoch.not_after / 1000 - time.time()) / 86400
    output.print_line(f"The service at {facts['service']} answers.")
    output.print_line(
        f"Your household has {many(len(statement.roster), 'member')}; "
        f"its history of {many(statement.seq + 1, 'signed step')} holds."
    )
    output.print_line(
        f"The key that clips are sealed to is announced for {days:.0f} more days."
        if days > 0
        else "The key that clips are sealed to is past its time; your doorbells go on using it."
    )
    for line in (status_line(consent), *waiting_lines(consent)):
        output.print_line(line)
    for device in devices:
        output.print_line(f"Doorbell {device.id}: {_device_words(device)}.")
    if not devices:
        output.print_line("No doorbell yet. Next: doorstep device add")
    if claims:
        waits = "waits" if claims == 1 else "wait"
        output.print_line(f"{many(claims, 'claim')} {waits} for a doorbell to answer.")


@app.command()
def listen(*, as_json: Json = False) -> None:
    """Print rings and motion as they happen, until Ctrl-C."""
    with _household() as household:
        stream = listening.events(
            household,
            on_open=lambda: output.say("Listening. Ctrl-C ends."),
            on_break=lambda error, wait: output.say(f"{error.fact}; trying again in {wait:.0f} s."),
        )
        for event in stream:
            if as_json:
                output.print_json(event.model_dump(mode="json"))
            else:
                if event.kind is ClipKind.RING:
                    output.ring_bell()
                output.print_line(output.event_line(event))


@app.command()
def watch(
    clip: ClipArgument = clips.LATEST,
    *,
    player: Annotated[
        str | None, typer.Option("--player", help="Program that plays the video.")
    ] = None,
) -> None:
    """Open a clip here and play it; nothing clear stays behind."""
    program = player or next((p for p in PLAYERS if shutil.which(p)), None)
    if program is None or shutil.which(program) is None:
        raise RefusedError(
            f"no video player was found ({player or ', '.join(PLAYERS)})",
            safe="Nothing was fetched.",
            do=f"doorstep clip save {clip}        (or install one: sudo apt-get install mpv)",
        )
    if (memory := _memory_folder()) is None:
        raise RefusedError(
            "this computer has no folder in memory, so that clear video would touch its disk",
            safe="Nothing was fetched.",
            do=f"doorstep clip save {clip}        (and delete the file afterwards)",
        )
    with _household() as household:
        video = _fetch(household, clips.check_clip(household, clip))
    folder = tempfile.mkdtemp(prefix="doorstep-", dir=memory)
    try:
        file = Path(folder) / "clip.mp4"
        write_private(file, video)
        subprocess.run([program, str(file)], check=False)  # noqa: S603  # the person chose it
    finally:
        shutil.rmtree(folder)


@event_app.command("list")
def event_list(
    *,
    kind: KindOption = None,
    device: DeviceOption = None,
    since: SinceOption = None,
    limit: LimitOption = 20,
    as_json: Json = False,
) -> None:
    """List rings and motion, newest first."""
    with _household() as household:
        found_events = clips.list_events(
            household, clips.Filter(kind, device, clips.moment(since), limit)
        )
    if as_json:
        output.print_json([event.model_dump(mode="json") for event in found_events])
    elif not found_events:
        output.say(_none_of("events", kind, device, since))
    else:
        rows = (
            (output.local_time(e.at), e.kind.value, e.device, e.clip or NO_CLIP)
            for e in found_events
        )
        output.print_table(("when", "what", "doorbell", "clip"), rows)


@clip_app.command("list")
def clip_list(
    *,
    kind: KindOption = None,
    device: DeviceOption = None,
    since: SinceOption = None,
    limit: LimitOption = 20,
    as_json: Json = False,
) -> None:
    """List clips, newest first."""
    with _household() as household:
        found_clips = clips.list_clips(
            household, clips.Filter(kind, device, clips.moment(since), limit)
        )
    if as_json:
        output.print_json([clip.model_dump(mode="json") for clip in found_clips])
    elif not found_clips:
        output.say(_none_of("clips", kind, device, since))
    else:
        columns = ("when", "why", "length", "size", "state", "clip")
        output.print_table(columns, map(output.clip_row, found_clips))


@clip_app.command("save")
def clip_save(
    clip: ClipArgument = clips.LATEST,
    *,
    file: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to; CLIP.mp4 by default.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Fetch a clip, check it, open it, and save the video."""
    with _household() as household:
        manifest = clips.check_clip(household, clip)
        target = file or Path(f"{manifest.clip}.mp4")
        if target.exists() and not force:
            raise RefusedError(
                f"{target} exists",
                safe="It was left as it is.",
                do=f"doorstep clip save {clip} --output ANOTHER.mp4        (or add --force)",
            )
        write_private(target, _fetch(household, manifest))
    output.say(f"Saved, readable by you only: {target}")
    output.print_line(str(target))


@clip_app.command("verify")
def clip_verify(clip: ClipArgument = clips.LATEST, *, as_json: Json = False) -> None:
    """Check a clip from your household's first key down to its last byte."""
    with _household() as household:
        manifest = clips.check_clip(household, clip)
        opened = {
            name: len(clips.open_clip_object(household, manifest, name).data)
            for name in manifest.objects
        }
    if as_json:
        output.print_json(
            {"clip": manifest.clip, "device": manifest.device, "ok": True}
            | {f"{name.value}_bytes": size for name, size in opened.items()}
        )
        return
    output.print_line(f"Clip {manifest.clip} is whole and true:")
    output.print_line(f"  recorded by your doorbell {manifest.device}, signed with its key")
    output.print_line("  sealed to your household's key and to nobody else")
    for name, size in opened.items():
        output.print_line(f"  {name.value}: every byte is as signed, opens to {size:,} bytes")
    if manifest.truncated:
        output.print_line("  cut short, as when power fails: what is here is whole up to there,")
        output.print_line("  and the doorbell could make no thumbnail and no details any more")


@device_app.command("add")
def device_add(
    *,
    claim_file: Annotated[
        Path | None,
        typer.Option("--claim-file", help="Write the claim there instead of printing it."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Wait for claims made here before; make no new one.")
    ] = False,
    timeout_s: Annotated[
        float, typer.Option("--timeout", help="Wait so many seconds for the answer.", min=0)
    ] = 900,
    as_json: Json = False,
) -> None:
    """Make a claim for a new doorbell, wait for its answer, and list it."""
    with _household() as household:
        if resume:
            claims = household.pending_claims()
        else:
            claims = [household.make_claim(secrets.token_bytes)]
            _hand_out(claims[0], claim_file, as_json=as_json)
        if not claims:
            raise RefusedError("no claim made on this computer waits", do="doorstep device add")
        _wait_and_list(household, claims, timeout_s, as_json=as_json)


@device_app.command("list")
def device_list(*, as_json: Json = False) -> None:
    """List your doorbells."""
    with _household() as household:
        devices = household.ask(lambda service: service.get("/v1/devices", DeviceList)).items
        waiting = {device.id: _waiting_commands(household, device) for device in devices}
    if as_json:
        output.print_json(
            [
                device.model_dump(mode="json")
                | {"waiting": [one.model_dump(mode="json") for one in waiting[device.id]]}
                for device in devices
            ]
        )
    elif not devices:
        output.say("No doorbell yet. Next: doorstep device add")
    else:
        rows = (
            (d.id, "; ".join((_device_words(d), *output.todo_words(waiting[d.id]))), d.agent or "")
            for d in devices
        )
        output.print_table(("doorbell", "state", "software"), rows)


@key_app.command("export")
def key_export() -> None:
    """Print your own key as an age identity file; keep what it prints to yourself."""
    keys = Home.default().keys()
    if sys.stdout.isatty():
        output.say("This is your secret key. Close the window after use.")
    output.print_line("# your Doorstep key: opens your keyring, which opens your clips")
    output.print_line(str(keys.age))


@token_app.command("create")
def token_create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    *,
    scopes: Annotated[
        str, typer.Option("--scopes", help="What it may do, separated by spaces.")
    ] = SCOPES,
    days: Annotated[int, typer.Option("--days", min=1, max=90, help="How long.")] = 30,
    as_json: Json = False,
) -> None:
    """Make a token for a script; it is shown once."""
    body = {"name": name, "scopes": scopes.split(), "days": days}
    with _household() as household:
        made = household.ask(lambda service: service.post("/v1/tokens", NewToken, body))
    if as_json:
        output.print_json(made.model_dump(mode="json"))
        return
    output.say(f"Token {made.id} until {_day(made)}; it is not shown again.")
    output.print_line(made.token)


@token_app.command("list")
def token_list(*, as_json: Json = False) -> None:
    """List tokens; never their secrets."""
    with _household() as household:
        tokens = household.ask(lambda service: service.get("/v1/tokens", TokenList)).items
    if as_json:
        output.print_json([token.model_dump(mode="json") for token in tokens])
    elif not tokens:
        output.say("There are no tokens.")
    else:
        rows = ((t.id, t.name, " ".join(t.scopes), _day(t)) for t in tokens)
        output.print_table(("token", "name", "may", "until"), rows)


@token_app.command("revoke")
def token_revoke(
    token: Annotated[str, typer.Argument(help="The token's id, from the list.")],
) -> None:
    """End a token at once."""
    with _household() as household:
        household.ask(lambda service: service.delete(f"/v1/tokens/{quote(token, safe='')}"))
    output.say("Revoked.")


def main() -> None:
    """Run the command; exit 0 done, 1 failed, 2 usage."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that knows fewer characters than Unicode has shows the others by number.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="doorstep")
    except DoorstepError as error:
        output.print_error("doorstep", error)
        raise SystemExit(1) from error
    except KeyboardInterrupt as error:
        raise SystemExit(130) from error
    except BrokenPipeError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from error


def _fetch(household: Household, manifest: Manifest) -> bytes:
    with output.download_progress("Fetching") as progress:
        return clips.open_clip_object(household, manifest, ObjectName.FILE, progress).data


def _hand_out(claim: Claim, claim_file: Path | None, *, as_json: bool) -> None:
    if claim_file is not None:
        write_private(claim_file, f"{claim}\n".encode())
        output.say(f"The claim is in {claim_file}, readable by you only.")
    elif as_json:
        output.print_json({"claim": str(claim), "claim_id": to_base64url(claim.claim_id)})
    else:
        output.say("Give this to the doorbell and to nobody else (doorstep-device enrol -):")
        output.print_line(str(claim))


def _wait_and_list(
    household: Household, claims: list[Claim], timeout_s: float, *, as_json: bool
) -> None:
    """List every doorbell that answers one of ``claims``; one is enough to be done."""
    give_up_at = time.monotonic() + timeout_s
    with output.stderr.status("Waiting for the doorbell to answer. Ctrl-C ends; the claim stays."):
        while True:
            for claim in claims:
                if (device := household.answer_to(claim)) is not None:
                    head = household.list_device(device, claim)
                    _tell_listed(device.id, head.statement.seq, as_json=as_json)
                    return
            if time.monotonic() >= give_up_at:
                raise NoAnswerError(
                    "no doorbell answered yet",
                    safe="The claim stays good for its time.",
                    do="doorstep device add --resume        (when the doorbell is on)",
                )
            time.sleep(0.5)


def _tell_listed(device: str, seq: int, *, as_json: bool) -> None:
    if as_json:
        output.print_json({"device": device, "statement": seq})
    else:
        output.print_line(f"Doorbell {device} is yours: it now records, sealed to your household.")


class NoAnswerError(ServiceUnreachableError):
    """A claim waits for its doorbell."""


def _none_of(what: str, *wanted: object) -> str:
    """Return that a list is empty, whatever the reason; narrower if only some were wanted."""
    return f"There are no {'such ' if any(wanted) else ''}{what} at the service."


def _day(token: TokenItem) -> str:
    return token.expires_at.isoformat()


def _waiting_commands(household: Household, device: DeviceItem) -> tuple[CommandItem, ...]:
    """Return what ``device`` has still to do; nothing at a service that carries no commands."""
    with suppress(NotThereError):
        return tuple(one for one in household.commands_of(device.id) if one.state == "waiting")
    return ()


def _device_words(device: DeviceItem) -> str:
    words = {
        "active": "online" if device.is_online else "not heard of lately",
        "unlisted": "not added yet: doorstep device add --resume",
        "revoked": "removed",
    }
    return words.get(device.state, device.state)


def _memory_folder() -> str | None:
    """Return a folder that lives in memory, where the machine has one."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return next((f for f in (runtime, "/dev/shm") if f and os.access(f, os.W_OK)), None)  # noqa: S108  # a folder of our own is made in it


if __name__ == "__main__":
    main()
