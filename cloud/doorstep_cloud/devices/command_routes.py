"""HTTP: what owners tell their doorbells to do, and what has become of it."""

from typing import Final

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from doorstep_cloud.access.policy import Action, Resource
from doorstep_cloud.devices import commands
from doorstep_cloud.devices.commands import CommandFacts, CommandState
from doorstep_cloud.households.principal import (
    ActorDep,
    DatabasesDep,
    KnownActorDep,
    ListenerDep,
    NowDep,
    SignedField,
    authorize,
    speaker,
)
from doorstep_cloud.store.moments import Moment
from doorstep_shared.commands import CommandName
from doorstep_shared.fields import Counter, DeviceIdField

router: Final = APIRouter(tags=["doorbells"])


class CommandWish(BaseModel):
    """A command, signed by an owner; its counter follows the doorbell's last one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: SignedField


class CommandAnswer(BaseModel):
    """A command that was taken, and is sent until the doorbell answers or until it ends."""

    counter: Counter
    expires_at: Moment


class CommandItem(BaseModel):
    """A command; ``clips`` is how many it names, ``until`` the time up to which it means all."""

    counter: Counter
    name: CommandName
    clips: Counter | None
    until: Moment | None
    received_at: Moment
    expires_at: Moment
    state: CommandState
    reason: str | None


class CommandList(BaseModel):
    """The doorbell's newest commands, newest first, and the counter of its next one."""

    items: list[CommandItem]
    next_counter: Counter


@router.post("/v1/devices/{device}/commands", status_code=201)
def send_command(
    databases: DatabasesDep,
    actor: KnownActorDep,
    now: NowDep,
    listener: ListenerDep,
    *,
    device: DeviceIdField,
    asked: CommandWish,
) -> CommandAnswer:
    """Send a command that an owner has signed. 409 says which counter the next one has.

    The service checks it as the doorbell will, and can make none itself.
    """
    with databases.write() as unit:
        household = commands.household_of_device(unit, device)
        authorize(unit, actor, Action.SEND_COMMAND, Resource(household), now)
        command = commands.accept_command(unit, device, asked.command, now)
        unit.commit()
    listener(speaker(actor).household)
    return CommandAnswer(counter=command.counter, expires_at=command.expires)


@router.get("/v1/devices/{device}/commands")
def list_commands(
    databases: DatabasesDep, actor: ActorDep, now: NowDep, device: DeviceIdField
) -> CommandList:
    """Return what the doorbell was told to do in the last weeks, and what it answered."""
    with databases.read() as unit:
        household = commands.household_of_device(unit, device)
        authorize(unit, actor, Action.READ_COMMANDS, Resource(household), now)
        found = commands.list_commands(unit, device, now)
    return CommandList(
        items=[_item(facts) for facts in found.items], next_counter=found.next_counter
    )


def _item(facts: CommandFacts) -> CommandItem:
    command = facts.command
    return CommandItem(
        counter=command.counter,
        name=command.name,
        clips=None if command.clips is None else len(command.clips),
        until=command.until,
        received_at=facts.received_at_ms,
        expires_at=command.expires,
        state=facts.state,
        reason=facts.reason or None,
    )
