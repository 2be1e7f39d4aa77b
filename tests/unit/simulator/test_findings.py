"""What a demo found: the way of a ring, the public commands, the JSON at the end."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from doorstep_client.clips import ClipItem, EventItem
from doorstep_shared.manifest import ClipKind
from doorstep_simulator import env
from doorstep_simulator.block import COMMANDS
from doorstep_simulator.env import Exports
from doorstep_simulator.facts import Fact, FactLog
from doorstep_simulator.findings import to_json
from doorstep_simulator.proof import ProofFailedError, decode, open_by_commands
from doorstep_simulator.report import ClipReport, DemoReport, Kind, Where
from doorstep_simulator.way import Moments, confirmed_ms, press_of, steps_of
from tests.footage import write_video

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOON_MS = NOON.timestamp() * 1000
RING = "01a202d8-25c6-7b33-a36f-c7a02ff933c1"
CLIP = "01a202d7-b47e-70c0-99fa-42ebdacb74a8"
DEVICE = "db-gpnhuhhf47anprbrzv4h26fpwa"


def the_ring() -> EventItem:
    return EventItem.model_validate(
        {
            "id": RING,
            "kind": "ring",
            "device": DEVICE,
            "at": NOON,
            "received_at": NOON + timedelta(milliseconds=9),
            "clock_synced": True,
            "alert": "now",
            "is_missed": False,
            "clip": CLIP,
        }
    )


def the_clip() -> ClipItem:
    return ClipItem.model_validate(
        {
            "id": CLIP,
            "device": DEVICE,
            "kind": "ring",
            "events": [RING],
            "started_at": NOON - timedelta(seconds=6),
            "ended_at": NOON + timedelta(seconds=8),
            "duration_s": 14.0,
            "pre_roll_s": 6.0,
            "part": 1,
            "is_last": True,
            "is_truncated": False,
            "state": "stored",
            "stored_at": NOON,
            "objects": {},
        }
    )


def facts_of_a_ring() -> FactLog:
    """The facts of one ring, pressed 100 s into the life of this computer, at noon."""
    log = FactLog()
    for event, ms, details in (
        ("button_pressed", -50_000, {}),
        ("button_pressed", 0, {}),
        ("ring_pressed", 2, {"event_id": RING}),
        ("event_stored", 4, {"event_id": RING}),
        ("event_published", 5, {"event_id": RING}),
        ("event_acked", 20, {"event_id": RING}),
        ("clip_finished", 8_000, {"clip_id": CLIP}),
        ("object_uploaded", 8_100, {"clip_id": CLIP, "object": "thumb"}),
        ("object_uploaded", 8_200, {"clip_id": CLIP, "object": "file"}),
        ("clip_stored", 8_201, {"clip_id": CLIP}),
    ):
        log.add(Fact(event, 100 + ms / 1000, 0, dict(details)))
    return log


def test_the_way_of_a_ring_is_told_in_the_order_of_time_from_the_press() -> None:
    moments = Moments(heard_s={RING: 100.012}, opened_s=109.0, wall_ms=NOON_MS - 100_000)
    steps = steps_of(the_clip(), the_ring(), facts_of_a_ring(), moments)
    assert [round(step.at_ms) for step in steps] == [0, 2, 4, 5, 9, 12, 20, 8000, 8200, 8201, 9000]
    assert steps[0].name == "a finger presses the button"
    assert (steps[4].name, steps[4].where) == ("the service has received it", Where.SERVICE)
    assert (steps[5].name, steps[5].where) == ("you hear of the ring", Where.YOU)


def test_the_press_of_a_ring_is_the_last_one_before_it() -> None:
    facts = facts_of_a_ring()
    pressed = press_of(RING, facts)
    assert pressed is not None
    assert pressed.arrived_s == 100
    assert press_of("another", facts) is None


def test_a_clip_fetched_long_after_it_was_stored_shows_no_such_step() -> None:
    moments = Moments(heard_s={}, opened_s=160.0, wall_ms=NOON_MS - 100_000)
    steps = steps_of(the_clip(), the_ring(), facts_of_a_ring(), moments)
    assert steps[-1].name == "stored, confirmed by signed receipts"


def test_a_ring_is_confirmed_when_the_doorbell_knows_that_it_is_stored() -> None:
    facts = facts_of_a_ring()
    assert confirmed_ms(RING, facts) == pytest.approx(20)
    assert confirmed_ms("another", facts) is None


def test_the_json_has_exactly_what_was_promised() -> None:
    clip = ClipReport(
        kind=Kind.RING,
        clip_id=CLIP,
        started_at=NOON,
        starts_s=1.0,
        duration_s=14.04,
        pre_roll_s=6.1234,
        frames=210,
        size_bytes=1_000,
        is_acked=True,
    )
    report = DemoReport(
        "a film",
        NOON,
        60.0,
        3.14159,
        ring_to_cloud_ms=9.04,
        ring_to_listener_ms=12.06,
        curl_ok=True,
        clips=(clip,),
    )
    assert json.loads(json.dumps(to_json(report))) == {
        "stack_ready_s": 3.142,
        "ring_to_cloud_ms": 9.0,
        "ring_to_listener_ms": 12.1,
        "curl_ok": True,
        "clips": [
            {
                "kind": "ring",
                "started_at": "2026-11-22T12:00:00Z",
                "duration_s": 14.04,
                "frames": 210,
                "pre_roll_s": 6.123,
                "bytes": 1000,
                "acked": True,
            }
        ],
    }
    assert to_json(replace(report, ring_to_cloud_ms=None))["ring_to_cloud_ms"] is None


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins that pass on what they get, first on the commands' PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    texts = {
        "doorstep": 'echo "$DOORSTEP_HOME"',
        "curl": 'for word; do last=$word; done; echo "$last $3"',
        "age": 'cat "$3" - ',
    }
    for name, text in texts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setattr(env, "_program_folders", lambda: (folder, folder))
    return folder


EXPORTS = Exports("http://127.0.0.1:8080", "dst_pat_x", "", Path("/stack"))


@pytest.mark.usefixtures("programs")
def test_the_printed_commands_run_as_printed_and_privately(tmp_path: Path) -> None:
    opened = open_by_commands(tmp_path / "work", EXPORTS).decode()
    assert opened.splitlines() == [
        "/stack/owner",
        "http://127.0.0.1:8080/v1/keyring.age Authorization: Bearer dst_pat_x",
        "http://127.0.0.1:8080/v1/clips/latest/file.age Authorization: Bearer dst_pat_x",
    ]
    assert (tmp_path / "work" / "me.txt").stat().st_mode & 0o777 == 0o600


def test_a_command_that_fails_is_told_with_its_own_words(programs: Path, tmp_path: Path) -> None:
    (programs / "age").write_text("#!/bin/sh\necho no identity matched >&2\nexit 1\n")
    with pytest.raises(ProofFailedError, match="no identity matched"):
        open_by_commands(tmp_path / "work", EXPORTS)


def test_the_commands_are_those_of_the_documentation() -> None:
    bearer = '-H "Authorization: Bearer $TOKEN"'
    assert (
        "doorstep key export > me.txt",
        f'curl -fsS {bearer} "$API/v1/keyring.age" | age -d -i me.txt > household.txt',
        f'curl -fsS {bearer} "$API/v1/clips/latest/file.age" | age -d -i household.txt > clip.mp4',
    ) == COMMANDS


def test_a_video_is_decoded_to_its_end(tmp_path: Path) -> None:
    video = decode(write_video(tmp_path / "a.mp4", seconds=2).read_bytes())
    assert video.frames == 30
    assert video.duration_s == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("data", [b"", b"no video", b"\0" * 100])
def test_what_does_not_decode_is_no_proof(data: bytes) -> None:
    with pytest.raises(ProofFailedError):
        decode(data)


def test_kinds_are_the_same_words_everywhere() -> None:
    assert {kind.value for kind in Kind} == {kind.value for kind in ClipKind}
