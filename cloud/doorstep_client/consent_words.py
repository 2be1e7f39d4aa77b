"""What a consent policy says, in the words a household reads."""

import shlex
from datetime import UTC, datetime
from typing import Final

from doorstep_client import output
from doorstep_client.consent import Change, Consent
from doorstep_shared.consent import AgencyKind, Choices, ConsentPolicy, Requests, ShowMyName

NOBODY: Final = "none"

PROMISE: Final = (
    "Nobody outside your household can watch your door.",
    "By itself nothing happens. Only a person of your household gives a clip, for one question.",
    "No clip is given in advance, and none automatically; nobody can decide it for you.",
    "If you do nothing, nothing happens and nobody learns whether you looked.",
)
"""What holds whatever a household chooses."""

TODAY: Final = (
    "Today nobody can ask you anything: this version has no way in for an agency. What you choose"
    " is signed and kept for when there is one."
)

_KINDS: Final = {
    AgencyKind.POLICE: "police",
    AgencyKind.FIRE: "fire services",
    AgencyKind.AMBULANCE: "ambulance services",
    AgencyKind.MISSING_PERSONS: "searches for missing persons",
    AgencyKind.OTHER: "other agencies",
}
_NUMBERS: Final = {1: "one", 2: "two"}


def choice_lines(choices: Choices) -> list[str]:
    """Return what ``choices`` come to, one line for each."""
    return [f"{label}: {value}" for label, value in _said(choices).items()]


def change_lines(before: Choices, after: Choices) -> list[str]:
    """Return what is another in ``after`` than in ``before``, one line for each."""
    was, will = _said(before), _said(after)
    return [
        f"{label}: now {was[label]}; then {will[label]}"
        for label in was
        if was[label] != will[label]
    ]


def show_lines(consent: Consent) -> list[str]:
    """Return everything there is to say of a household's consent."""
    return [
        *PROMISE,
        "",
        *choice_lines(consent.in_force),
        _since(consent),
        *waiting_lines(consent),
        "",
        TODAY,
    ]


def status_line(consent: Consent) -> str:
    """Return what holds, in one line."""
    choices = consent.in_force
    shown = [_questions(choices)] if _is_asked(choices) else []
    shown += ["where a life is in danger"] if choices.emergency_requests is Requests.ASK else []
    if not shown:
        return "No question of an agency is shown to you, and nothing is given by itself."
    return f"Questions are shown to you ({'; '.join(shown)}); nothing is given by itself."


def waiting_lines(consent: Consent) -> list[str]:
    """Return what will hold, from when on, and how to stop it; nothing if nothing waits."""
    if (policy := consent.waiting) is None:
        return []
    changes = change_lines(consent.in_force, policy.choices)
    return [
        f"Waits until {_moment(policy.in_force_at)}:",
        *(f"  {line}" for line in changes),
        f"To stop it, any owner types: {stop_command(consent.in_force, policy)}",
    ]


def stop_command(held: Choices, waiting: ConsentPolicy) -> str:
    """Return the command by which ``held`` goes on holding, and ``waiting`` does not come."""
    coming = waiting.choices.model_dump(mode="json")
    words = ["doorstep", "consent", "set"]
    for name, value in held.model_dump(mode="json").items():
        if coming[name] != value:
            text = ",".join(value) or NOBODY if isinstance(value, list) else str(value)
            words += [f"--{name.replace('_', '-')}", text]
    return shlex.join(words)


def plan_lines(change: Change) -> list[str]:
    """Return what an owner is about to sign: what it was, what it will be, and from when on."""
    stopped = ["What waits will not come."] if change.stopped else []
    if change.before == change.after:
        return ["What holds now goes on.", *stopped]
    changes = change_lines(change.before, change.after)
    return [*changes, "All else stays as it is.", *stopped, *_beginning(change)]


def consent_facts(consent: Consent) -> dict[str, object]:
    """Return the same for scripts."""
    holding, waiting = consent.holding, consent.waiting
    return {
        "in_force": consent.in_force.model_dump(mode="json"),
        "version": holding.version if holding else 0,
        "since": _rfc3339(holding.in_force_at) if holding else None,
        "waiting": None if waiting is None else _waiting_facts(waiting),
        "stop": None if waiting is None else stop_command(consent.in_force, waiting),
    }


def _waiting_facts(waiting: ConsentPolicy) -> dict[str, object]:
    return {
        "version": waiting.version,
        "in_force_at": _rfc3339(waiting.in_force_at),
        "choices": waiting.choices.model_dump(mode="json"),
    }


def _said(choices: Choices) -> dict[str, str]:
    return {
        "Questions from agencies": _questions(choices),
        "Questions where a life is in danger": _on_or_off(choices.emergency_requests),
        "Your name": (
            "never told to an agency"
            if choices.show_my_name is ShowMyName.NEVER
            else "told only if you say so each time you give a clip"
        ),
        "Owners it takes to give a clip, or to loosen this": _NUMBERS[choices.owners_needed],
    }


def _on_or_off(requests: Requests) -> str:
    return "off" if requests is Requests.OFF else "shown to you"


def _questions(choices: Choices) -> str:
    kinds = ", ".join(_KINDS[kind] for kind in AgencyKind if kind in choices.agency_kinds)
    if choices.agency_requests is Requests.OFF:
        return f"off (chosen for later: {kinds})" if kinds else "off"
    return f"from {kinds}, shown to you if about your street" if kinds else "shown from nobody"


def _is_asked(choices: Choices) -> bool:
    return choices.agency_requests is Requests.ASK and bool(choices.agency_kinds)


def _since(consent: Consent) -> str:
    if (holding := consent.holding) is None:
        return "This holds since your household was founded: nothing else was ever signed."
    return (
        f"This holds since {_moment(holding.in_force_at)} (version {holding.version}); your owners"
        " signed it, and every version was checked on this computer."
    )


def _beginning(change: Change) -> list[str]:
    if not change.loosens:
        return ["This tightens what holds. It holds at once."]
    if change.before.owners_needed == 1:
        return ["This loosens what holds. One owner is enough for that here: it holds at once."]
    lines = [
        "This loosens what holds, and your household asks two owners for that.",
        f"Signed by you alone, it holds from {_moment(change.begins_ms)} on.",
        "Until then everybody sees it in doorstep status, and any owner can stop it.",
    ]
    if change.delays:
        lines.append("What it tightens waits with it. To have that at once, set that alone first.")
    return lines


def _moment(at_ms: int) -> str:
    return output.local_time(datetime.fromtimestamp(at_ms / 1000, UTC))


def _rfc3339(at_ms: int) -> str:
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
