"""What owners told this doorbell to do: taken once, kept on the card, done, answered.

    commands.json    {"v": 1, "counter": …, "tasks": [{"counter", "sha256", "left": [clip, …]}, …]}

A command is kept together with the clips that it comes to, before the first of them goes.
Cut in between, the next start goes on with what is left: it waits for nobody to say it
again, and neither a clock nor what was recorded since makes it another command.
"""

import itertools
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from doorstep_device.household import Membership
from doorstep_device.outbox import Outbox, Problem
from doorstep_device.ports.disk import Disk
from doorstep_shared.commands import Command, verify_command
from doorstep_shared.encoding import Base64Bytes32
from doorstep_shared.errors import BadMessageError, RefusedError, TryLaterError
from doorstep_shared.fields import ClipIdField, Counter
from doorstep_shared.ids import ClipId, DeviceId
from doorstep_shared.signing import Signed
from doorstep_shared.wire import Answer

COMMANDS_PATH: Final = "commands.json"

ANSWERS_KEPT: Final = 64
"""The newest tasks that are done: twice as many as a service lets wait for their answers."""

MOST_UNFINISHED: Final = 32

TOO_LATE: Final = "it came after its end"
OVERTAKEN: Final = "a later command came before it"


class NotForUsError(RefusedError):
    """A command for another doorbell, or of another household."""


class TooManyCommandsError(TryLaterError):
    """Commands taken earlier have to be done first."""


class _Task(BaseModel):
    """A command that was taken.

    Attributes:
        sha256: Of its body. Another with the same counter is another command: a service that
            was restored from a backup may not know that the counter was used.
        left: Clips that may still be here; without any it is done.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    counter: Counter
    sha256: Base64Bytes32
    left: tuple[ClipIdField, ...]


class _CommandsFile(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    v: Literal[1] = 1
    counter: Counter = 0
    tasks: Annotated[tuple[_Task, ...], Field(max_length=ANSWERS_KEPT + MOST_UNFINISHED)] = ()


class Commands:
    """Does what owners of this doorbell's head have signed; for the outbox's thread.

    Attributes:
        problems: What was found unreadable; kept, and for a person to look at.
    """

    def __init__(
        self,
        disk: Disk,
        device: DeviceId,
        membership: Membership,
        outbox: Outbox,
        *,
        not_before_ms: int,
    ) -> None:
        """Go on with what was taken and not finished.

        Args:
            disk: The doorbell's own.
            device: This doorbell.
            membership: Says who its owners are.
            outbox: Whose clips are deleted.
            not_before_ms: No time before this can be now, whatever the clock says.
        """
        self._disk: Final = disk
        self._device: Final = device
        self._membership: Final = membership
        self._outbox: Final = outbox
        self._not_before_ms: Final = not_before_ms
        self._kept = _CommandsFile()
        self.problems: tuple[Problem, ...] = ()
        try:
            self._take_up()
        except (BadMessageError, RefusedError) as error:
            # The counters are lost with it. A command that comes again within its time then
            # deletes what it was to delete before: nothing else is in any.
            self.problems = (self._set_aside(error.fact),)
        with suppress(RefusedError, TryLaterError):
            self.finish()

    def take(self, signed: Signed, now_ms: int, *, is_synced: bool) -> tuple[Answer, ...]:
        """Take a command, do it, and return what is now to be answered.

        It is durable before it is begun. Without an answer it was taken and goes on: a clip
        that is being recorded goes when it has ended. The same command again brings the
        same answer, and is not done twice.

        A clock that was never set ends no command. One that was held back deletes no more
        than an owner wanted deleted, and a doorbell that never reaches a time server must
        still delete.

        Args:
            signed: As it came.
            now_ms: Wall time, Unix milliseconds.
            is_synced: Whether that clock was set from outside.

        Raises:
            WrongSignatureError: No owner of the head signed it. The statement that names
                whoever did may be on its way: this is no answer to it.
            NotForUsError: It is another doorbell's.
            BadMessageError: It is not a command.
            TryLaterError, RefusedError: The disk's. The service says it again.
        """
        command = verify_command(signed, self._membership.owners())
        if (command.household, command.device) != (self._membership.household, self._device):
            raise NotForUsError("this command is for another doorbell")
        known = next((t for t in self._kept.tasks if t.sha256 == signed.body_hash), None)
        if known is not None:
            return () if known.left else (_done(known),)
        if command.counter <= self._kept.counter:
            return (_refused(command, OVERTAKEN),)
        if command.expires <= max(self._not_before_ms, now_ms if is_synced else 0):
            return (_refused(command, TOO_LATE),)
        return self._begin(command, signed.body_hash)

    def finish(self) -> tuple[Answer, ...]:
        """Go on with what is not finished; return the answers to what now is.

        Raises:
            TryLaterError, RefusedError: The disk's; to be called again.
        """
        unfinished = [task for task in self._kept.tasks if task.left]
        for task in unfinished:
            self._outbox.delete(task.left)
        done = [task for task in unfinished if not self._outbox.is_deleting(task.left)]
        if done:
            self._keep(
                self._kept.counter,
                [_without_clips(task) if task in done else task for task in self._kept.tasks],
            )
        return tuple(_done(task) for task in done)

    def _begin(self, command: Command, sha256: bytes) -> tuple[Answer, ...]:
        if sum(bool(task.left) for task in self._kept.tasks) >= MOST_UNFINISHED:
            raise TooManyCommandsError(f"{MOST_UNFINISHED} commands are still being done")
        task = _Task(counter=command.counter, sha256=sha256, left=self._named_by(command))
        self._keep(command.counter, [*self._kept.tasks, task])
        finished = self.finish()
        return finished if task.left else (*finished, _done(task))

    def _named_by(self, command: Command) -> tuple[ClipId, ...]:
        if command.clips is not None:
            return self._outbox.clips_among(command.clips)
        return self._outbox.clips_begun_until(command.until or 0)

    def _keep(self, counter: int, tasks: Sequence[_Task]) -> None:
        finished = [task for task in tasks if not task.left]
        forgotten = finished[: max(0, len(finished) - ANSWERS_KEPT)]
        kept = _CommandsFile(
            counter=counter, tasks=tuple(task for task in tasks if task not in forgotten)
        )
        self._disk.write_whole(COMMANDS_PATH, kept.model_dump_json().encode())
        self._kept = kept

    def _take_up(self) -> None:
        if not self._disk.exists(COMMANDS_PATH):
            return
        try:
            self._kept = _CommandsFile.model_validate_json(self._disk.read(COMMANDS_PATH))
        except ValidationError as error:
            raise BadMessageError("what this doorbell was told to do cannot be read") from error

    def _set_aside(self, fact: str) -> Problem:
        names = (f"{COMMANDS_PATH}.kept-{number}" for number in itertools.count(1))
        # A card that does not let it be moved must not silence the button either.
        with suppress(RefusedError, TryLaterError):
            name = next(name for name in names if not self._disk.exists(name))
            self._disk.rename(COMMANDS_PATH, name)
            return Problem(name, fact)
        return Problem(COMMANDS_PATH, fact)


def _without_clips(task: _Task) -> _Task:
    return task.model_copy(update={"left": ()})


def _done(task: _Task) -> Answer:
    return Answer(counter=task.counter, is_done=True)


def _refused(command: Command, reason: str) -> Answer:
    return Answer(counter=command.counter, is_done=False, reason=reason)
