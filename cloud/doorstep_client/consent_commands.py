"""``doorstep consent``: who may ask your household for a clip."""

import sys
from typing import Annotated, Final

import typer

from doorstep_client import output
from doorstep_client.choices import one_of, spelled
from doorstep_client.consent import Consent, plan_change, read_consent, set_consent
from doorstep_client.consent_words import (
    NOBODY,
    consent_facts,
    plan_lines,
    show_lines,
    status_line,
    waiting_lines,
)
from doorstep_client.home import Home
from doorstep_client.household import Household
from doorstep_shared.consent import AgencyKind, Choices, Requests, ShowMyName
from doorstep_shared.errors import RefusedError

consent_app: Final = typer.Typer(no_args_is_help=True, help="Who may ask you for a clip.")

_KINDS: Final = ",".join(AgencyKind)


def _parse_kinds(text: str | None) -> tuple[AgencyKind, ...] | None:
    """Return the kinds that ``text`` names, each once and in the order of the list."""
    if text is None:
        return None
    words = set() if text == NOBODY else {word.strip() for word in text.split(",")}
    if unknown := words - set(AgencyKind):
        raise typer.BadParameter(
            f"{', '.join(sorted(unknown))!r} is not among {_KINDS}, and not {NOBODY}"
        )
    return tuple(kind for kind in AgencyKind if kind in words)


@consent_app.command("show")
def consent_show(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Say who may ask you for a clip, what waits, and what never happens."""
    with Household(Home.default()) as household:
        consent = read_consent(household)
    if as_json:
        output.print_json(consent_facts(consent))
        return
    for line in show_lines(consent):
        output.print_line(line)


@consent_app.command("set")
def consent_set(
    *,
    agency_requests: Annotated[
        Requests | None,
        typer.Option(
            "--agency-requests",
            parser=one_of(Requests),
            metavar=spelled(Requests),
            help="Whether agencies' questions are shown to you.",
        ),
    ] = None,
    agency_kinds: Annotated[
        str | None,
        typer.Option(
            "--agency-kinds",
            metavar="KINDS",
            help=f"Whose questions: of {_KINDS}, with commas between; or {NOBODY}.",
        ),
    ] = None,
    emergency_requests: Annotated[
        Requests | None,
        typer.Option(
            "--emergency-requests",
            parser=one_of(Requests),
            metavar=spelled(Requests),
            help="The same where a life is in danger.",
        ),
    ] = None,
    show_my_name: Annotated[
        ShowMyName | None,
        typer.Option(
            "--show-my-name",
            parser=one_of(ShowMyName),
            metavar=spelled(ShowMyName),
            help="Whether you are asked to tell your name.",
        ),
    ] = None,
    owners_needed: Annotated[
        int | None,
        typer.Option(
            "--owners-needed", min=1, max=2, help="Owners it takes to give a clip, or to loosen."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Sign without asking.")] = False,
) -> None:
    """Choose who may ask you for a clip: shows what changes and from when on, then signs it."""
    given: dict[str, object] = {
        "agency_requests": agency_requests,
        "agency_kinds": _parse_kinds(agency_kinds),
        "emergency_requests": emergency_requests,
        "show_my_name": show_my_name,
        "owners_needed": owners_needed,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    if not chosen:
        raise typer.BadParameter("nothing to set; see doorstep consent set --help")
    with Household(Home.default()) as household:
        _change(household, read_consent(household), chosen, is_agreed=yes)


def _change(
    household: Household, consent: Consent, chosen: dict[str, object], *, is_agreed: bool
) -> None:
    wanted = consent.in_force.model_copy(update=chosen)
    if _is_of_nobody(wanted) and not _is_of_nobody(consent.in_force):
        raise RefusedError(
            "questions of agencies would be on, and from nobody",
            safe="Nothing was changed.",
            do="doorstep consent set --agency-requests ask --agency-kinds police,fire",
        )
    change = plan_change(consent, wanted)
    if change is None:
        output.say("That is what holds already; nothing was signed.")
        return
    for line in plan_lines(change):
        output.say(line)
    if not is_agreed:
        _ask()
    found = set_consent(household, consent, wanted)
    output.say("Signed.")
    for line in (status_line(found), *waiting_lines(found)):
        output.print_line(line)


def _is_of_nobody(choices: Choices) -> bool:
    """Return whether questions are on for no kind of agency: it looks like more than it is."""
    return choices.agency_requests is Requests.ASK and not choices.agency_kinds


def _ask() -> None:
    """Return if the person at the terminal agrees.

    Raises:
        RefusedError: They do not, or there is nobody to ask.
    """
    if not sys.stdin.isatty():
        raise RefusedError(
            "this is signed only after a yes, and there is no terminal to ask on",
            safe="Nothing was changed.",
            do="type the same again with --yes",
        )
    if not typer.confirm("Sign this?", err=True):
        raise RefusedError(
            "you did not agree", safe="Nothing was changed.", do="doorstep consent show"
        )
