"""Who may speak at the broker: kept equal to the enrolled doorbells that are not revoked.

The database decides, the broker follows. Whenever ingest connects it asks for
the broker's names and corrects them; in between it brings every change. So a
broker may lose its list, or come with an old one.
"""

from collections.abc import Callable, Sequence
from typing import Final

import structlog

from doorstep_cloud.devices.service import list_admissible
from doorstep_cloud.ingest.access import (
    CONTROL,
    INGEST,
    Answer,
    Json,
    admissions,
    dismissals,
    in_messages,
    list_names,
    read_responses,
)
from doorstep_cloud.ingest.quota import BANISHED_US, Banished
from doorstep_cloud.store.databases import Databases
from doorstep_shared.errors import BadMessageError
from doorstep_shared.ids import DeviceId, HouseholdId
from doorstep_shared.topics import common_name

log = structlog.get_logger(__name__)

# What was done before, or undone: the commands say what shall be, not what shall change.
_IS_SO_ALREADY: Final = (
    "Role already exists",
    "Client already exists",
    "Role not found",
    "Client not found",
)


class AdmissionDesk:
    """Tells the broker's dynamic security which doorbells there are.

    `begin` and `take` are called on the connection's thread, the rest on any.
    """

    def __init__(self, databases: Databases, publish: Callable[[str, bytes], None]) -> None:
        self._databases = databases
        self._publish = publish
        self._names: set[str] = set()
        self._admitted: set[DeviceId] = set()
        self._unanswered = 0
        self._is_corrected = False
        self._banished = Banished()

    @property
    def is_settled(self) -> bool:
        """Return whether the broker has taken every doorbell there is."""
        return self._is_corrected and self._unanswered == 0

    @property
    def admitted(self) -> int:
        """Return how many doorbells may speak, those included that are out for a while."""
        return len(self._admitted)

    @property
    def banished(self) -> int:
        """Return how many are out for a while, for they sent more than they may."""
        return len(self._banished)

    def begin(self) -> None:
        """Ask the broker for its names; called when the connection stands."""
        self._names = set()
        self._unanswered = 0
        self._is_corrected = False
        self._send(list_names(0))

    def take(self, _topic: str, body: bytes) -> None:
        """Take the broker's answers; after its last name, correct what differs.

        Raises:
            TryLaterError: The database is away.
        """
        try:
            answers = read_responses(body)
        except BadMessageError:
            log.exception("broker_answer_unknown")
            return
        for answer in answers:
            self._take(answer)
        self._unanswered -= 1

    def admit(self, household: HouseholdId) -> None:
        """Bring the doorbells of one household: after an enrolment, or a new statement.

        Raises:
            TryLaterError: The database is away.
        """
        with self._databases.read() as unit:
            found = list_admissible(unit, household)
        self._admitted = self._admitted.union(found.admitted).difference(found.revoked)
        self._send(admissions(self._banished.without(found.admitted)))
        self._send(dismissals(map(common_name, found.revoked)))

    def banish(self, device: DeviceId, now_us: int) -> None:
        """Put a doorbell out that sends more than it may; `tick` lets it in again."""
        if self._banished.add(device, now_us):
            self._send(dismissals([common_name(device)]))
            log.warning("doorbell_banished", device=device, for_s=BANISHED_US // 1_000_000)

    def tick(self, now_us: int) -> None:
        """Let in again who has been out long enough, if it may still speak.

        Raises:
            TryLaterError: The database is away.
        """
        if not (due := self._banished.due(now_us)):
            return
        with self._databases.read() as unit:
            admitted = set(list_admissible(unit).admitted)
        self._banished.forgive(due)
        self._send(admissions(sorted(due & admitted)))

    def _take(self, answer: Answer) -> None:
        if answer.error is not None and answer.error not in _IS_SO_ALREADY:
            log.error("broker_refused_command", command=answer.command, error=answer.error)
        if answer.data is None:
            return
        self._names.update(answer.data.names)
        if answer.data.names and len(self._names) < answer.data.total:
            self._send(list_names(len(self._names)))
        else:
            self._correct()

    def _correct(self) -> None:
        with self._databases.read() as unit:
            admitted = list_admissible(unit).admitted
        self._admitted = set(admitted)
        wanted = self._banished.without(admitted)
        known = self._names - {INGEST}
        new = [device for device in wanted if common_name(device) not in known]
        gone = known.difference(map(common_name, wanted))
        self._send(admissions(new))
        self._send(dismissals(sorted(gone)))
        self._is_corrected = True
        log.info("broker_access_corrected", admitted=len(new), dismissed=len(gone))

    def _send(self, commands: Sequence[Json]) -> None:
        for body in in_messages(commands):
            self._unanswered += 1
            self._publish(CONTROL, body)
