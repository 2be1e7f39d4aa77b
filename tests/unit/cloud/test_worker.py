"""The worker: what is due is done, what fails is told and tried again, and it ends cleanly."""

import threading

import pytest
from structlog.testing import capture_logs

from doorstep_cloud.app.worker import RETRY_S, Job, Worker
from doorstep_shared.errors import TryLaterError
from tests.services import wait_until


class Time:
    """Monotonic time in the test's hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Work:
    """Something that was done so many times, and may fail."""

    def __init__(self) -> None:
        self.times = 0
        self.error: Exception | None = None

    def __call__(self) -> None:
        self.times += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def now() -> Time:
    return Time()


@pytest.fixture
def worker(now: Time) -> Worker:
    return Worker(monotonic_s=now)


def test_every_job_is_done_at_the_start_in_order_and_then_in_its_time(
    worker: Worker, now: Time
) -> None:
    done: list[str] = []
    worker.take(
        [
            Job("often", 10, lambda: done.append("often")),
            Job("daily", 100, lambda: done.append("d")),
        ]
    )
    assert worker.run_due() == 10
    assert done == ["often", "d"]
    now.now_s = 9
    assert worker.run_due() == 1
    assert len(done) == 2
    now.now_s = 10
    worker.run_due()
    assert done == ["often", "d", "often"]
    assert worker.passes == {"often": 2, "daily": 1}


def test_what_is_away_is_tried_again_soon_and_the_others_go_on(worker: Worker, now: Time) -> None:
    away, well = Work(), Work()
    away.error = TryLaterError("the store is away", after_s=1.0)
    worker.take([Job("away", 600, away), Job("well", 600, well)])
    with capture_logs() as told:
        assert worker.run_due() == RETRY_S
    assert [(fact["event"], fact["job"]) for fact in told] == [("job_put_off", "away")]
    away.error, now.now_s = None, RETRY_S
    worker.run_due()
    assert (away.times, well.times) == (2, 1)
    assert worker.errors == {"away": 1}


def test_a_mistake_of_ours_is_told_and_stops_no_other_job(worker: Worker, now: Time) -> None:
    wrong, well = Work(), Work()
    wrong.error = ZeroDivisionError()
    worker.take([Job("wrong", 600, wrong), Job("well", 600, well)])
    with capture_logs() as told:
        worker.run_due()
    assert [fact["event"] for fact in told] == ["job_crashed"]
    assert well.times == 1
    now.now_s = 600
    with capture_logs():
        worker.run_due()
    assert wrong.times == 2


def test_who_wakes_it_while_the_job_runs_has_it_run_once_more(worker: Worker) -> None:
    times = []

    def work() -> None:
        times.append(1)
        if len(times) == 1:
            worker.wake("work")

    worker.take([Job("work", 600, work)])
    worker.run_due()
    worker.run_due()
    worker.run_due()
    assert len(times) == 2


def test_nobody_wakes_what_there_is_not(worker: Worker) -> None:
    worker.wake("nothing")
    worker.take([Job("work", 600, Work())])
    worker.run_due()
    worker.wake("nothing")
    assert worker.run_due() > 0


def test_it_is_woken_at_once_and_ends_with_the_job_under_way() -> None:
    begun, may_end, done = threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        may_end.wait(20)
        done.append(1)

    worker = Worker()
    worker.take([Job("first", 600, work), Job("second", 600, lambda: done.append(2))])
    worker.start()
    assert begun.wait(20)
    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    wait_until(lambda: worker._is_stopping, what="the end")
    may_end.set()
    stopping.join(20)
    assert done == [1]


def test_a_long_job_that_asks_ends_where_it_is(worker: Worker) -> None:
    done: list[int] = []

    def work() -> None:
        for number in range(100):
            worker.go_on()
            done.append(number)
            if number == 2:
                worker.stop()

    worker.take([Job("long", 600, work)])
    with capture_logs() as told:
        worker.run_due()
    assert done == [0, 1, 2]
    assert [fact["event"] for fact in told] == ["job_put_off"]
    assert worker.passes == {}


def test_it_is_woken_from_its_sleep() -> None:
    work = Work()
    worker = Worker()
    worker.take([Job("work", 600, work)])
    worker.start()
    wait_until(lambda: work.times == 1, what="the first time")
    worker.wake("work")
    wait_until(lambda: work.times == 2, what="the second time")
    worker.stop()
