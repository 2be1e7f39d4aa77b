"""What the stack and the doorbell wrote to disk, every key included, holds no clear picture."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest

from doorstep_client.clips import check_clip, open_clip_object
from doorstep_client.household import Household
from doorstep_shared.manifest import ObjectName
from doorstep_simulator.folder import files_below
from doorstep_simulator.marker import MARKER_TEXT, find_marker, marker_bytes
from tests.running import WIDTH_PX, Home, ring, wait_for_fact

# A box is its length and its name; by chance a name stands in a gigabyte every fourth time,
# so a name counts only with what surrounds it in every clip of ours.
STRUCTURES = {
    "the first box of an MP4": b"ftypiso",
    "a movie header": b"\x00\x00\x00\x6cmvhd\x00\x00\x00",
    "a sample entry": b"stsd\x00\x00\x00\x00\x00\x00\x00\x01",
    "an H.264 configuration": b"avcC\x01",
    "a fragment's header": b"mfhd\x00\x00\x00\x00",
    "a fragment's time": b"tfdt\x01\x00\x00\x00",
    "a JPEG": b"\xff\xd8\xff\xe0\x00\x10JFIF",
    "details": b'"fragments":[[',
}


@pytest.fixture(scope="module")
def video(home: Home) -> Iterator[bytes]:
    """A ring's clip as its owner sees it, delivered while everything runs."""
    with home.doorbell() as bell:
        event = ring(bell)
        clip = home.wait_until_stored(event)
        # And one that is still being recorded while we look.
        second = ring(bell)
        wait_for_fact(bell, "event_acked", event_id=second)
        yield home.owner.open_clip(clip.id).video


def forms(video: bytes) -> dict[str, bytes]:
    """Return everything that must not be found, by what it is."""
    luma = {f"raw luma {n}": row for n, row in enumerate(marker_bytes(WIDTH_PX))}
    text = {"the marker's text": MARKER_TEXT.encode()}
    return {**STRUCTURES, **luma, **text, "the stream's parameters": parameters(video)}


def parameters(video: bytes) -> bytes:
    """Return the sequence parameter set of the recorded stream, as the clip holds it."""
    at = video.index(b"avcC") + 4
    length = int.from_bytes(video[at + 6 : at + 8], "big")
    found = video[at + 8 : at + 8 + length]
    assert found[0] & 0x1F == 7
    assert length > 8
    return found


def found_below(folder: Path, wanted: dict[str, bytes]) -> list[str]:
    """Return which of ``wanted`` stands in which file below ``folder``."""
    found = []
    for path in files_below(folder):
        with suppress(FileNotFoundError):  # what runs meanwhile may take it away
            if path.is_file():
                found += [f"{path}: {what}" for what in standing_in(path, wanted)]
    return found


def standing_in(path: Path, wanted: dict[str, bytes]) -> set[str]:
    """Return which of ``wanted`` stands in a file, read in pieces: it may be growing."""
    longest = max(map(len, wanted.values()))
    found: set[str] = set()
    with path.open("rb") as file:
        rest = b""
        while piece := file.read(4 * 1024 * 1024):
            data = rest + piece
            found |= {what for what, form in wanted.items() if form in data}
            rest = data[-longest + 1 :]
    return found


def test_the_opened_clip_holds_the_marker_and_every_structure_that_is_looked_for(
    video: bytes, home: Home, tmp_path: Path
) -> None:
    (tmp_path / "clip.mp4").write_bytes(video)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="bgr24")
    assert find_marker(np.asarray(frame, np.uint8))
    assert MARKER_TEXT.encode() in video
    clip = next(clip for clip in home.owner.clips(1000) if clip.objects[ObjectName.THUMB])
    opened = [video, *asides(home, clip.id)]
    missing = {
        what for what, form in STRUCTURES.items() if not any(form in data for data in opened)
    }
    assert missing == set()


def asides(home: Home, clip: str) -> list[bytes]:
    """Return thumbnail and details of a clip as their owner sees them."""
    with Household(home.owner.home) as household:
        manifest = check_clip(household, clip)
        names = (ObjectName.THUMB, ObjectName.DETAILS)
        return [open_clip_object(household, manifest, name).data for name in names]


def test_nothing_on_any_disk_is_in_the_clear(video: bytes, home: Home) -> None:
    wanted = forms(video)
    folders = (home.stack.folder, home.card)
    assert {name.name for name in home.stack.folder.iterdir()} >= {"cloud", "objects", "broker"}
    assert found_below(home.stack.cloud_folder, {"its keys": b"PRIVATE KEY"})
    for folder in folders:
        assert found_below(folder, wanted) == []


def test_the_search_would_have_found_it(video: bytes, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "leak").write_bytes(bytes(4 * 1024 * 1024 - 1000) + video)
    found = found_below(tmp_path, forms(video))
    assert any("parameters" in one for one in found)
    assert any("text" in one for one in found)
    assert any("movie header" in one for one in found)


def test_no_household_key_is_outside_the_owners_own_folder(video: bytes, home: Home) -> None:
    del video
    secrets = [str(home.owner.home.keys().age), home.owner.home.keys().sign.seed.hex()]
    with Household(home.owner.home) as household:
        secrets += [str(key) for key in household.epochs().values()]
    wanted = {f"secret {number}": secret.encode() for number, secret in enumerate(secrets)}
    for folder in (home.stack.folder, home.card):
        assert found_below(folder, wanted) == []
