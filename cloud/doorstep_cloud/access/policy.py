"""The one answer to "may they": pure, default deny, the only way to content.

`decide` looks for a row of `RULES` that allows what is asked. There is no row
for a doorbell, an operator or anybody unknown, so there is nothing to get
wrong about them. The table is exported as JSON by `rules_as_json`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from doorstep_shared.ids import DeviceId, HouseholdId, MemberId
from doorstep_shared.statements import Role


class Action(StrEnum):
    """Everything that can be asked about a household's things."""

    READ_HOUSEHOLD = "read_household"
    READ_STATEMENTS = "read_statements"
    WRITE_STATEMENT = "write_statement"
    READ_KEYRING = "read_keyring"
    WRITE_KEYRING = "write_keyring"
    READ_CONSENT = "read_consent"
    WRITE_CONSENT = "write_consent"
    MANAGE_TOKENS = "manage_tokens"
    CREATE_CLAIM = "create_claim"
    READ_CLAIM = "read_claim"
    READ_DEVICES = "read_devices"
    READ_COMMANDS = "read_commands"
    SEND_COMMAND = "send_command"
    READ_EVENTS = "read_events"
    READ_CLIP_LIST = "read_clip_list"
    READ_CLIP_OBJECT = "read_clip_object"
    READ_MANIFEST = "read_manifest"
    DELETE_CLIP = "delete_clip"
    READ_SETTINGS = "read_settings"
    WRITE_SETTINGS = "write_settings"


class Scope(StrEnum):
    """What a token may be made for; a token without a scope may do nothing."""

    EVENTS_READ = "events:read"
    CLIPS_READ = "clips:read"
    CLIPS_DELETE = "clips:delete"
    KEYRING_READ = "keyring:read"
    DEVICES_WRITE = "devices:write"


@dataclass(frozen=True, slots=True)
class Anonymous:
    """Nobody known."""


@dataclass(frozen=True, slots=True)
class Member:
    """A person of a household, signed in.

    Attributes:
        session: Row of the session, for logs.
        ends_at_ms: When the session ends, Unix milliseconds.
    """

    household: HouseholdId
    member: MemberId
    session: int
    ends_at_ms: int


@dataclass(frozen=True, slots=True)
class TokenHolder:
    """A program that holds a member's token.

    Attributes:
        token: The token's id, for logs; not the token.
        ends_at_ms: When the token ends, Unix milliseconds.
    """

    household: HouseholdId
    member: MemberId
    token: str
    scopes: frozenset[Scope]
    ends_at_ms: int


@dataclass(frozen=True, slots=True)
class DeviceActor:
    """A doorbell. It brings things and asks for none."""

    household: HouseholdId
    device: DeviceId


Actor: TypeAlias = Anonymous | Member | TokenHolder | DeviceActor


@dataclass(frozen=True, slots=True)
class Resource:
    """What is asked about.

    Attributes:
        household: Whose it is; None when there is no such thing.
    """

    household: HouseholdId | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the database knew of the actor, read in the unit that serves the answer.

    Attributes:
        role: Of the actor's member in the statement in force; None when that
            statement does not list the member any more.
    """

    role: Role | None


class Denial(StrEnum):
    """Which *no* the caller hears."""

    NOT_SIGNED_IN = "not_signed_in"
    NOT_ALLOWED = "not_allowed"
    NOT_FOUND = "not_found"


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided and why.

    Attributes:
        allow: Whether it may be done.
        rule: Name of the row or of the refusal that decided.
        reasons: For the caller, in plain words; nothing they may not know.
        denial: How to say no; None when allowed.
    """

    allow: bool
    rule: str
    reasons: tuple[str, ...]
    denial: Denial | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: these roles may do this in their own household.

    Attributes:
        scope: The scope a token needs for it; None when no token suffices.
    """

    action: Action
    roles: frozenset[Role]
    scope: Scope | None

    @property
    def name(self) -> str:
        """Return the row's name, as decisions and logs say it."""
        return f"household:{self.action}"


_OWNERS: Final = frozenset({Role.OWNER})
_ALL: Final = frozenset(Role)

