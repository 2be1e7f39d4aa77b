"""Asking the running service for a backup: one JSON object a line until it is done.

A backup of a large database takes minutes, so that its answer is read while it is written.
"""

from collections.abc import Iterator
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Annotated, Final

import structlog
from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, ValidationError

from doorstep_cloud.app.admin import AdminError, UnixConnection, not_running
from doorstep_cloud.app.backups import Backups
from doorstep_cloud.store.backups import Progress, Which
from doorstep_shared.errors import DoorstepError, TryLaterError

router: Final = APIRouter()

_PATH: Final = "/backups"
_MEDIA_TYPE: Final = "application/x-ndjson"

_log = structlog.get_logger(__name__)


class BackupAsked(BaseModel):
    """Which database, and for main to which file: an absolute path."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    which: Which
    target: Path | None = None


class BackupLine(BaseModel):
    """How far it is; in the last line the backup, or why there is none."""

    done: int = 0
    total: int = 0
    path: Path | None = None
    fact: str = ""
    safe: str = ""
    do: str = ""


def _backups(request: Request) -> Backups:
    found = request.app.state.backups
    if not isinstance(found, Backups):
        raise TypeError("this app makes no backups")
    return found


@router.post(_PATH)
def make_backup(
    backups: Annotated[Backups, Depends(_backups)], asked: BackupAsked
) -> StreamingResponse:
    """Make a backup and tell how far it is. Who stops listening does not stop it."""
    return StreamingResponse(_lines(backups, asked), media_type=_MEDIA_TYPE)


def ask_for_backup(socket: Path, which: Which, target: Path | None, progress: Progress) -> Path:
    """Return the backup that the running service makes.

    Args:
        socket: The admin socket.
        which: Of the two databases.
        target: Where main's goes, an absolute path.
        progress: Told pages copied, and pages in all.

    Raises:
        NotRunningError: Nobody answers.
        AdminError: It made none.
    """
    asked = BackupAsked(which=which, target=target).model_dump_json()
    # Without a time: it checks every page of the copy, and a service that dies hangs up.
    with closing(UnixConnection(socket, timeout_s=None)) as connection:
        try:
            connection.request("POST", _PATH, asked, {"Content-Type": "application/json"})
            answer = connection.getresponse()
        except (OSError, HTTPException) as error:
            raise not_running(socket) from error
        return _followed(answer, progress)


def _followed(answer: HTTPResponse, progress: Progress) -> Path:
    try:
        if answer.status == HTTPStatus.OK:
            for text in answer:
                line = BackupLine.model_validate_json(text)
                if line.fact:
                    raise AdminError(line.fact, safe=line.safe, do=line.do)
                if line.path is not None:
                    return line.path
                progress(line.done, line.total)
        else:
            answer.read()
    except (OSError, HTTPException, ValidationError) as error:
        raise _broken_off() from error
    raise _broken_off()


def _broken_off() -> TryLaterError:
    return TryLaterError(
        "the running service broke off while it made the backup",
        safe="What lies at that place, if anything does, is a whole one.",
        do="doorstep-cloud check        (its log says more)",
    )


def _lines(backups: Backups, asked: BackupAsked) -> Iterator[str]:
    told: SimpleQueue[BackupLine | None] = SimpleQueue()
    Thread(target=_make, args=(backups, asked, told), name="backup").start()
    while (line := told.get()) is not None:
        yield line.model_dump_json(exclude_defaults=True) + "\n"


def _make(backups: Backups, asked: BackupAsked, told: "SimpleQueue[BackupLine | None]") -> None:
    def on_progress(done: int, total: int) -> None:
        told.put(BackupLine(done=done, total=total))

    try:
        path = backups.make(asked.which, asked.target, on_progress)
        _log.info("backup_made", database=asked.which.value)
        told.put(BackupLine(path=path))
    except DoorstepError as error:
        _log.warning("backup_failed", database=asked.which.value, kind=type(error).__name__)
        told.put(BackupLine(fact=error.fact, safe=error.safe, do=error.do))
    finally:
        told.put(None)
