"""One SIGKILL for each process, at the worst moment: nothing stored is lost or told twice."""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from doorstep_client.clips import ClipItem
from doorstep_client.household import Household
from doorstep_shared.keyring import keyring_text
from doorstep_shared.manifest import MAX_PAYLOAD_BYTES
from doorstep_simulator.doorbell import Doorbell
from doorstep_simulator.folder import files_below
from doorstep_simulator.owner import Listener
from doorstep_simulator.processes import Supervised
from tests.integration.test_age_tools import AGE, find_tool
from tests.running import PATIENCE_S, Home, power_on, ring, wait_for, wait_for_fact

# A cut recording loses at most one tick, one fragment and one sync.
TICK_S, FRAGMENT_S = 1.0, 0.5
# For the sync, and for what an encoder and two threads hold at that moment on a busy machine.
SYNC_S = 1.5

SEGMENT_BYTES = 128 * 1024


@pytest.fixture(scope="module")
def bell(home: Home) -> Iterator[Doorbell]:
    """The household's doorbell, its clock four times as fast as ours."""
    with home.doorbell() as running:
        yield running


def test_a_doorbell_killed_while_recording_delivers_what_it_had(home: Home, tmp_path: Path) -> None:
    with home.doorbell(speed=1) as bell:
        before = {clip.id for clip in home.owner.clips(1000)}
        event = ring(bell)
        rung = wait_for_fact(bell, "event_stored", event_id=event)
        wait_for(lambda: time.monotonic() - rung.arrived_s > 3.5, "three ticks of recording")
        bell.cut_power()
        seen_ms = last_frame_ms(bell)
        (cut,) = [
            path.name for path in (home.card / "outbox").glob("0*") if path.name not in before
        ]
        power_on(bell)
        clip = home.wait_until_stored(event)
        assert_told_once(home, bell)
    assert clip.id == cut
    assert clip.is_truncated
    video = opened_by_age(home, clip, tmp_path)
    played_ms = clip.started_at.timestamp() * 1000 + played_s(video, tmp_path) * 1000
    assert seen_ms - played_ms < (TICK_S + FRAGMENT_S + SYNC_S) * 1000
    assert home.owner.open_clip(clip.id).video == video


def test_a_doorbell_killed_while_uploading_goes_on_where_it_was(home: Home, tmp_path: Path) -> None:
    with home.doorbell(speed=2, width_px=640) as bell:
        event = ring(bell)
        clip_id = stop_amid_upload(home, bell, event)
        bell.cut_power()
        assert bell.facts.first("clip_stored", clip_id=clip_id) is None
        os.kill(home.stack.cloud.pid, signal.SIGCONT)
        power_on(bell)
        clip = home.wait_until_stored(event)
        assert_told_once(home, bell)
    assert clip.id == clip_id
    assert not clip.is_truncated
    video = opened_by_age(home, clip, tmp_path)
    assert played_s(video, tmp_path) == pytest.approx(clip.duration_s, abs=0.2)


@pytest.mark.parametrize("name", ["broker", "cloud", "store"])
def test_nothing_is_lost_with_a_killed(name: str, home: Home, bell: Doorbell) -> None:
    process: Supervised = getattr(home.stack, name)
    recorded = ring(bell)
    wait_for_fact(bell, "event_acked", event_id=recorded)
    if name == "store":
        # Its worst moment is when a clip comes.
        wait_for(lambda: home.clip_of(recorded) is not None, "the announcement")
    restarts = process.restarts
    process.kill()
    wait_for(lambda: not process.is_running or process.restarts > restarts, "the death")
    pressed_meanwhile = ring(bell)
    wait_for(lambda: process.restarts > restarts and process.is_running, "the restart")
    for event in (recorded, pressed_meanwhile):
        home.wait_until_stored(event)
    assert_told_once(home, bell)


