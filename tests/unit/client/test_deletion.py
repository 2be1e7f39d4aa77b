"""Deleting and retention, as an owner types it, at a real service in this process."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from stat import S_IMODE
from unittest.mock import patch

import httpx
import pytest

from doorstep_client import deletion
from doorstep_client.deletion import delete_clip
from doorstep_client.errors import OddAnswerError, OtherServiceError, ServiceUnreachableError
from doorstep_client.home import Home
from doorstep_client.household import Household
from doorstep_cloud.clips.service import announce, household_of_clip
from doorstep_cloud.devices.authority import Authority, to_pem
from doorstep_cloud.devices.commands import waiting_commands
from doorstep_cloud.events.service import record_event
from doorstep_shared.certificates import WrongCertificateError, receipt_key_in
from doorstep_shared.commands import Command, verify_command
from doorstep_shared.deletions import Deletion, sign_deletion, verify_deletion
from doorstep_shared.errors import BadMessageError
from doorstep_shared.manifest import ClipKind, ObjectName
from doorstep_shared.signing import SigningKey, decode_signed
from doorstep_shared.statements import Device
from doorstep_shared.wire import Alert, Event
from tests.cast import Stage
from tests.people import DAY_MS, NOW_MS, Doorbell, doorbell, epoch_identity, random_from
from tests.scripted_doorbell import Clip, make_clip
from tests.unit.client.conftest import Line, Type

FRONT, BACK = doorbell("front"), doorbell("back")
RECIPIENT = epoch_identity(1).recipient()


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    with patch.object(deletion, "PAUSE_S", 0.0):
        yield


class Terminal(io.StringIO):
    """What a person types."""

    def isatty(self) -> bool:
        return True


def keep(service: Stage, household: Household, seed: int = 0, **changes: object) -> Clip:
    changes.setdefault("bell", FRONT)
    bell = changes.pop("bell")
    clip = make_clip(
        bell,  # type: ignore[arg-type]  # a doorbell
        household.account.household,
        RECIPIENT,
        seed=seed,
        sizes={ObjectName.FILE: 50},
        **changes,
    )
    envelopes = {name: box.envelope for name, box in clip.boxes.items()}
    with service.databases.write() as unit:
        announce(unit, clip.signed, clip.manifest, envelopes, service.clock())
        unit.commit()
    return clip


def is_there(service: Stage, clip: Clip) -> bool:
    with service.databases.read() as unit:
        return household_of_clip(unit, clip.id) is not None


def at(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


def receipts(service: Stage, home: Home) -> list[Deletion]:
    lines = (home.folder / "deletions.jsonl").read_bytes().splitlines()
    key = service.keys.receipt_key.public
    return [verify_deletion(decode_signed(line), key) for line in lines]


def test_clips_are_deleted_by_name_and_their_receipts_kept(
    typed: Type, household: Household, service: Stage, home: Home
) -> None:
    clips = [keep(service, household, seed) for seed in range(3)]
    ended = typed("clip", "delete", clips[0].id, clips[1].id, "--yes", "--json")
    told = json.loads(ended.out)
    assert told["deleted"] == [clips[0].id, clips[1].id]
    assert told["missing"] == []
    assert [is_there(service, clip) for clip in clips] == [False, False, True]
    assert [one.clip for one in receipts(service, home)] == [clips[0].id, clips[1].id]
    assert S_IMODE((home.folder / "deletions.jsonl").stat().st_mode) == 0o600
    assert (home.folder / "service-ca.pem").read_text() == service.keys.ca_certificate


def test_what_there_is_not_is_told_and_the_rest_goes(
    typed: Type, household: Household, service: Stage
) -> None:
    clip = keep(service, household)
    nobodys = make_clip(BACK, household.account.household, RECIPIENT, seed=9)
    ended = typed("clip", "delete", nobodys.id, clip.id, "--yes")
    assert ended.code == 1
    assert nobodys.id in ended.err
    assert "All others are deleted." in ended.err
    assert not is_there(service, clip)


def test_all_of_a_doorbell_or_of_a_time_go(
    typed: Type, household: Household, service: Stage
) -> None:
    old = keep(service, household, 0)
    young = keep(service, household, 1, start=NOW_MS + DAY_MS, end=NOW_MS + DAY_MS + 1000)
    others = keep(service, household, 2, bell=BACK)
    typed("clip", "delete", "--device", FRONT.device.id, "--until", at(NOW_MS + 1000), "--yes")
    assert [is_there(service, clip) for clip in (old, young, others)] == [False, True, True]
    typed("clip", "delete", "--until", at(NOW_MS + 1000), "--yes")
    assert [is_there(service, clip) for clip in (young, others)] == [True, False]
    typed("clip", "delete", "--device", FRONT.device.id, "--yes")
    assert not is_there(service, young)


@pytest.mark.parametrize("words", [(), ("--device", FRONT.device.id, "x")])
def test_what_is_meant_must_be_said_in_one_way(
    typed: Type, household: Household, words: tuple[str, ...]
) -> None:
    del household
    assert typed("clip", "delete", *words, "--yes").code == 2


def test_nobody_is_asked_who_is_not_there(
    typed: Type, household: Household, service: Stage
) -> None:
    clip = keep(service, household)
    ended = typed("clip", "delete", clip.id)
    assert ended.code == 1
    assert "Nothing was deleted." in ended.err
    assert is_there(service, clip)


def enrol(household: Household, service: Stage, bell: Doorbell) -> None:
    claim = household.make_claim(random_from(f"claim {bell.device.id}"))
    service.enrol(bell, claim)
    answered = household.answer_to(claim)
    assert isinstance(answered, Device)
    household.list_device(answered, claim)


def orders_for(service: Stage, bell: Doorbell, household: Household) -> list[Command]:
    """Return the commands that wait for ``bell``."""
    with service.databases.read() as unit:
        waiting = waiting_commands(unit, bell.device.id, service.clock())
    key = household.home.keys().sign.public
    return [verify_command(decode_signed(one), [key]) for one in waiting]


@pytest.mark.parametrize("words", [("--device", FRONT.device.id), ("--until", at(NOW_MS))])
def test_where_the_service_lists_nothing_it_is_asked_for_what_doorbells_still_have(
    typed: Type, household: Household, service: Stage, words: tuple[str, ...]
) -> None:
    enrol(household, service, FRONT)
    ended = typed("clip", "delete", *words)
    assert ended.code == 1
    assert "Nothing was deleted." in ended.err
    assert orders_for(service, FRONT, household) == []


def test_the_question_says_that_what_was_not_delivered_goes_too(
    typed: Type, household: Household, service: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(household, service, FRONT)
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    ended = typed("clip", "delete", "--device", FRONT.device.id)
    assert ended.code == 1
    assert f"all that the doorbell {FRONT.device.id} has from before now" in ended.err
    assert "not delivered yet" in ended.err


def test_after_a_run_that_died_the_same_words_still_tell_the_doorbells(
    typed: Type, household: Household, service: Stage
) -> None:
    for bell in (FRONT, BACK):
        enrol(household, service, bell)
    clip, young = keep(service, household), keep(service, household, 1)
    delete_clip(household, clip.id)
    ended = typed("clip", "delete", clip.id, young.id, "--yes")
    assert ended.code == 0, ended.err
    (front,), (back,) = orders_for(service, FRONT, household), orders_for(service, BACK, household)
    assert front.clips is not None
    assert set(front.clips) == {clip.id, young.id}
    assert back.clips == (clip.id,)


def test_named_clips_are_looked_up_and_no_others(
    typed: Type, household: Household, service: Stage, line: Line
) -> None:
    clip = keep(service, household)
    line.asked.clear()
    typed("clip", "delete", clip.id, "--yes")
    assert "GET /v1/clips" not in line.asked


@pytest.mark.parametrize(
    ("words", "do"),
    [
        (("latest",), "doorstep clip list"),
        (("01a2",), "doorstep clip list"),
        (("--device", "front"), "doorstep device list"),
        (("--device", BACK.device.id), "doorstep device list"),
    ],
)
def test_what_names_nothing_that_could_be_meant_deletes_nothing_and_says_so(
    typed: Type, household: Household, service: Stage, words: tuple[str, ...], do: str
) -> None:
    clip = keep(service, household)
    ended = typed("clip", "delete", *words, "--yes")
    assert ended.code == 1
    fact, safe, next_step = ended.err.splitlines()
    assert words[-1] in fact
    assert ("the newest may be another one" in fact) == (words == ("latest",))
    assert (safe, next_step.split("   ")[0]) == ("Nothing was deleted.", f"Do: {do}")
    assert is_there(service, clip)


def test_a_clip_that_is_deleted_already_is_told_so(
    typed: Type, household: Household, service: Stage
) -> None:
    clip, young = keep(service, household), keep(service, household, 1)
    assert "Deleted 1 clip; the service's receipts" in typed("clip", "delete", clip.id, "--yes").out
    again = typed("clip", "delete", clip.id, "--yes")
    assert again.code == 0
    assert again.out.startswith("1 clip was deleted already; the service's receipts")
    both = typed("clip", "delete", clip.id, young.id, "--yes").out
    assert both.startswith("Deleted 1 clip; 1 clip was deleted already; the service's")


def test_after_everything_is_deleted_nothing_is_said_to_be_on_its_way(
    typed: Type, household: Household, service: Stage
) -> None:
    clip = keep(service, household)
    event = Event(event=clip.manifest.events[0], at=NOW_MS, clock_synced=True, alert=Alert.NOW)
    with service.databases.write() as unit:
        owner = household.account.household
        record_event(unit, owner, FRONT.device.id, ClipKind.RING, event, now=service.clock())
        unit.commit()
    assert clip.id in typed("event", "list").out
    typed("clip", "delete", clip.id, "--yes")
    events = typed("event", "list").out
    assert "none here" in events
    assert "yet" not in events
    assert typed("clip", "list").err == "There are no clips at the service.\n"
    verified = typed("clip", "verify", "latest").err
    assert "no clip of this household is stored.\n" in verified
    assert "recorded and not yet delivered waits on its card" in verified


def test_asked_again_the_same_receipt_comes(household: Household, service: Stage) -> None:
    clip = keep(service, household)
    first = delete_clip(household, clip.id)
    service.clock.at_ms += 1000
    assert delete_clip(household, clip.id) == first


def test_a_service_that_cannot_sign_yet_is_asked_again(
    household: Household, service: Stage, line: Line
) -> None:
    clip = keep(service, household)
    times: list[int] = []

    def busy(request: httpx.Request, go_on: object) -> httpx.Response:
        assert callable(go_on)
        if request.method == "DELETE" and len(times) < deletion.TRIES - 1:
            times.append(1)
            return httpx.Response(503, json={"title": "the vault is being read"}, request=request)
        answer = go_on(request)
        assert isinstance(answer, httpx.Response)
        return answer

    line.mangle = busy
    assert delete_clip(household, clip.id).clip == clip.id
    line.mangle = lambda request, _: httpx.Response(503, json={}, request=request)
    with pytest.raises(ServiceUnreachableError):
        delete_clip(household, clip.id)


def test_another_services_receipt_is_refused_and_not_kept(
    household: Household, service: Stage, home: Home
) -> None:
    first, second = keep(service, household, 0), keep(service, household, 1)
    delete_clip(household, first.id)
    other = Authority.create(datetime.now(tz=UTC))
    home.save_service_ca(to_pem(other.certificate))
    with pytest.raises(OtherServiceError):
        delete_clip(household, second.id)
    assert len(receipts(service, home)) == 1


def test_a_claim_made_here_pins_the_service_before_the_first_deletion(
    household: Household, service: Stage, home: Home
) -> None:
    clip = keep(service, household)
    claim = household.make_claim(random_from("claim"))
    delete_clip(household, clip.id)
    (home.folder / "service-ca.pem").unlink()
    home.save_claim("another", str(replace(claim, ca_sha256=bytes(32))))
    with pytest.raises(OtherServiceError):
        delete_clip(household, clip.id)


@pytest.mark.parametrize("lie", ["clip", "household", "key"])
def test_a_receipt_for_something_else_is_none(
    household: Household, service: Stage, line: Line, home: Home, lie: str
) -> None:
    clip = keep(service, household)
    other = make_clip(BACK, household.account.household, RECIPIENT, seed=7)
    body = Deletion(
        household="x" * 26 if lie == "household" else household.account.household,
        clip=other.id if lie == "clip" else clip.id,
        manifest=bytes(32),
        at=NOW_MS,
    )
    key = SigningKey.generate(random_from("x")) if lie == "key" else service.keys.receipt_key
    forged = sign_deletion(body, key).model_dump(mode="json")

    def lying(request: httpx.Request, go_on: object) -> httpx.Response:
        assert callable(go_on)
        answer = go_on(request)
        assert isinstance(answer, httpx.Response)
        if request.method != "DELETE":
            return answer
        answer.read()
        return httpx.Response(200, json={**answer.json(), "receipt": forged}, request=request)

    line.mangle = lying
    with pytest.raises(OddAnswerError):
        delete_clip(household, clip.id)
    assert not (home.folder / "deletions.jsonl").exists()


def test_a_certificate_proves_only_the_receipt_key_that_its_ca_signed(service: Stage) -> None:
    keys = service.keys
    found = receipt_key_in(keys.receipt_certificate, keys.ca_certificate)
    assert found == keys.receipt_key.public
    other = to_pem(Authority.create(datetime.now(tz=UTC)).certificate)
    with pytest.raises(WrongCertificateError):
        receipt_key_in(keys.receipt_certificate, other)
    with pytest.raises(WrongCertificateError):
        receipt_key_in(keys.ca_certificate, keys.ca_certificate)
    with pytest.raises(BadMessageError):
        receipt_key_in("", keys.ca_certificate)


def test_retention_is_shown_and_set_and_says_first_what_goes(
    typed: Type, household: Household, service: Stage
) -> None:
    assert "14 days" in typed("retention", "show").out
    keep(service, household)
    service.clock.at_ms += 3 * DAY_MS
    refused = typed("retention", "set", "2")
    assert (refused.code, refused.out) == (1, "")
    assert json.loads(typed("retention", "show", "--json").out) == {"retention_days": 14}
    told = json.loads(typed("retention", "set", "2", "--yes", "--json").out)
    assert told == {"retention_days": 2, "clips_going": 1}
    assert "2 days" in typed("retention", "show").out
    # Nothing goes: nobody needs to be asked.
    wider = typed("retention", "set", "60")
    assert wider.code == 0
    assert wider.out == "Clips and events are now kept for 60 days. No clip goes now.\n"
    assert typed("retention", "set", "61").code == 2


def test_a_retention_that_holds_already_is_told_so_and_not_set_again(
    typed: Type, household: Household, service: Stage, line: Line
) -> None:
    keep(service, household)
    service.clock.at_ms += 15 * DAY_MS
    line.asked.clear()
    same = typed("retention", "set", "14")
    assert (same.code, same.err) == (0, "")
    assert same.out.startswith("That holds already: clips and events are kept for 14 days.")
    assert "PUT /v1/household/settings" not in line.asked
