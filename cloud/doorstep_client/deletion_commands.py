"""``doorstep clip delete`` and ``doorstep retention``: what goes, and when."""

import sys
from datetime import datetime
from typing import Annotated, Final

import typer

from doorstep_client import output
from doorstep_client.answers import Answer
from doorstep_client.clips import LATEST, moment
from doorstep_client.deletion import Wish, delete_clip, find_doomed, tell_doorbells
from doorstep_client.errors import NotThereError
from doorstep_client.home import Home
from doorstep_client.household import Household, now_ms
from doorstep_shared.counting import many
from doorstep_shared.errors import BadMessageError, RefusedError
from doorstep_shared.fields import Counter
from doorstep_shared.ids import ClipId, DeviceId, parse_clip_id, parse_device_id

MAX_DAYS = 60

_NOTHING: Final = "Nothing was deleted."
_CLIPS: Final = "doorstep clip list        (shows the ids)"
_DEVICES: Final = "doorstep device list        (shows the ids)"

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
        if not doomed and wish.device is not None:
            _check_device(household, wish.device)
        _confirm(_question(wish, len(doomed)), yes=yes)
        deleted, missing = [], []
        # Those that the service did not show any more, and yet has a receipt for.
        again = 0
        with output.steps("Deleting", len(doomed)) as step:
            for one in doomed:
                try:
                    deleted.append(delete_clip(household, one.clip))
                    again += one.device is None
                except NotThereError:
                    missing.append(one.clip)
                step()
        gone = [one for one in doomed if one.clip not in missing]
        problems = tell_doorbells(household, wish, gone) if gone or not wish.clips else []
    if as_json:
        facts = {"deleted": [one.clip for one in deleted], "missing": missing, "untold": problems}
        output.print_json(facts)
    else:
        where = f"; the service's receipts are in {household.home.folder / 'deletions.jsonl'}"
        words = _deleted_words(len(deleted) - again, again)
        output.print_line(f"{words}{where if deleted else ''}.")
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
    output.print_line(f"Clips and events are kept for {many(found.retention_days, 'day')}.")


@retention_app.command("set")
def retention_set(
    days: Annotated[int, typer.Argument(min=1, max=MAX_DAYS, help="1 to 60.")],
    *,
    yes: _Yes = False,
    as_json: _Json = False,
) -> None:
    """Keep clips and events for so many days; what is older goes at once, for good."""
    with Household(Home.default()) as household:
        now = household.ask(
            lambda service: service.get("/v1/household/settings", SettingsAnswer, if_days=days)
        )
        is_new, over = now.retention_days != days, now.clips_over or 0
        if is_new:
            if over:
                _confirm(f"{many(over, 'clip')} of now will go at once, for good. Go on?", yes=yes)
            body = {"retention_days": days}
            household.ask(
                lambda service: service.put("/v1/household/settings", SettingsAnswer, body)
            )
    if as_json:
        output.print_json({"retention_days": days, "clips_going": over})
    elif is_new:
        going = f"{many(over, 'clip')} of now will go" if over else "No clip goes now"
        output.print_line(f"Clips and events are now kept for {many(days, 'day')}. {going}.")
    else:
        output.print_line(
            f"That holds already: clips and events are kept for {many(days, 'day')}. Nothing was"
            " changed."
        )


def _wish(clips: list[str], device: str | None, until: str | None) -> Wish:
    if bool(clips) == (device is not None or until is not None):
        raise typer.BadParameter("name clips, or a doorbell, a time, or both of these")
    at = moment(until, "--until")
    return Wish(
        clips=[_doomed_clip(clip) for clip in clips],
        device=None if device is None else _doomed_device(device),
        until=at,
        until_ms=now_ms() if at is None else round(datetime.fromisoformat(at).timestamp() * 1000),
    )


def _doomed_clip(text: str) -> ClipId:
    """Return the clip that ``text`` names by its id; ``latest`` may be another one by now.

    Raises:
        RefusedError: It is ``latest``.
        BadMessageError: It is no clip's id.
    """
    if text == LATEST:
        raise RefusedError(
            f"{text!r} does not say which clip is to be deleted: the newest may be another one by "
            "the time this is typed",
            safe=_NOTHING,
            do=_CLIPS,
        )
    try:
        return parse_clip_id(text)
    except BadMessageError as error:
        raise BadMessageError(error.fact, safe=_NOTHING, do=_CLIPS) from error


def _doomed_device(text: str) -> DeviceId:
    try:
        return parse_device_id(text)
    except BadMessageError as error:
        raise BadMessageError(error.fact, safe=_NOTHING, do=_DEVICES) from error


def _check_device(household: Household, device: DeviceId) -> None:
    if device not in {known.id for known in household.chain().head.statement.devices}:
        raise RefusedError(
            f"your household has no doorbell {device}, and no clip of one",
            safe=_NOTHING,
            do=_DEVICES,
        )


def _deleted_words(now: int, before: int) -> str:
    """Return how many clips were deleted, now and before."""
    if not before:
        return f"Deleted {many(now, 'clip')}"
    already = f"{many(before, 'clip')} {'was' if before == 1 else 'were'} deleted already"
    return f"Deleted {many(now, 'clip')}; {already}" if now else already


def _question(wish: Wish, listed: int) -> str:
    if wish.clips:
        return f"Delete {many(listed, 'clip')} for good?"
    # The command to the doorbell goes further than the list: it names a time, not clips.
    bells = "your doorbells have" if wish.device is None else f"the doorbell {wish.device} has"
    until = "now" if wish.until is None else wish.until
    return (
        f"Delete {many(listed, 'clip')} at the service for good, and all that {bells} from before"
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