def test_a_service_that_is_stopped_amid_uploads_ends_well_and_goes_on(
    home: Home, bell: Doorbell
) -> None:
    listener = Listener(home.owner, lambda _: None)
    assert listener.wait_until_open()
    cloud, log = home.stack.cloud, home.stack.log("cloud")
    said_before, spool = log.stat().st_size, home.stack.cloud_folder / "spool"
    recorded = ring(bell)

    def is_uploading() -> bool:
        return any(path.name == "file.journal" for path in files_below(spool))

    deadline = time.monotonic() + PATIENCE_S
    while not is_uploading():
        assert time.monotonic() < deadline, "nothing of the clip came"
    run, restarts = cloud._process, cloud.restarts
    cloud.signal(signal.SIGTERM)
    pressed_meanwhile = ring(bell)
    assert run.wait(cloud.program.stop_s) == 0
    given = {fact.text("clip_id") for fact in bell.facts.all("clip_stored")}
    wait_for(lambda: cloud.restarts > restarts and cloud.is_running, "the restart")
    said = log.read_bytes()[said_before:].decode()
    assert "service_stopped" in said
    assert "Traceback" not in said
    for event in (recorded, pressed_meanwhile):
        home.wait_until_stored(event)
    # What a doorbell was given a receipt for by then is there, whole.
    for clip_id in given:
        assert home.owner.open_clip(clip_id).video[4:8] == b"ftyp"
    assert listener.wait_for([recorded, pressed_meanwhile], PATIENCE_S)
    listener.end()
    assert_told_once(home, bell)


def stop_amid_upload(home: Home, bell: Doorbell, event: str) -> str:
    """Stop the service in its tracks with some of the clip of ``event``; return the clip's id."""
    wait_for(lambda: bool(clips_of(bell)), "a finished clip")
    (clip_id,) = clips_of(bell)
    payload = home.card / "outbox" / clip_id / "payload"
    journal = home.stack.cloud_folder / "spool" / home.device / clip_id / "file.journal"
    deadline = time.monotonic() + 30
    while not journal.exists():
        assert time.monotonic() < deadline, "nothing of the clip came"
    os.kill(home.stack.cloud.pid, signal.SIGSTOP)
    assert payload.stat().st_size > 4 * SEGMENT_BYTES
    assert bell.facts.first("event_acked", event_id=event) is not None
    return clip_id


def clips_of(bell: Doorbell) -> list[str]:
    """Return the ids of the clips that ``bell`` has finished."""
    return [fact.text("clip_id") for fact in bell.facts.all("clip_finished")]


def assert_told_once(home: Home, bell: Doorbell) -> None:
    """Everything that the doorbell has stored is at the service, once."""
    stored = {fact.text("event_id") for fact in bell.facts.all("event_stored")}
    finished = set(clips_of(bell))

    def told_events() -> Counter[str]:
        return Counter(event.id for event in home.owner.events(limit=1000))

    def told_clips() -> Counter[str]:
        clips = home.owner.clips(1000)
        return Counter(clip.id for clip in clips if clip.state == "stored")

    wait_for(lambda: stored <= set(told_events()), "every event")
    wait_for(lambda: finished <= set(told_clips()), "every clip")
    assert max(told_events().values()) == 1
    assert max(told_clips().values()) == 1
    # The parts of a long visit share the event it is known by.
    recorded = Counter((e, c.part) for c in home.owner.clips(1000) for e in c.events)
    assert max(recorded.values()) == 1


def last_frame_ms(bell: Doorbell) -> float:
    """Return the wall time of the last picture that the camera handed over."""
    began_ms = bell.facts.all("film_began")[-1].number("began_ms")
    return began_ms + bell.facts.all("frame_scored")[-1].number("t_s") * 1000


def opened_by_age(home: Home, clip: ClipItem, folder: Path) -> bytes:
    """Return the video as the public tool opens it, with nothing but the household's keys."""
    with Household(home.owner.home) as household:
        sealed = household.ask(
            lambda service: service.get_bytes(f"/v1/clips/{clip.id}/file.age", MAX_PAYLOAD_BYTES)
        )
        keys = folder / "household.txt"
        keys.write_text(keyring_text(household.epochs()))
    done = subprocess.run(
        [find_tool(AGE), "-d", "-i", str(keys)], input=sealed, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def played_s(video: bytes, folder: Path) -> float:
    """Return until when the video plays, every frame decoded, in seconds from its beginning."""
    file = folder / "clip.mp4"
    file.write_bytes(video)
    with av.open(str(file)) as container:
        (stream,) = container.streams.video
        times = [frame.time for frame in container.decode(stream)]
        rate = stream.average_rate or 15
    assert len(times) > 1
    return max(times) + 1 / float(rate)
