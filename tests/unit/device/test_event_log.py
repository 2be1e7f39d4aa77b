"""Events stay until they are acknowledged, and nothing else is thrown away."""

import pytest

from doorstep_device.event_log import MAX_KEPT_LOGS, EventLog
from doorstep_device.ports.disk import DiskBrokenError, DiskFullError
from doorstep_shared.crc32c import crc32c
from doorstep_shared.manifest import ClipKind
from doorstep_simulator.disk import SimulatedDisk
from tests.people import NOW_MS
from tests.recording import event


@pytest.fixture
def disk() -> SimulatedDisk:
    disk = SimulatedDisk()
    disk.make_dir("outbox")
    return disk


def names(log: EventLog) -> list[str]:
    return [entry.event.event for entry in log.pending]


def test_an_event_is_there_after_a_start_as_it_was(disk: SimulatedDisk) -> None:
    EventLog.open(disk).put(ClipKind.RING, event("a"))
    (found,) = EventLog.open(disk).pending
    assert (found.kind, found.event) == (ClipKind.RING, event("a"))


def test_putting_an_event_twice_keeps_it_once(disk: SimulatedDisk) -> None:
    log = EventLog.open(disk)
    log.put(ClipKind.RING, event("a"))
    steps = len(disk.steps)
    log.put(ClipKind.RING, event("a"))
    assert len(log.pending) == 1
    assert len(disk.steps) == steps


def test_an_acknowledged_event_is_forgotten_for_good(disk: SimulatedDisk) -> None:
    log = EventLog.open(disk)
    for name in "abc":
        log.put(ClipKind.MOTION, event(name))
    log.forget([event("b").event, event("never seen").event, event("b").event])
    assert names(log) == [event("a").event, event("c").event]
    assert names(EventLog.open(disk)) == names(log)


def test_acknowledging_nothing_new_writes_nothing(disk: SimulatedDisk) -> None:
    log = EventLog.open(disk)
    steps = len(disk.steps)
    log.forget([event("never seen").event])
    assert len(disk.steps) == steps


def test_many_acknowledgements_fit(disk: SimulatedDisk) -> None:
    log = EventLog.open(disk)
    happened = [event(f"event {number}", NOW_MS + number) for number in range(200)]
    for each in happened:
        log.put(ClipKind.MOTION, each)
    log.forget(each.event for each in happened)
    assert EventLog.open(disk).pending == ()


def test_logs_do_not_grow_for_ever(disk: SimulatedDisk) -> None:
    log = EventLog.open(disk)
    log.put(ClipKind.RING, event("waits", NOW_MS - 1))
    for number in range(1000):
        happened = event(f"event {number}", NOW_MS + number)
        log.put(ClipKind.MOTION, happened)
        log.forget([happened.event])
    (name,) = disk.list_dir("outbox")
    assert name != "events-0.log"
    assert len(disk.read(f"outbox/{name}")) < 70_000
    assert names(EventLog.open(disk)) == [event("waits", NOW_MS - 1).event]


def test_a_log_in_which_many_events_wait_is_not_rewritten_for_each(disk: SimulatedDisk) -> None:
    log = EventLog.open(disk)
    for number in range(1500):
        log.put(ClipKind.MOTION, event(f"event {number}", NOW_MS + number))
    rotations = sum(step.do == "rename" for step in disk.steps)
    assert 0 < rotations < 5
    assert len(log.pending) == 1500


