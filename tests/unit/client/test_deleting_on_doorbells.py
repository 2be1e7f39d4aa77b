"""Commands from the owner's computer: signed, counted, and seen until the doorbell has answered."""

import json
from collections.abc import Callable

import httpx
import pytest

from doorstep_client import household as household_module
from doorstep_client.errors import ConflictError, OddAnswerError, ServiceUnreachableError
from doorstep_client.household import ATTEMPTS, COMMAND_MS, MAX_COUNTER, Household
from doorstep_cloud.devices.commands import record_answer, waiting_commands
from doorstep_shared.commands import verify_command
from doorstep_shared.errors import RefusedError
from doorstep_shared.ids import DeviceId, HouseholdId, draw_clip_id
from doorstep_shared.signing import decode_signed
from doorstep_shared.statements import Device
from doorstep_shared.wire import Answer
from tests.cast import Stage
from tests.people import DAY_MS, NOW_MS, doorbell, random_from
from tests.unit.client.conftest import Line, Type

BELL = doorbell("front")
CLIPS = [draw_clip_id(NOW_MS, random_from(f"clip {n}")) for n in range(3)]

Ask = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def device(service: Stage, household: Household) -> DeviceId:
    """A doorbell that answered a claim of ours and is listed."""
    claim = household.make_claim(random_from("claim"))
    service.enrol(BELL, claim)
    answered = household.answer_to(claim)
    assert isinstance(answered, Device)
    household.list_device(answered, claim)
    return answered.id


def waiting(service: Stage, device: DeviceId) -> list[bytes]:
    with service.databases.read() as unit:
        return list(waiting_commands(unit, device, service.clock()))


def answer(service: Stage, device: DeviceId, counter: int, *, reason: str = "") -> None:
    said = Answer(counter=counter, is_done=not reason, reason=reason)
    with service.databases.write() as unit:
        record_answer(unit, device, said, service.clock())
        unit.commit()


def test_what_is_sent_is_what_a_doorbell_does(
    service: Stage, household: Household, device: DeviceId
) -> None:
    place = household.send_delete_command(device, clips=CLIPS)
    (sent,) = waiting(service, device)
    command = verify_command(decode_signed(sent), [household.home.keys().sign.public])
    assert (command.counter, command.device, command.clips) == (1, device, tuple(CLIPS))
    assert command.household == HouseholdId(household.account.household)
    assert command.expires == command.at + COMMAND_MS
    assert place.expires_at.timestamp() * 1000 == command.expires


def test_each_command_counts_on(service: Stage, household: Household, device: DeviceId) -> None:
    household.send_delete_command(device, clips=CLIPS)
    assert household.send_delete_command(device, until_ms=NOW_MS).counter == 2
    assert [one.counter for one in household.commands_of(device)] == [2, 1]
    assert len(waiting(service, device)) == 2


def test_a_clock_that_is_a_day_off_is_no_hindrance(
    service: Stage, household: Household, device: DeviceId, monkeypatch: pytest.MonkeyPatch
) -> None:
    for counter, off_ms in ((1, DAY_MS - 1000), (2, -DAY_MS)):
        now = service.clock() + off_ms
        monkeypatch.setattr(household_module, "now_ms", lambda now=now: now)
        assert household.send_delete_command(device, clips=CLIPS).counter == counter


def test_somebody_elses_command_between_ours_is_counted_over(
    household: Household, device: DeviceId, line: Line
) -> None:
    household.send_delete_command(device, clips=CLIPS)
    stale = [1, 1]

    def look_too_early(request: httpx.Request, ask: Ask) -> httpx.Response:
        answer = ask(request)
        if request.method == "GET" and stale:
            body = json.loads(answer.read()) | {"next_counter": stale.pop()}
            return httpx.Response(200, json=body)
        return answer

    line.mangle = look_too_early
    assert household.send_delete_command(device, until_ms=NOW_MS).counter == 2
    assert stale == []


def test_a_service_that_always_says_another_counter_is_given_up(
    household: Household, device: DeviceId, line: Line
) -> None:
    def conflict(request: httpx.Request, ask: Ask) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(409, json={"title": "another counter"})
        return ask(request)

    line.mangle = conflict
    line.asked.clear()
    with pytest.raises(ConflictError):
        household.send_delete_command(device, clips=CLIPS)
    assert len([asked for asked in line.asked if asked.startswith("POST")]) == ATTEMPTS


@pytest.mark.parametrize("counter", [0, MAX_COUNTER + 1, 2**53 - 1])
def test_nothing_is_signed_that_would_be_above_every_later_command(
    household: Household, device: DeviceId, line: Line, counter: int
) -> None:
    line.mangle = lambda _request, _ask: httpx.Response(
        200, json={"items": [], "next_counter": counter}
    )
    line.asked.clear()
    with pytest.raises(OddAnswerError):
        household.send_delete_command(device, clips=CLIPS)
    assert [asked.split()[0] for asked in line.asked] == ["GET"]


def test_a_lost_answer_is_told_and_a_second_command_does_no_harm(
    service: Stage, household: Household, device: DeviceId, line: Line
) -> None:
    def lose_the_answer(request: httpx.Request, ask: Ask) -> httpx.Response:
        answer = ask(request)
        if request.method == "POST":
            raise httpx.ReadError("the line broke")
        return answer

    line.mangle = lose_the_answer
    with pytest.raises(ServiceUnreachableError):
        household.send_delete_command(device, clips=CLIPS)
    line.mangle = None
    assert household.send_delete_command(device, clips=CLIPS).counter == 2
    assert len(waiting(service, device)) == 2


def test_a_doorbell_that_is_not_ours_is_told_nothing(household: Household) -> None:
    with pytest.raises(RefusedError):
        household.send_delete_command(doorbell("back").device.id, clips=CLIPS)


def test_the_list_of_doorbells_says_what_is_still_to_be_deleted(
    service: Stage, household: Household, device: DeviceId, typed: Type
) -> None:
    assert "deleted" not in typed("device", "list").out
    household.send_delete_command(device, clips=CLIPS)
    assert "3 clips still to be deleted on it" in plain(typed("device", "list").out)
    (item,) = json.loads(typed("device", "list", "--json").out)
    assert [(one["counter"], one["clips"]) for one in item["waiting"]] == [(1, 3)]
    answer(service, device, 1)
    household.send_delete_command(device, clips=CLIPS[:1])
    assert "1 clip still to be deleted on it" in plain(typed("device", "list").out)
    household.send_delete_command(device, until_ms=NOW_MS)
    said = plain(typed("device", "list").out)
    assert "1 clip and all clips until" in said
    answer(service, device, 2)
    answer(service, device, 3, reason="it came after its end")
    assert "deleted" not in typed("device", "list").out


def test_a_service_that_carries_no_commands_still_lists_doorbells(
    device: DeviceId, line: Line, typed: Type
) -> None:
    def older(request: httpx.Request, ask: Ask) -> httpx.Response:
        if request.url.path.endswith("/commands"):
            return httpx.Response(404, json={"title": "there is nothing at this address"})
        return ask(request)

    line.mangle = older
    ended = typed("device", "list")
    assert ended.code == 0
    assert device in plain(ended.out)


def plain(text: str) -> str:
    """Return what a table says, its lines joined: a narrow terminal breaks them."""
    return " ".join(text.split())
