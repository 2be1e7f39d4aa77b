"""Ingest, put together: its connections, a thread for control, workers for storing.

Control and bulk are apart so that a ring never waits behind a clip. The third,
access, tells the broker who there is.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from doorstep_cloud.events.hub import Hub
from doorstep_cloud.ingest.access import RESPONSES
from doorstep_cloud.ingest.admission import AdmissionDesk
from doorstep_cloud.ingest.connection import BrokerAddress, Connection
from doorstep_cloud.ingest.control import ControlDesk, NoteSeconds, longest_body
from doorstep_cloud.ingest.counters import Count, IngestCounters
from doorstep_cloud.ingest.inbox import Inbox, Lane, Message
from doorstep_cloud.ingest.quota import CONTROL, UNASKED, Quota
from doorstep_cloud.ingest.storing import StoreRoom
from doorstep_cloud.ingest.transfers import TransferDesk, UnderWay
from doorstep_cloud.store.databases import Databases
from doorstep_cloud.store.objects import ObjectStore
from doorstep_cloud.store.spool import Spool
from doorstep_shared.errors import BadMessageError, TryLaterError
from doorstep_shared.ids import ClipId, DeviceId, HouseholdId
from doorstep_shared.signing import SigningKey
from doorstep_shared.topics import (
    INGEST_BULK_FILTERS,
    INGEST_CONTROL_FILTERS,
    DeviceTopic,
    parse_topic,
)

log = structlog.get_logger(__name__)

TICK_S: Final = 10.0
STOP_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Load:
    """What ingest has on its hands at one moment.

    Attributes:
        connections: By name, whether each stands.
        is_settled: Whether the broker has taken every doorbell there is.
        admitted: Doorbells that may speak.
        banished: Those of them that are out for a while.
        waiting: Messages that wait to be handled, by lane.
        transfers: Payloads under way.
    """

    connections: Mapping[str, bool]
    is_settled: bool
    admitted: int
    banished: int
    waiting: Mapping[Lane, int]
    transfers: UnderWay


class Ingest:
    """Takes what doorbells send, from `start` to `stop`.

    Args:
        databases: Migrated.
        objects: Where payloads end.
        hub: Told of each new event once it is committed.
        broker: Where to connect, as ``ingest``.
        spool_folder: For payloads under way; nobody else's.
        receipt_key: Signs what doorbells are told is stored.
        now_ms: The service's wall clock, Unix milliseconds.
        note_ring: Told of each acknowledged ring how long it took since it came.

    Attributes:
        counters: What was taken and dropped.
    """

    def __init__(
        self,
        *,
        databases: Databases,
        objects: ObjectStore,
        hub: Hub,
        broker: BrokerAddress,
        spool_folder: Path,
        receipt_key: SigningKey,
        now_ms: Callable[[], int],
        note_ring: NoteSeconds = lambda _seconds: None,
    ) -> None:
        counters = self.counters = IngestCounters()
        self._inbox = Inbox()
        self._control_quota, self._unasked_quota = Quota(CONTROL), Quota(UNASKED)
        self._control = Connection(
            "control", broker, INGEST_CONTROL_FILTERS, self._take_control, counters
        )
        self._bulk = Connection("bulk", broker, INGEST_BULK_FILTERS, self._take_bulk, counters)
        self._admission = AdmissionDesk(databases, self._tell_broker)
        self._access = Connection(
            "access",
            broker,
            (RESPONSES,),
            self._admission.take,
            counters,
            on_ready=self._admission.begin,
        )
        self._desk = ControlDesk(
            databases,
            self._inbox,
            self._control.publish,
            hub,
            counters,
            receipt_key=receipt_key,
            now_ms=now_ms,
            note_ring=note_ring,
        )
        room = StoreRoom(databases, objects, receipt_key, now_ms)
        spool = Spool(spool_folder)
        self._transfers = TransferDesk(databases, spool, room, self._bulk.publish, counters)
        self._errands = ThreadPoolExecutor(1, thread_name_prefix="ingest-errand")
        self._stopping = threading.Event()
        self._threads = (
            threading.Thread(target=self._desk.run, name="ingest-control", daemon=True),
            threading.Thread(target=self._tick, name="ingest-tick", daemon=True),
        )

    @property
    def is_connected(self) -> bool:
        """Return whether doorbells are heard just now, every one that may speak."""
        are_up = all(connection.is_connected for connection in self._connections)
        return are_up and self._admission.is_settled

    @property
    def trouble(self) -> str:
        """Return why no doorbell is heard just now, as far as that is known; else nothing."""
        found = (one.trouble for one in self._connections)
        return next((trouble.fact for trouble in found if trouble is not None), "")

    def load(self) -> Load:
        """Return what there is to do just now; any thread may ask."""
        return Load(
            connections={one.name: one.is_connected for one in self._connections},
            is_settled=self._admission.is_settled,
            admitted=self._admission.admitted,
            banished=self._admission.banished,
            waiting=self._inbox.waiting(),
            transfers=self._transfers.under_way(),
        )

    def start(self) -> None:
        """Take up the spool and connect; returns before the broker answers.

        Raises:
            TryLaterError: The database is away.
        """
        self._transfers.resume()
        for thread in self._threads:
            thread.start()
        for connection in self._connections:
            connection.start()

    def stop(self) -> None:
        """Disconnect and end, with what is being stored; what was not acknowledged comes again."""
        self._stopping.set()
        for connection in self._connections:
            connection.stop()
        self._inbox.close()
        self._transfers.stop()
        self._errands.shutdown(cancel_futures=True)
        for thread in self._threads:
            if thread.is_alive():
                thread.join(STOP_S)
        counts = {count.value: times for count, times in self.counters.snapshot().items()}
        log.info("ingest_stopped", **counts)

    def household_changed(self, household: HouseholdId) -> None:
        """Bring statements and commands to doorbells, and doorbells to the broker; returns at once.

        Called after the commit, from any thread. What is not heard now is told when
        the doorbell says hello, and when we connect to the broker again.
        """
        self._errands.submit(self._bring, household)

    def clips_deleted(self, clips: Sequence[ClipId]) -> None:
        """Drop what is under way of ``clips``; called after the commit, from any thread."""
        self._transfers.forget_clips(frozenset(clips))

    def sweep_spool(self) -> int:
        """Remove what the spool holds and nobody waits for; return how many payloads that was."""
        return self._transfers.sweep_spool()

    @property
    def _connections(self) -> tuple[Connection, ...]:
        return self._access, self._control, self._bulk

    def _tell_broker(self, topic: str, body: bytes) -> None:
        self._access.publish(topic, body)

    def _bring(self, household: HouseholdId) -> None:
        try:
            self._admission.admit(household)
            self._desk.send_head(household)
            self._desk.send_commands(household)
        except TryLaterError as error:
            log.warning("change_not_brought", fact=error.fact)
        except Exception:  # The boundary of this task: nobody waits for its end.
            self.counters.add(Count.CRASHED)
            log.exception("household_errand_crashed")

    def _take_control(self, topic_text: str, payload: bytes) -> None:
        try:
            topic = parse_topic(topic_text)
        except BadMessageError:
            self.counters.add(Count.DROPPED_NO_TOPIC)
            return
        if not self._control_quota.spend(topic.device, _now_us()):
            self._banish(topic.device)
        elif not isinstance(topic, DeviceTopic) or longest_body(topic.leaf) == 0:
            self.counters.add(Count.DROPPED_NO_TOPIC)
        elif len(payload) > longest_body(topic.leaf):
            self.counters.add(Count.DROPPED_TOO_LONG)
        elif not self._inbox.put(Message(topic.device, topic.leaf, payload)):
            self.counters.add(Count.DROPPED_TOO_MANY)

    def _take_bulk(self, topic_text: str, payload: bytes) -> None:
        try:
            topic = parse_topic(topic_text)
        except BadMessageError:
            self.counters.add(Count.DROPPED_NO_TOPIC)
            return
        if isinstance(topic, DeviceTopic):
            self.counters.add(Count.DROPPED_NO_TOPIC)
        elif not self._transfers.take(topic, payload) and not self._unasked_quota.spend(
            topic.device, _now_us()
        ):
            self._banish(topic.device)

    def _banish(self, device: DeviceId) -> None:
        self.counters.add(Count.DROPPED_OVER_QUOTA)
        self._admission.banish(device, _now_us())

    def _tick(self) -> None:
        while not self._stopping.wait(TICK_S):
            self._attend(self._transfers.tick)
            self._attend(lambda: self._admission.tick(_now_us()))

    def _attend(self, tick: Callable[[], None]) -> None:
        try:
            tick()
        except Exception:  # The boundary of this thread: the other goes on, the next may do better.
            self.counters.add(Count.CRASHED)
            log.exception("ingest_tick_crashed")


def _now_us() -> int:
    return time.monotonic_ns() // 1000