def test_too_many_events_make_the_oldest_motion_give_way(
    disk: SimulatedDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("doorstep_device.event_log.MAX_WAITING_EVENTS", 2)
    log = EventLog.open(disk)
    log.put(ClipKind.RING, event("ring"))
    log.put(ClipKind.MOTION, event("motion"))
    log.put(ClipKind.MOTION, event("more motion"))
    assert names(log) == [event("ring").event, event("more motion").event]
    assert log.dropped == 1
    assert names(EventLog.open(disk)) == names(log)


def test_a_torn_end_is_cut_off_and_writing_goes_on(disk: SimulatedDisk) -> None:
    log = EventLog.open(disk)
    log.put(ClipKind.RING, event("a"))
    log.put(ClipKind.RING, event("b"))
    whole = disk.read("outbox/events-0.log")
    for cut in (1, 7, 9, 60):
        torn = SimulatedDisk()
        torn.make_dir("outbox")
        torn.write_whole("outbox/events-0.log", whole + whole[: len(whole) // 2][:cut])
        log = EventLog.open(torn)
        log.put(ClipKind.RING, event("c"))
        assert names(EventLog.open(torn)) == [event(name).event for name in "abc"]
        assert torn.list_dir("outbox") == ["events-1.log"]


def damaged_log(disk: SimulatedDisk, count: int = 30, name: str = "") -> bytes:
    """Put so many more rings, and flip a bit in the first record; return the log's bytes."""
    log = EventLog.open(disk)
    for number in range(count):
        log.put(ClipKind.RING, event(f"{name}{number}", NOW_MS + number))
    (path,) = (f"outbox/{each}" for each in disk.list_dir("outbox") if each.endswith(".log"))
    damaged = bytearray(disk.read(path))
    damaged[60] ^= 4
    disk.write_whole(path, bytes(damaged))
    return bytes(damaged)


@pytest.mark.parametrize("count", [30, 200])
def test_a_flipped_bit_costs_one_ring_and_the_log_is_kept_and_told(
    disk: SimulatedDisk, count: int
) -> None:
    damaged = damaged_log(disk, count)
    log = EventLog.open(disk)
    assert names(log) == [event(f"{each}", NOW_MS + each).event for each in range(1, count)]
    assert disk.list_dir("outbox") == ["events-0.log.unreadable", "events-1.log"]
    assert disk.read("outbox/events-0.log.unreadable") == damaged
    assert not log.damaged
    assert names(EventLog.open(disk)) == names(log)


def test_an_event_is_told_again_rather_than_forgotten_when_its_acknowledgement_is_damaged(
    disk: SimulatedDisk,
) -> None:
    log = EventLog.open(disk)
    log.put(ClipKind.RING, event("a"))
    log.forget([event("a").event])
    log.put(ClipKind.RING, event("b"))
    damaged = disk.read("outbox/events-0.log").replace(b"acked", b"akced")
    disk.write_whole("outbox/events-0.log", damaged)
    assert names(EventLog.open(disk)) == [event("a").event, event("b").event]


def test_setting_a_damaged_log_aside_survives_a_cut_at_any_step(disk: SimulatedDisk) -> None:
    damaged = damaged_log(disk, 5)
    steps = len(disk.steps)
    waiting = names(EventLog.open(disk))
    for cut in range(steps, len(disk.steps) + 1):
        found = disk.after_cut(cut)
        assert names(EventLog.open(found)) == waiting, cut
        assert kept(found) == [damaged], cut


def test_a_damaged_log_on_a_card_that_takes_no_writes_is_told_and_kept_later(
    disk: SimulatedDisk,
) -> None:
    damaged = damaged_log(disk)
    disk.make_read_only()
    log = EventLog.open(disk)
    assert list(log.damaged) == ["outbox/events-0.log"]
    assert len(log.pending) == 29
    disk.make_read_only(is_read_only=False)
    log.put(ClipKind.RING, event("later"))
    assert not log.damaged
    assert disk.read("outbox/events-0.log.unreadable") == damaged
    assert names(EventLog.open(disk)) == names(log)


def test_a_dying_card_is_not_filled_with_what_it_damages(
    disk: SimulatedDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = []
    for round_ in range(MAX_KEPT_LOGS + 3):
        logs.append(damaged_log(disk, 3, f"{round_}/"))
        EventLog.open(disk)
    assert kept(disk) == logs[-MAX_KEPT_LOGS:]
    newest_two = len(logs[-1]) + len(logs[-2])
    monkeypatch.setattr("doorstep_device.event_log.MAX_KEPT_BYTES", newest_two + 10_000)
    logs.append(damaged_log(disk, 3, "again"))
    EventLog.open(disk)
    assert 1 < len(kept(disk)) < MAX_KEPT_LOGS
    monkeypatch.setattr("doorstep_device.event_log.MAX_KEPT_BYTES", 10)
    logs.append(damaged_log(disk, 3, "once more"))
    EventLog.open(disk)
    assert kept(disk) == logs[-1:]


def kept(disk: SimulatedDisk) -> list[bytes]:
    """Return the damaged logs that are still there, oldest first."""
    found = [name for name in disk.list_dir("outbox") if name.endswith(".unreadable")]
    found.sort(key=lambda name: int(name.split("-")[1].split(".")[0]))
    return [disk.read(f"outbox/{name}") for name in found]


def test_a_damaged_log_never_takes_the_place_of_another(disk: SimulatedDisk) -> None:
    first = damaged_log(disk)
    EventLog.open(disk)
    disk.remove("outbox/events-1.log")
    second = damaged_log(disk, 20)
    EventLog.open(disk)
    assert kept(disk) == [first, second]


def test_a_log_that_found_no_room_to_begin_is_no_obstacle(
    disk: SimulatedDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EventLog.open(disk)

    def find_no_room(*_: object) -> None:
        raise DiskFullError("no room for a name")

    with monkeypatch.context() as patched:
        patched.setattr(disk, "append_synced", find_no_room)
        with pytest.raises(DiskFullError):
            log.put(ClipKind.RING, event("a"))
    log.put(ClipKind.RING, event("b"))
    assert names(EventLog.open(disk)) == [event("b").event]


def test_a_record_of_a_newer_agent_is_kept_aside(disk: SimulatedDisk) -> None:
    log = EventLog.open(disk)
    log.put(ClipKind.RING, event("a"))
    body = b'{"put": {"kind": "knock", "event": {}}}'
    newer = len(body).to_bytes(4, "big") + crc32c(body).to_bytes(4, "big") + body
    disk.append_synced("outbox/events-0.log", newer)
    assert names(EventLog.open(disk)) == [event("a").event]
    assert disk.exists("outbox/events-0.log.unreadable")


def test_an_acknowledgement_in_a_later_log_holds_whatever_is_removed_first(
    disk: SimulatedDisk,
) -> None:
    log = EventLog.open(disk)
    log.put(ClipKind.RING, event("a"))
    old = disk.read("outbox/events-0.log")
    log.forget([event("a").event])
    acked = disk.read("outbox/events-0.log")[len(old) :]
    disk.write_whole("outbox/events-1.log", acked)
    disk.write_whole("outbox/events-0.log", old)
    steps = len(disk.steps)
    EventLog.open(disk)
    for cut in range(steps, len(disk.steps) + 1):
        assert EventLog.open(disk.after_cut(cut)).pending == ()


def test_an_event_that_found_no_room_does_not_spoil_the_next() -> None:
    disk = SimulatedDisk(capacity_bytes=3 * 4096)
    disk.make_dir("outbox")
    log = EventLog.open(disk)
    log.put(ClipKind.RING, event("a"))
    disk.write_whole("filler", bytes(2 * 4096))
    happened = [event(f"event {number}", NOW_MS + number) for number in range(40)]
    refused = 0
    for each in happened:
        try:
            log.put(ClipKind.RING, each)
        except DiskFullError:
            refused += 1
    assert 0 < refused < 40
    kept = names(log)
    # Half an append may be in the log by now, so what follows goes into a new one.
    disk.remove("filler")
    log.put(ClipKind.RING, event("later"))
    assert disk.list_dir("outbox") == ["events-1.log"]
    assert names(EventLog.open(disk)) == [*kept, event("later").event]


def test_a_log_that_the_card_does_not_give_back_is_set_aside_and_the_button_rings(
    disk: SimulatedDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    EventLog.open(disk).put(ClipKind.RING, event("a"))
    read = disk.read

    def read_around_a_bad_block(path: str) -> bytes:
        if path == "outbox/events-0.log":
            raise DiskBrokenError("the card failed")
        return read(path)

    monkeypatch.setattr(disk, "read", read_around_a_bad_block)
    log = EventLog.open(disk)
    assert log.pending == ()
    log.put(ClipKind.RING, event("b"))
    assert names(EventLog.open(disk)) == [event("b").event]
    assert disk.exists("outbox/events-0.log.unreadable")


def test_a_card_that_fails_at_the_start_does_not_stop_it(
    disk: SimulatedDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    EventLog.open(disk).put(ClipKind.RING, event("a"))
    disk.append_synced("outbox/events-0.log", b"torn")

    def fail(*_: object) -> None:
        raise DiskBrokenError("the card failed")

    monkeypatch.setattr(disk, "write_whole", fail)
    log = EventLog.open(disk)
    assert names(log) == [event("a").event]
    with pytest.raises(DiskBrokenError):
        log.put(ClipKind.RING, event("b"))