RULES: Final = (
    # A viewer watches; only an owner changes anything.
    Rule(Action.READ_HOUSEHOLD, _ALL, None),
    Rule(Action.READ_STATEMENTS, _ALL, None),
    Rule(Action.WRITE_STATEMENT, _OWNERS, None),
    Rule(Action.READ_KEYRING, _ALL, Scope.KEYRING_READ),
    Rule(Action.WRITE_KEYRING, _OWNERS, None),
    # Everybody of the household sees what may be asked; no program decides it.
    Rule(Action.READ_CONSENT, _ALL, None),
    Rule(Action.WRITE_CONSENT, _OWNERS, None),
    # A token can never make another token: a stolen one would outlive its end.
    Rule(Action.MANAGE_TOKENS, _OWNERS, None),
    Rule(Action.CREATE_CLAIM, _OWNERS, Scope.DEVICES_WRITE),
    Rule(Action.READ_CLAIM, _OWNERS, Scope.DEVICES_WRITE),
    Rule(Action.READ_DEVICES, _ALL, Scope.DEVICES_WRITE),
    Rule(Action.READ_COMMANDS, _ALL, None),
    # An owner's key has signed it, and no program holds that.
    Rule(Action.SEND_COMMAND, _OWNERS, None),
    Rule(Action.READ_EVENTS, _ALL, Scope.EVENTS_READ),
    Rule(Action.READ_CLIP_LIST, _ALL, Scope.CLIPS_READ),
    Rule(Action.READ_CLIP_OBJECT, _ALL, Scope.CLIPS_READ),
    Rule(Action.READ_MANIFEST, _ALL, Scope.CLIPS_READ),
    # To delete one needs no right to see it: a script that tidies up cannot watch.
    Rule(Action.DELETE_CLIP, _OWNERS, Scope.CLIPS_DELETE),
    # How long everything is kept deletes more than any list of clips: no token may.
    Rule(Action.READ_SETTINGS, _ALL, None),
    Rule(Action.WRITE_SETTINGS, _OWNERS, None),
)
"""Every row there is; one per action."""

_BY_ACTION: Final[Mapping[Action, Rule]] = {rule.action: rule for rule in RULES}


def decide(actor: Actor, action: Action, resource: Resource, facts: Facts, now: int) -> Decision:
    """Return whether ``actor`` may do ``action`` to ``resource`` at ``now``.

    Args:
        actor: Who asks.
        action: What they ask.
        resource: What they ask it about.
        facts: What the database knew of them just now.
        now: Unix milliseconds.
    """
    if isinstance(actor, Anonymous):
        return _deny("nobody-known", Denial.NOT_SIGNED_IN, "this needs a session or a token")
    # Before anything else is said, another household's thing is nobody's thing.
    if resource.household != actor.household:
        return _deny("nothing-of-theirs", Denial.NOT_FOUND, "there is no such thing")
    if isinstance(actor, DeviceActor):
        return _deny("doorbells-read-nothing", Denial.NOT_ALLOWED, "a doorbell may not read this")
    if now >= actor.ends_at_ms:
        return _deny("ended", Denial.NOT_SIGNED_IN, "this session or token has ended")
    return _decide_by_row(actor, _BY_ACTION[action], facts)


def rules_as_json() -> list[dict[str, str | list[str] | None]]:
    """Return the table as rows for people and programs to read."""
    return [
        {
            "rule": rule.name,
            "action": rule.action.value,
            "household": "own",
            "roles": sorted(role.value for role in rule.roles),
            "token_scope": rule.scope.value if rule.scope else None,
        }
        for rule in RULES
    ]


def _decide_by_row(actor: Member | TokenHolder, rule: Rule, facts: Facts) -> Decision:
    if facts.role is None:
        return _deny("not-listed", Denial.NOT_ALLOWED, "you are no member of this household")
    if facts.role not in rule.roles:
        return _deny("role", Denial.NOT_ALLOWED, f"a {facts.role} may not do this")
    if isinstance(actor, TokenHolder) and rule.scope not in actor.scopes:
        return _deny("scope", Denial.NOT_ALLOWED, _scope_wanted(rule))
    return Decision(allow=True, rule=rule.name, reasons=())


def _scope_wanted(rule: Rule) -> str:
    if rule.scope is None:
        return "no token may do this; sign in instead"
    return f"this token lacks the scope {rule.scope}"


def _deny(rule: str, denial: Denial, *reasons: str) -> Decision:
    return Decision(allow=False, rule=rule, reasons=reasons, denial=denial)
