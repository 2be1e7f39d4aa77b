"""What the worker is for: expiring, deleting objects, sweeping; put together."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request

from doorstep_cloud.app.backups import VAULT_BACKUPS
from doorstep_cloud.app.jobs import EXPIRE, Expiry
from doorstep_cloud.app.sweep import SWEEP, Sweeper, SweepReport
from doorstep_cloud.app.worker import Job, Worker
from doorstep_cloud.clips.deleter import Deleter
from doorstep_cloud.store.databases import Databases
from doorstep_cloud.store.objects import ObjectStore
from doorstep_cloud.web.health import Part

router: Final = APIRouter()

OBJECTS: Final = "objects"

EXPIRE_EVERY_S: Final = 600.0
SWEEP_EVERY_S: Final = 24 * 3600.0


class Upkeep:
    """Keeps the service tidy.

    Args:
        databases: Migrated.
        objects: Where payloads are.
        deleter: Deletes clips.
        worker: Runs what is to be done.
        sweep_spool: Removes from the spool what nobody waits for, and returns how many.
        purge_backups: Removes the vault's backups in time, and returns how many.
        now_ms: The service's wall clock, Unix milliseconds.
        monotonic_s: Of this process.

    Attributes:
        expiry: What goes by age.
        sweeper: What is looked for both ways.
    """

    def __init__(
        self,
        databases: Databases,
        objects: ObjectStore,
        deleter: Deleter,
        worker: Worker,
        *,
        sweep_spool: Callable[[], int],
        purge_backups: Callable[[], int],
        now_ms: Callable[[], int],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.expiry: Final = Expiry(databases, deleter, now_ms, monotonic_s, go_on=worker.go_on)
        self.sweeper: Final = Sweeper(
            databases,
            objects,
            deleter,
            sweep_spool=sweep_spool,
            look_at_clock=self.expiry.look_at_clock,
            go_on=worker.go_on,
        )
        worker.take(
            (
                Job(EXPIRE, EXPIRE_EVERY_S, self.expiry.run),
                Job(OBJECTS, EXPIRE_EVERY_S, partial(deleter.delete_objects, worker.go_on)),
                Job(VAULT_BACKUPS, EXPIRE_EVERY_S, purge_backups),
                Job(SWEEP, SWEEP_EVERY_S, self.sweeper.sweep),
            )
        )

    def remarks(self) -> Sequence[Part]:
        """Return what an operator should know though the service is ready."""
        if not self.expiry.is_held:
            return ()
        fact = (
            "nothing goes by age for up to 24 h: the clock jumped by more than two days, or the "
            "service was off for so long. Correct the clock if it is wrong"
        )
        return (Part(name="retention", is_well=False, fact=fact),)


def sweeper(request: Request) -> Sweeper:
    """Return the sweeper of this service."""
    found: Sweeper = request.app.state.sweeper
    return found


@router.post("/sweep")
def sweep(sweeper: Annotated[Sweeper, Depends(sweeper)]) -> SweepReport:
    """Sweep everything once, now; answers when it is done."""
    return sweeper.sweep()
