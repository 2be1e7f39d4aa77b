"""``doorstep clip delete`` and ``doorstep retention``: what goes, and when."""

import sys
from datetime import datetime
from typing import Annotated

import typer

from doorstep_client import output
from doorstep_client.answers import Answer
from doorstep_client.clips import moment
from doorstep_client.deletion import Wish, delete_clip, find_doomed, tell_doorbells
from doorstep_client.errors import NotThereError
from doorstep_client.home import Home
from doorstep_client.household import Household, now_ms
from doorstep_shared.errors import RefusedError
from doorstep_shared.fields import Counter
from doorstep_shared.ids import parse_clip_id, parse_device_id

MAX_DAYS = 60

retention_app = typer.Typer(
    no_args_is_help=True, help="How long your clips and events are kept at the service."
)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


class SettingsAnswer(Answer):
    """How long the household's things are kept.

    Attributes:
        clips_over: How many clips would go with the days that were asked about.
    """

    retention_days: Counter
    clips_over: Counter | None


def clip_delete(
    clips: Annotated[
        list[str] | None, typer.Argument(metavar="CLIP...", help="The clips' ids.")
    ] = None,
    *,
    device: Annotated[
        str | None, typer.Option("--device", metavar="ID", help="All clips of this doorbell.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", help="All that began before then, like 2026-11-22T18:00:00Z."),
    ] = None,
    yes: _Yes = False,
    as_json: _Json = False,
) -> None:
    """Delete clips for good, at the service and on the doorbell; keep the service's receipts."""
    wish = _wish(clips or [], device, until)
    with Household(Home.default()) as household:
        doomed = find_doomed(household, wish)
        _confirm(_question(wish, len(doomed)), yes=yes)
        deleted, missing = [], []
        with output.steps("Deleting", len(doomed)) as step:
            for one in doomed:
                try:
                    deleted.append(delete_clip(household, one.clip))
                except NotThereError:
                    missing.append(one.clip)
                step()
        gone = [one for one in doomed if one.clip not in missing]
        problems = tell_doorbells(household, wish, gone) if gone or not wish.clips else []
    if as_json:
        facts = {"deleted": [one.clip for one in deleted], "missing": missing, "untold": problems}
        output.print_json(facts)
    else:
        output.print_line(
            f"Deleted {_many(len(deleted), 'clip')}; the service's receipts are in "
            f"{household.home.folder / 'deletions.jsonl'}."
        )
        output.say("Doorbells delete their own copies when they hear of it: doorstep device list")
        for problem in problems:
            output.say(f"Could not tell the doorbell {problem}.")
    if missing:
        raise RefusedError(
            f"of {len(missing)} of these clips your household has none: {', '.join(missing[:5])}",
            safe="All others are deleted." if deleted else "Nothing was deleted.",
            do="doorstep clip list",
        )
    if problems:
        raise typer.Exit(1)


@retention_app.command("show")
def retention_show(*, as_json: _Json = False) -> None:
    """Say for how many days clips and events are kept."""
    with Household(Home.default()) as household:
        found = household.ask(lambda service: service.get("/v1/household/settings", SettingsAnswer))
    if as_json:
        output.print_json({"retention_days": found.retention_days})
        return
    output.print_line(f"Clips and events are kept for {_many(found.retention_days, 'day')}.")


@retention_app.command("set")
def retention_set(
    days: Annotated[int, typer.Argument(min=1, max=MAX_DAYS, help="1 to 60.")],
    *,
    yes: _Yes = False,
    as_json: _Json = False,
) -> None:
    """Keep clips and events for so many days; what is older goes at once, for good."""
    with Household(Home.default()) as household:
        over = household.ask(
            lambda service: service.get("/v1/household/settings", SettingsAnswer, if_days=days)
        ).clips_over
        if over:
            _confirm(f"{_many(over, 'clip')} of now will go at once, for good. Go on?", yes=yes)
        body = {"retention_days": days}
        household.ask(lambda service: service.put("/v1/household/settings", SettingsAnswer, body))
    if as_json:
        output.print_json({"retention_days": days, "clips_going": over or 0})
        return
    output.print_line(f"Clips and events are now kept for {_many(days, 'day')}.")


def _wish(clips: list[str], device: str | None, until: str | None) -> Wish:
    if bool(clips) == (device is not None or until is not None):
        raise typer.BadParameter("name clips, or a doorbell, a time, or both of these")
    at = moment(until, "--until")
    return Wish(
        clips=[parse_clip_id(clip) for clip in clips],
        device=None if device is None else parse_device_id(device),
        until=at,
        until_ms=now_ms() if at is None else round(datetime.fromisoformat(at).timestamp() * 1000),
    )


def _question(wish: Wish, listed: int) -> str:
    if wish.clips:
        return f"Delete {_many(listed, 'clip')} for good?"
    # The command to the doorbell goes further than the list: it names a time, not clips.
    bells = "your doorbells have" if wish.device is None else f"the doorbell {wish.device} has"
    until = "now" if wish.until is None else wish.until
    return (
        f"Delete {_many(listed, 'clip')} at the service for good, and all that {bells} from before"
        f" {until}, even what was not delivered yet?"
    )


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise RefusedError(
            "nobody was there to be asked",
            safe="Nothing was deleted.",
            do="the same with --yes",
        )
    if not typer.confirm(question, err=True):
        raise RefusedError("you said no", safe="Nothing was deleted.", do="doorstep clip list")


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
