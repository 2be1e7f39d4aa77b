"""What every disk does: the real folder and the simulated one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from doorstep_device.adapters.disk import FolderDisk
from doorstep_device.ports.disk import Disk, PathMissingError
from doorstep_simulator.disk import SimulatedDisk
from doorstep_simulator.filled_card import FilledCard

DISKS: dict[str, Callable[[Path], Disk]] = {
    "folder": FolderDisk,
    "simulated": lambda _: SimulatedDisk(),
    "card of the fault lab": FilledCard,
}


@pytest.fixture(params=DISKS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return DISKS[request.param](tmp_path)


def test_what_was_written_whole_is_read_back(disk: Disk) -> None:
    disk.write_whole("a", b"one")
    disk.write_whole("a", b"two, longer")
    assert disk.read("a") == b"two, longer"
    assert disk.list_dir("") == ["a"]


def test_a_left_over_of_a_cut_write_is_overwritten(disk: Disk) -> None:
    disk.write_whole("a.tmp", b"half of something much longer")
    disk.write_whole("a", b"new")
    assert disk.read("a") == b"new"
    assert disk.list_dir("") == ["a"]


def test_appending_makes_a_file_and_adds_to_its_end(disk: Disk) -> None:
    disk.append_synced("log", b"one")
    disk.append_synced("log", b"two")
    assert disk.read("log") == b"onetwo"


def test_folders_hold_files_and_list_them_sorted(disk: Disk) -> None:
    disk.make_dir("f")
    disk.write_whole("f/b", b"")
    disk.write_whole("f/a", b"")
    disk.make_dir("f/g")
    assert disk.list_dir("f") == ["a", "b", "g"]
    assert disk.list_dir("") == ["f"]


def test_making_a_folder_that_exists_leaves_it_as_it_is(disk: Disk) -> None:
    disk.make_dir("f")
    disk.write_whole("f/a", b"kept")
    disk.make_dir("f")
    assert disk.read("f/a") == b"kept"


def test_a_gap_reads_as_zeros(disk: Disk) -> None:
    with disk.open("a") as file:
        file.write_at(10_000, b"end")
        file.write_at(2, b"two")
        file.sync()
        assert file.size() == 10_003
        assert file.read_at(0, 7) == b"\0\0two\0\0"
        assert file.read_at(9_998, 5) == b"\0\0end"
    assert disk.read("a") == b"\0\0two" + bytes(9_995) + b"end"


def test_reading_behind_the_end_returns_what_there_is(disk: Disk) -> None:
    with disk.open("a") as file:
        file.write_at(0, b"abc")
        assert file.read_at(1, 10) == b"bc"
        assert file.read_at(3, 10) == b""
        assert file.read_at(99, 10) == b""


def test_a_file_opened_again_is_the_same_file(disk: Disk) -> None:
    with disk.open("a") as file:
        file.write_at(0, b"abc")
    with disk.open("a") as file:
        file.write_at(1, b"X")
    assert disk.read("a") == b"aXc"


def test_a_cut_file_forgets_what_it_held_behind(disk: Disk) -> None:
    with disk.open("a") as file:
        file.write_at(0, b"x" * 9000)
        file.truncate(5000)
        assert file.size() == 5000
        file.write_at(6000, b"y")
    assert disk.read("a") == b"x" * 5000 + bytes(1000) + b"y"


def test_a_file_cut_within_a_gap_ends_there(disk: Disk) -> None:
    with disk.open("a") as file:
        file.write_at(50_000, b"end")
        file.truncate(10_000)
    assert disk.read("a") == bytes(10_000)


def test_closing_twice_is_harmless(disk: Disk) -> None:
    file = disk.open("a")
    file.close()
    file.close()


def test_a_renamed_folder_takes_its_files_along(disk: Disk) -> None:
    disk.make_dir("f")
    disk.write_whole("f/a", b"kept")
    disk.rename("f", "g")
    assert not disk.exists("f")
    assert disk.read("g/a") == b"kept"


def test_what_was_removed_is_gone(disk: Disk) -> None:
    disk.make_dir("f")
    disk.write_whole("f/a", b"")
    disk.make_dir("f/g")
    disk.write_whole("f/g/b", b"")
    disk.write_whole("c", b"")
    disk.remove("c")
    disk.remove_tree("f")
    assert disk.list_dir("") == []


@pytest.mark.parametrize(
    "use",
    [
        lambda disk: disk.read("none"),
        lambda disk: disk.read("none/a"),
        lambda disk: disk.list_dir("none"),
        lambda disk: disk.rename("none", "other"),
        lambda disk: disk.remove("none"),
        lambda disk: disk.remove_tree("none"),
        lambda disk: disk.write_whole("none/a", b""),
    ],
)
def test_what_is_missing_is_said_to_be(disk: Disk, use: Callable[[Disk], object]) -> None:
    with pytest.raises(PathMissingError):
        use(disk)


def test_there_is_room_for_more(disk: Disk) -> None:
    assert disk.free_bytes() > 0
