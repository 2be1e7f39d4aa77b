"""Backups of the two databases: whole, apart, and the vault's for a day."""

import os
import resource
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from doorstep_cloud.app.backups import (
    BackupBusyError,
    Backups,
    is_young,
    made_at,
    newest_vault_backup,
    purge_vault_backups,
    time_name,
)
from doorstep_cloud.app.schema import _head
from doorstep_cloud.store.backups import (
    BackupPlaceError,
    BackupUnfinishedError,
    DamagedDatabaseError,
    Label,
    Which,
    opened_to_read,
    read_label,
    tables_of,
)
from doorstep_cloud.store.base import MainBase, VaultBase
from tests.backups import HOUR_MS, State, clip_of, keep, no_progress
from tests.people import NOW_MS


@pytest.fixture
def state(tmp_path: Path) -> State:
    """A state folder with our household in it."""
    made = State.make(tmp_path)
    made.found()
    return made


def entries(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_backup_is_a_whole_labelled_database_for_its_owner_only(state: State) -> None:
    for which, made in (
        (Which.MAIN, state.back_up_main()),
        (Which.VAULT, state.back_up_vault()),
    ):
        assert made.stat().st_mode & 0o777 == 0o600
        with opened_to_read(made) as copy:
            assert read_label(copy) == Label(which, NOW_MS)
            assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert copy.execute("SELECT * FROM alembic_version").fetchall() == [(_head(which),)]
            assert copy.execute("PRAGMA journal_mode").fetchall() == [("delete",)]
        assert entries(made.parent) == {made.name}


def test_neither_backup_holds_a_table_of_the_other(state: State) -> None:
    main, vault = set(MainBase.metadata.tables), set(VaultBase.metadata.tables)
    with opened_to_read(state.back_up_main()) as copy:
        assert main <= tables_of(copy)
        assert not vault & tables_of(copy)
    with opened_to_read(state.back_up_vault()) as copy:
        assert vault <= tables_of(copy)
        assert not main & tables_of(copy)


def test_nothing_that_opens_a_clip_is_in_a_backup_of_main(state: State) -> None:
    clip = clip_of(1)
    with state.opened() as databases:
        keep(databases, clip)
    main, vault = state.back_up_main().read_bytes(), state.back_up_vault().read_bytes()
    for box in clip.boxes.values():
        assert box.envelope in vault
        assert box.envelope not in main


def test_a_table_of_the_vault_in_main_stops_the_backup(state: State) -> None:
    with closing(sqlite3.connect(state.folder / "main.db")) as main:
        main.execute("CREATE TABLE clip_envelope (x)")
    with pytest.raises(DamagedDatabaseError, match="clip_envelope"):
        state.back_up_main()
    assert entries(state.outside) == set()


def test_a_backup_made_while_four_threads_write_is_one_state(state: State) -> None:
    """Each writer moves a coin between two rows in one unit: in any one state nothing is lost."""
    with state.opened() as databases:
        with databases.main.begin() as connection:
            connection.execute(text("CREATE TABLE pot (id INTEGER PRIMARY KEY, n, filling)"))
            filling = os.urandom(3000)
            rows = [{"id": n, "n": 100, "f": filling} for n in range(800)]
            connection.execute(text("INSERT INTO pot VALUES (:id, :n, :f)"), rows)
        steps, written = [0], [0]
        is_over = threading.Event()

        def write(first: int) -> None:
            while not is_over.is_set():
                with databases.write() as unit:
                    for id_, change in ((first, -1), (799 - first, 1)):
                        unit.main.execute(
                            text("UPDATE pot SET n = n + :d WHERE id = :i"), {"d": change, "i": id_}
                        )
                    unit.commit()
                written[0] += 1

        def go_on(_done: int, _total: int) -> None:
            # Somebody writes between any two steps of the copy.
            steps[0] += 1
            before = written[0]
            while written[0] == before and not is_over.wait(0.001):
                pass

        threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        try:
            made = Backups(state.folder, lambda: NOW_MS).make(
                Which.MAIN, state.outside / "main.bak", go_on
            )
        finally:
            is_over.set()
            for thread in threads:
                thread.join()
    assert 2 < steps[0] < 40
    assert written[0] > steps[0]
    with opened_to_read(made) as copy:
        assert copy.execute("SELECT sum(n) FROM pot").fetchone() == (80_000,)


def test_a_backup_never_takes_anothers_place(state: State) -> None:
    taken = state.back_up_main()
    before = taken.read_bytes()
    with pytest.raises(BackupPlaceError, match="already"):
        state.back_up_main()
    (state.outside / "link").symlink_to(state.outside / "nowhere")
    with pytest.raises(BackupPlaceError, match="already"):
        state.back_up_main("link")
    assert taken.read_bytes() == before
    assert entries(state.outside) == {"main.bak", "link"}


def test_what_comes_there_meanwhile_is_left_as_it_is(state: State) -> None:
    target = state.outside / "main.bak"
    with pytest.raises(BackupPlaceError, match="already"):
        state.backups.make(Which.MAIN, target, lambda *_: target.write_text("mine"))  # type: ignore[arg-type]  # what it returns is of no use
    assert target.read_text() == "mine"
    assert entries(state.outside) == {"main.bak"}


def test_a_file_system_without_links_takes_a_backup_too(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert entries(state.back_up_main().parent) == {"main.bak"}


@pytest.mark.parametrize("place", ["nowhere/main.bak", "file/main.bak"])
def test_a_place_that_is_none_is_named(state: State, place: str) -> None:
    (state.outside / "file").write_text("")
    with pytest.raises(BackupPlaceError, match=place) as caught:
        state.back_up_main(place)
    assert caught.value.safe == "Nothing was written."


def test_main_is_not_backed_up_beside_the_vault(state: State) -> None:
    for place in (state.folder / "main.bak", state.folder / "vault-backups" / "main.bak"):
        place.parent.mkdir(exist_ok=True)
        with pytest.raises(BackupPlaceError, match="is in the state folder"):
            state.backups.make(Which.MAIN, place, no_progress)
        assert not place.exists()


def test_a_damaged_database_is_told_and_not_copied(state: State) -> None:
    data = bytearray((state.folder / "main.db").read_bytes())
    data[8192:] = bytes(len(data) - 8192)
    (state.folder / "main.db").write_bytes(data)
    with pytest.raises(DamagedDatabaseError, match="is damaged"):
        state.back_up_main()
    assert entries(state.outside) == set()


def test_a_row_that_refers_to_nothing_is_damage(state: State) -> None:
    with closing(sqlite3.connect(state.folder / "main.db")) as main:
        main.execute("INSERT INTO presence VALUES ('nobody', '', 0, 0, '', 0, NULL, NULL, NULL)")
        main.commit()
    with pytest.raises(DamagedDatabaseError, match="refers to one that is not there"):
        state.back_up_main()


BACK_UP = """
import resource, sys
from pathlib import Path
from doorstep_cloud.__main__ import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
main()
"""


def test_a_disk_that_takes_no_more_keeps_no_half_of_a_backup(state: State) -> None:
    """A limit on a file's length is a full disk that ends with the process."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    size = (state.folder / "main.db").stat().st_size
    before = (state.folder / "main.db").read_bytes()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(Path(p).resolve()) for p in ("cloud", "shared")),
        "DOORSTEP_CLOUD_STATE_DIR": str(state.folder),
    }
    target = str(state.outside / "main.bak")
    for room in (4096, size - 1):
        ended = subprocess.run(
            [sys.executable, "-c", BACK_UP, str(room), "backup", "main", target],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 1, ended.stderr
        fact, safe, do = ended.stderr.splitlines()
        assert "could not be written to its end" in fact
        assert safe.startswith("Nothing of it was left there")
        assert do.startswith("Do: df -h")
        assert entries(state.outside) == set()
    assert (state.folder / "main.db").read_bytes() == before


def test_one_backup_is_made_at_a_time_and_a_stop_leaves_nothing(state: State) -> None:
    backups = state.backups

    def meanwhile(_done: int, _total: int) -> None:
        with pytest.raises(BackupBusyError):
            backups.make(Which.VAULT, None, no_progress)
        backups.stop()

    made = backups.make(Which.MAIN, state.outside / "main.bak", meanwhile)
    assert made.exists()
    with pytest.raises(BackupUnfinishedError, match="told to stop"):
        backups.make(Which.MAIN, state.outside / "other.bak", no_progress)
    assert entries(state.outside) == {"main.bak"}


def test_a_stop_ends_the_check_of_a_copy_too(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("doorstep_cloud.store.backups._STEPS_BETWEEN", 10)
    backups = state.backups
    with pytest.raises(BackupUnfinishedError):
        backups.make(
            Which.MAIN,
            state.outside / "main.bak",
            lambda done, total: backups.stop() if done == total else None,
        )
    assert entries(state.outside) == set()


def test_a_half_of_a_killed_backup_is_written_over(state: State) -> None:
    (state.outside / ".main.bak.part").write_text("half")
    state.back_up_main()
    assert entries(state.outside) == {"main.bak"}


# ── the vault's, and their day ─────────────────────────────────────────────────────────


def test_vault_backups_go_before_they_are_a_day_old(state: State) -> None:
    made = [state.back_up_vault()]
    state.at_ms += 23 * HOUR_MS
    made.append(state.back_up_vault())
    assert entries(made[0].parent) == {path.name for path in made}
    state.at_ms = NOW_MS + 24 * HOUR_MS - 20 * 60 * 1000
    # Ten minutes later somebody looks again: that must still be within the day.
    assert purge_vault_backups(state.folder, state.at_ms) == 1
    assert newest_vault_backup(state.folder) == made[1]
    state.at_ms += 24 * HOUR_MS
    newest = state.back_up_vault()
    assert entries(newest.parent) == {newest.name}


def test_the_rule_takes_halves_what_was_set_aside_and_what_is_from_the_future(
    state: State,
) -> None:
    young = state.back_up_vault()
    folder = young.parent
    old, future = time_name(NOW_MS - 25 * HOUR_MS), time_name(NOW_MS + HOUR_MS)
    doomed = [
        f"vault-{old}.db",
        f".vault-{old}.db.part",
        f".vault-{old}.db.part-journal",
        f"before-restore-{old}.db",
        f"before-restore-{old}.db-wal",
        f"vault-{future}.db",
    ]
    foreign = ["notes.txt", f"vault-{old}.db.gpg", "vault-20269999T999999.000Z.db"]
    for name in (*doomed, *foreign):
        (folder / name).write_text("")
    assert purge_vault_backups(state.folder, NOW_MS) == len(doomed)
    assert entries(folder) == {young.name, *foreign}


def test_the_folder_of_vault_backups_is_for_its_owner_only(state: State) -> None:
    assert state.back_up_vault().parent.stat().st_mode & 0o777 == 0o700


def test_a_moment_is_read_back_from_a_name() -> None:
    for at_ms in (NOW_MS, NOW_MS + 7, 0):
        assert made_at(Path(f"vault-{time_name(at_ms)}.db")) == at_ms
    assert made_at(Path("vault-yesterday.db")) is None


@pytest.mark.parametrize(
    ("age_ms", "expected"),
    [
        (0, True),
        (24 * HOUR_MS - 1, True),
        (24 * HOUR_MS, False),
        (-60_000, True),
        (-HOUR_MS, False),
    ],
)
def test_a_backup_is_young_for_a_day(age_ms: int, expected: object) -> None:
    assert is_young(NOW_MS - age_ms, NOW_MS) is expected


def test_nothing_to_remove_is_no_error(tmp_path: Path) -> None:
    assert purge_vault_backups(tmp_path, NOW_MS) == 0
    assert newest_vault_backup(tmp_path) is None
