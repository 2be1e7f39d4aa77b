"""The worker: one thread that does what has to be done now and then."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from doorstep_shared.errors import TryLaterError

RETRY_S: Final = 30.0
"""So long after something was away it is tried again, unless that itself says otherwise."""

IDLE_S: Final = 600.0
STOP_S: Final = 30.0

log = structlog.get_logger(__name__)


class StoppedError(TryLaterError):
    """The service ends, and with it what takes long; the rest is done after the next start."""


@dataclass(frozen=True, slots=True)
class Job:
    """Something to be done at the start and then again and again.

    Attributes:
        name: For logs and counts.
        every_s: From one end to the next beginning, monotonic.
        run: Does it. It ends its own units of work, and what it did before an error stays done.
    """

    name: str
    every_s: float
    run: Callable[[], object]


class Worker:
    """Runs jobs in turn on a thread of its own, from `start` to `stop`.

    Args:
        monotonic_s: Of this process.
    """

    def __init__(self, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._jobs: Sequence[Job] = ()
        self._monotonic_s = monotonic_s
        self._due_s: dict[str, float] = {}
        self._errors: Counter[str] = Counter()
        self._passes: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def take(self, jobs: Sequence[Job]) -> None:
        """Take what is to be done, in the order in which it runs when several are due."""
        self._jobs = jobs
        self._due_s = dict.fromkeys((job.name for job in jobs), float("-inf"))

    def start(self) -> None:
        """Begin with every job."""
        self._thread.start()

    def stop(self) -> None:
        """End with the job under way, or where it asks; the rest is done after the next start."""
        self._is_stopping = True
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    def go_on(self) -> None:
        """Return if what takes long may go on; jobs ask between their units of work.

        Raises:
            StoppedError: The worker is to end.
        """
        if self._is_stopping:
            raise StoppedError("the service was told to stop", safe="What was done stays done.")

    def wake(self, name: str) -> None:
        """Run the job of that name as soon as may be; returns at once, from any thread."""
        with self._lock:
            self._due_s |= {job.name: float("-inf") for job in self._jobs if job.name == name}
        self._woken.set()

    @property
    def passes(self) -> Mapping[str, int]:
        """Return how often each job came to its end."""
        with self._lock:
            return dict(self._passes)

    @property
    def errors(self) -> Mapping[str, int]:
        """Return how often each job did not."""
        with self._lock:
            return dict(self._errors)

    def run_due(self) -> float:
        """Run what is due; return seconds until something is due again."""
        for job in self._jobs:
            if self._is_stopping:
                break
            if self._due_s[job.name] <= self._monotonic_s():
                self._run_one(job)
        with self._lock:
            due_s = min(self._due_s.values(), default=float("inf"))
        return min(IDLE_S, max(0.0, due_s - self._monotonic_s()))

    def _run(self) -> None:
        while not self._is_stopping:
            # Before the jobs, or a call to `wake` while they run would be forgotten.
            self._woken.clear()
            self._woken.wait(self.run_due())

    def _run_one(self, job: Job) -> None:
        with self._lock:
            # Before it runs: what wakes us meanwhile wants it to run once more.
            self._due_s[job.name] = float("inf")
        pause_s = job.every_s
        try:
            job.run()
        except TryLaterError as error:
            pause_s = min(pause_s, max(RETRY_S, error.after_s or 0.0))
            self._note(self._errors, job)
            log.warning("job_put_off", job=job.name, fact=error.fact)
        except Exception:  # The boundary of this thread: one job must not stop the others.
            self._note(self._errors, job)
            log.exception("job_crashed", job=job.name)
        else:
            self._note(self._passes, job)
        with self._lock:
            self._due_s[job.name] = min(self._due_s[job.name], self._monotonic_s() + pause_s)

    def _note(self, counts: Counter[str], job: Job) -> None:
        with self._lock:
            counts[job.name] += 1
