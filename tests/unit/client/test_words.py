"""What the command says, and what it refuses before it says anything."""

import io
import json
import stat
import time
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_client import clips, output
from doorstep_client.errors import OpenLineError, UnwritableError
from doorstep_client.home import write_private
from doorstep_client.service import Service
from doorstep_shared.errors import BadMessageError
from doorstep_shared.ids import draw_clip_id, draw_event_id
from doorstep_shared.manifest import ClipKind
from doorstep_shared.terminal import plain
from tests.people import FRONT_DOOR, NOW_MS, random_from

COMMANDING = ("\x1b", "\x7f", "\x9b", "\r", "\x07", "\u202e", "\u2066", "\u2028", "\U000e0001")

AT = datetime.fromtimestamp(NOW_MS / 1000, UTC)


def event(**changes: object) -> clips.EventItem:
    fields: dict[str, object] = {
        "id": draw_event_id(NOW_MS, random_from("event")),
        "kind": ClipKind.RING,
        "device": FRONT_DOOR.device.id,
        "at": AT,
        "received_at": AT,
        "clock_synced": True,
        "alert": "now",
        "is_missed": False,
        "clip": None,
    }
    return clips.EventItem.model_validate(fields | changes)


@given(st.text())
def test_nothing_the_service_says_commands_a_terminal(text: str) -> None:
    shown = plain(text)
    assert len(shown) == len(text)
    for forbidden in COMMANDING:
        assert forbidden not in shown


@given(st.text() | st.text(alphabet='\x1b\x7f\x9b\u202e\u2066\u2028\U000e0001é\n\\"'))
def test_json_commands_no_terminal_either_and_says_the_same(text: str) -> None:
    with redirect_stdout(io.StringIO()) as said:
        output.print_json({"agent": text})
    line = said.getvalue()
    assert line.count("\n") == 1
    assert not any(forbidden in line for forbidden in COMMANDING)
    assert json.loads(line) == {"agent": text}


def test_half_a_character_is_printed_as_a_mark() -> None:
    assert plain("\ud800x") == "\ufffdx"


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z", "1970-01-01T00:00:00Z"]
)
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Midway"])
def test_a_doorbell_whose_clock_is_far_off_is_shown_in_any_zone(
    text: str, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    at = datetime.fromisoformat(text)
    assert "missed" in output.event_line(event(at=at, received_at=at, is_missed=True))
    monkeypatch.undo()
    time.tzset()


def test_plain_words_stay_as_they_are() -> None:
    assert plain("Zürich, 3 Clips — ok\n") == "Zürich, 3 Clips — ok\n"


def test_a_title_with_an_escape_sequence_is_shown_without_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output.print_error("doorstep", BadMessageError("gone\x1b[2J\x1b]0;owned\x07", do="\x1b[31mx"))
    assert "\x1b" not in capsys.readouterr().err


def test_a_table_shows_ids_whole_in_any_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    clip = draw_clip_id(NOW_MS, random_from("clip"))
    output.print_table(("a", "clip"), [("x" * 90, clip), ("[red]", "\x1b[31m")])
    said = capsys.readouterr().out
    assert clip in said
    assert "[red]" in said
    assert "\x1b" not in said


def test_a_ring_says_when_and_where() -> None:
    assert f"Ring  at {FRONT_DOOR.device.id}" in output.event_line(event())


def test_a_ring_that_came_late_says_when_it_was() -> None:
    line = output.event_line(event(is_missed=True))
    assert f"Ring missed at {AT.astimezone():%H:%M:%S}" in line


@pytest.mark.parametrize(("late_s", "is_told"), [(0, False), (30, False), (3600, True)])
def test_an_unset_clock_is_told_only_when_it_is_off(late_s: int, *, is_told: bool) -> None:
    told = event(clock_synced=False, received_at=AT + timedelta(seconds=late_s))
    assert ("clock is off" in output.event_line(told)) is is_told


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-11-22T18:00:00Z", "2026-11-22T18:00:00+00:00"),
        ("2026-11-22T18:00:00+02:00", "2026-11-22T16:00:00+00:00"),
        (None, None),
    ],
)
def test_a_time_is_sent_in_utc(text: str | None, meant: str | None) -> None:
    assert clips.moment(text) == meant


def test_a_time_without_a_zone_is_this_computer_s() -> None:
    meant = datetime(2026, 11, 22).astimezone().astimezone(UTC)  # without a zone it is
    assert clips.moment("2026-11-22") == meant.isoformat()


@pytest.mark.parametrize("text", ["yesterday", "", "22.11.2026"])
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadMessageError) as refused:
        clips.moment(text)
    assert "--since 2026" in refused.value.do


@pytest.mark.parametrize("text", ["nonsense", "", "../x", "Latest"])
def test_what_names_no_clip_is_refused_before_anything_is_asked(text: str) -> None:
    with pytest.raises(BadMessageError) as refused:
        clips.named_clip(text)
    assert "doorstep clip list" in refused.value.do


@pytest.mark.parametrize(
    "url",
    ["http://example.com", "http://127.0.0.1.example.com", "ftp://localhost", "nowhere", "http://"],
)
def test_keys_and_tokens_go_over_no_open_line(url: str) -> None:
    with pytest.raises(OpenLineError):
        Service(url, "dst_ses_x")


@pytest.mark.parametrize("url", ["https://example.com/", "http://127.0.0.1:8080", "http://[::1]:1"])
def test_https_and_this_computer_are_private(url: str) -> None:
    with Service(url) as service:
        assert service.url == url.rstrip("/")


def test_a_private_file_is_its_owner_s_alone(tmp_path: Path) -> None:
    target = tmp_path / "clip.mp4"
    target.write_bytes(b"old")
    target.chmod(0o644)
    write_private(target, b"new")
    assert target.read_bytes() == b"new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", ["missing/x.mp4", "."])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnwritableError) as refused:
        write_private(tmp_path / name, b"x")
    assert str(tmp_path) in refused.value.fact
    assert list(tmp_path.iterdir()) == []
