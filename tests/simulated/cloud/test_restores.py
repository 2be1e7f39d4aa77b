"""Backups put back: whole or not at all, and what was deleted stays deleted."""

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, select, text
from sqlalchemy import delete as deleting
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from doorstep_cloud.access.policy import Scope
from doorstep_cloud.app.jobs import Expiry
from doorstep_cloud.app.restoring import RestoreUnfinishedError, TooOldError, clean_up
from doorstep_cloud.app.state import StateFolderError, held
from doorstep_cloud.app.sweep import LOST_SINCE
from doorstep_cloud.clips.deleter import Deleter
from doorstep_cloud.clips.deletion import find_tombstone
from doorstep_cloud.clips.service import household_of_clip, list_clips
from doorstep_cloud.clips.tables import EnvelopeRow
from doorstep_cloud.events.hub import Hub
from doorstep_cloud.events.paging import ListQuery
from doorstep_cloud.households.chain import append_statement
from doorstep_cloud.households.keyring import read_file
from doorstep_cloud.households.restoring import RESTORED
from doorstep_cloud.households.tables import ChallengeRow, SessionRow, TokenRow
from doorstep_cloud.store.backups import (
    LABEL_TABLE,
    BadBackupError,
    Label,
    Which,
    opened,
    opened_to_read,
    read_label,
    write_label,
)
from doorstep_cloud.store.databases import Databases
from doorstep_cloud.store.errors import ConflictError
from doorstep_cloud.store.passes import found_since, last_pass, note_found
from doorstep_shared.ids import ClipId
from doorstep_shared.manifest import ObjectName
from doorstep_shared.signing import Signed, SigningKey
from doorstep_shared.unseal import open_age_file
from tests.backups import HOUR_MS, State, clip_of, delete, keep
from tests.cloud_world import KEYRING_FILE, URL, House, app_over
from tests.people import (
    HOUSEHOLD,
    NOW_MS,
    OWNER,
    epoch,
    epoch_identity,
    first_head,
    random_from,
    successor,
)
from tests.scripted_doorbell import Clip
from tests.services import store_nowhere


@pytest.fixture
def state(tmp_path: Path) -> State:
    """A state folder with our household in it."""
    made = State.make(tmp_path)
    made.found()
    return made


NO_DATABASE = b"no database" * 1000


def envelopes(clip: Clip) -> dict[str, bytes]:
    return {name.value: box.envelope for name, box in clip.boxes.items()}


def listed(databases: Databases) -> list[ClipId]:
    with databases.read() as unit:
        return [item.id for item in list_clips(unit, HOUSEHOLD, ListQuery()).items]


def is_deleted(databases: Databases, clip: Clip) -> bool:
    with databases.read() as unit:
        return find_tombstone(unit, clip.id) is not None


def opens(databases: Databases, clip: Clip) -> bool:
    """Return whether the household's own key and what the vault holds open the clip."""
    with databases.read() as unit:
        row = unit.vault.get(EnvelopeRow, (clip.id, "file"))
    payload = clip.boxes[ObjectName.FILE].payload
    return row is not None and bool(open_age_file(row.envelope + payload, [epoch_identity(1)]))


def delete_as_owner(state: State, clip: Clip) -> None:
    """Delete a clip over HTTP, and hold the receipt."""
    with state.opened() as databases:
        code = existing(databases).token(Scope.CLIPS_DELETE)
        app = app_over(databases, store_nowhere(), Hub())
        with TestClient(app, base_url=URL) as client:
            headers = {"Authorization": f"Bearer {code}"}
            answer = client.delete(f"/v1/clips/{clip.id}", headers=headers)
        assert answer.status_code == 200, answer.text
        receipt = Signed.model_validate_json(json.dumps(answer.json()["receipt"]))
        assert clip.id in receipt.body.decode()


# ── promise 7 ──────────────────────────────────────────────────────────────────────────


def test_a_deleted_clip_stays_closed_after_main_and_the_households_own_keys_come_back(
    state: State,
) -> None:
    gone, kept = clip_of(1), clip_of(2)
    with state.opened() as databases:
        keep(databases, gone)
        keep(databases, kept)
        assert opens(databases, gone)
    assert state.holds(envelopes(gone)) == {"file", "thumb", "details"}
    main = state.back_up_main()
    state.back_up_vault()
    delete_as_owner(state, gone)
    # Only the vault's backup still has it, and tomorrow no file has.
    state.at_ms += 24 * HOUR_MS
    clean_up(state.folder, state.at_ms)
    assert state.holds(envelopes(gone)) == set()

    state.restore(Which.MAIN, main)
    with state.opened() as databases:
        assert not is_deleted(databases, gone), "the backup is from before"
    settled = state.start()
    assert settled is not None
    with state.opened() as databases:
        assert is_deleted(databases, gone)
        assert not opens(databases, gone)
        assert listed(databases) == [kept.id]
        assert opens(databases, kept)
    assert state.holds(envelopes(gone)) == set()
    assert state.holds(envelopes(kept)) == {"file", "thumb", "details"}
    assert gone.boxes[ObjectName.FILE].envelope not in main.read_bytes()


def test_so_it_does_when_the_database_before_it_is_beyond_reading(state: State) -> None:
    gone = clip_of(1)
    with state.opened() as databases:
        keep(databases, gone)
    main = state.back_up_main()
    with state.opened() as databases:
        delete(databases, gone)
    (state.folder / "main.db").write_bytes(b"nothing a database begins with")
    state.restore(Which.MAIN, main)
    settled = state.start()
    assert settled is not None
    assert (settled.is_aside_read, settled.clips_buried) == (False, 1)
    assert state.ask(listed) == []


def test_a_vault_of_before_a_deletion_gives_nothing_back(state: State) -> None:
    gone, kept = clip_of(1), clip_of(2)
    with state.opened() as databases:
        keep(databases, gone)
        keep(databases, kept)
    state.back_up_vault()
    with state.opened() as databases:
        delete(databases, gone)
    state.at_ms += HOUR_MS
    state.restore(Which.VAULT)
    settled = state.start()
    assert settled is not None
    assert (settled.envelopes_dropped, settled.clips_buried) == (1, 0)
    (backup,) = (state.folder / "vault-backups").glob("vault-*")
    backup.unlink()
    assert state.holds(envelopes(gone)) == set()
    with state.opened() as databases:
        assert opens(databases, kept)


def test_both_of_before_a_deletion_give_nothing_back(state: State) -> None:
    """Within the day the vault's backup has it still; the main set aside knows better."""
    gone = clip_of(1)
    with state.opened() as databases:
        keep(databases, gone)
    main, vault = state.back_up_main(), state.back_up_vault()
    with state.opened() as databases:
        delete(databases, gone, NOW_MS + 5)
    state.at_ms += HOUR_MS
    state.restore(Which.VAULT, vault)
    state.restore(Which.MAIN, main)
    settled = state.start()
    assert settled is not None
    assert (settled.deletions_carried, settled.envelopes_dropped) == (1, 1)
    with state.opened() as databases, databases.read() as unit:
        tombstone = find_tombstone(unit, gone.id)
        assert tombstone is not None
        assert tombstone.deleted_at_ms == NOW_MS + 5
    vault.unlink()
    assert state.holds(envelopes(gone)) == set()


def test_a_deletion_of_a_clip_the_backup_never_had_is_kept(state: State) -> None:
    """Its doorbell may bring it again, and is to be told that it is deleted."""
    main = state.back_up_main()
    late = clip_of(1)
    with state.opened() as databases:
        keep(databases, late)
        delete(databases, late)
    state.restore(Which.MAIN, main)
    state.start()
    with state.opened() as databases:
        assert is_deleted(databases, late)


# ── put back more than once before a start ─────────────────────────────────────────────


def revoke_tokens(state: State) -> None:
    with state.opened() as databases, databases.write() as unit:
        unit.main.execute(deleting(TokenRow))
        unit.commit()


def tokens(state: State) -> int:
    with state.opened() as databases:
        return count(databases, TokenRow)


@pytest.mark.parametrize("times", [2, 3])
def test_main_put_back_again_and_again_undoes_no_deletion_and_revokes_what_was_revoked(
    state: State, times: int
) -> None:
    gone = clip_of(1)
    with state.opened() as databases:
        keep(databases, gone)
        existing(databases).token(Scope.CLIPS_READ)
    main, vault = state.back_up_main(), state.back_up_vault()
    revoke_tokens(state)
    with state.opened() as databases:
        delete(databases, gone)
    state.at_ms += HOUR_MS
    for _ in range(times):
        state.restore(Which.MAIN, main)
    state.restore(Which.VAULT, vault)
    settled = state.start()
    assert settled is not None
    assert settled.is_aside_read
    assert (settled.deletions_carried, settled.tokens_ended) == (1, 1)
    with state.opened() as databases:
        assert is_deleted(databases, gone)
        assert not opens(databases, gone)
    assert tokens(state) == 0


def test_a_second_restore_that_is_killed_leaves_the_first_to_be_settled(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = clip_of(1)
    with state.opened() as databases:
        keep(databases, gone)
    main, vault = state.back_up_main(), state.back_up_vault()
    with state.opened() as databases:
        delete(databases, gone)
    state.restore(Which.VAULT, vault)
    state.restore(Which.MAIN, main)

    def power_cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", power_cut)
        with pytest.raises(KeyboardInterrupt):
            state.restore(Which.MAIN, main)
    clean_up(state.folder, state.at_ms)
    settled = state.start()
    assert settled is not None
    assert settled.deletions_carried == 1
    assert state.ask(lambda databases: is_deleted(databases, gone))


def test_what_only_a_backup_knew_that_was_never_started_from_counts_too(state: State) -> None:
    """On a new machine the newer backup was put back first, and then an older one."""
    gone = clip_of(1)
    with state.opened() as databases:
        keep(databases, gone)
        existing(databases).token(Scope.CLIPS_READ)
    older, vault = state.back_up_main("older"), state.back_up_vault().read_bytes()
    state.at_ms += HOUR_MS
    revoke_tokens(state)
    with state.opened() as databases:
        delete(databases, gone)
    fresh = State.make(state.outside)
    fresh.at_ms = state.at_ms
    (fresh.outside / "vault.bak").write_bytes(vault)
    for main in (state.back_up_main("newer"), older):
        fresh.restore(Which.MAIN, main)
    fresh.restore(Which.VAULT, fresh.outside / "vault.bak")
    settled = fresh.start()
    assert settled is not None
    assert (settled.deletions_carried, settled.tokens_ended) == (1, 1)
    assert not settled.is_aside_read, "what was deleted after the newer is still forgotten"


def test_a_main_set_aside_that_was_removed_too_early_is_told(state: State) -> None:
    main = state.back_up_main()
    state.restore(Which.MAIN, main)
    (in_use,) = state.folder.glob("main.db.before-restore-*")
    state.at_ms += HOUR_MS
    state.restore(Which.MAIN, main)
    in_use.unlink()
    settled = state.start()
    assert settled is not None
    assert not settled.is_aside_read
    assert state.start() is None


def test_a_token_that_is_younger_than_a_backup_was_not_revoked_in_it(state: State) -> None:
    older = state.back_up_main("older")
    with state.opened() as databases:
        existing(databases).token(Scope.CLIPS_READ)
    state.at_ms += HOUR_MS
    newer = state.back_up_main("newer")
    state.restore(Which.MAIN, older)
    state.restore(Which.MAIN, newer)
    settled = state.start()
    assert settled is not None
    assert settled.is_aside_read
    assert tokens(state) == 1


def test_a_backup_of_the_vault_grows_no_younger_by_being_put_back_and_set_aside(
    state: State,
) -> None:
    gone = clip_of(1)
    with state.opened() as databases:
        keep(databases, gone)
    first = state.back_up_vault()
    with state.opened() as databases:
        delete(databases, gone)
    state.at_ms += 23 * HOUR_MS
    state.restore(Which.VAULT, first)
    second = state.back_up_vault()
    state.at_ms += 60_000
    done = state.restore(Which.VAULT, second)
    (old,) = [
        path
        for path in (state.folder / "vault-backups").glob("before-restore-2*")
        if envelopes(gone)["file"] in path.read_bytes()
    ]
    assert any(str(old) in line for line in done)
    with opened_to_read(old) as copy:
        label = read_label(copy)
    assert label is not None
    assert label.made_at_ms == NOW_MS
    state.at_ms = NOW_MS + 24 * HOUR_MS
    with pytest.raises(BadBackupError, match="No such file"):
        state.restore(Which.VAULT, old)
    assert not old.exists()


def test_a_vault_as_old_as_backups_become_is_not_kept_when_another_takes_its_place(
    state: State,
) -> None:
    first = state.back_up_vault()
    state.at_ms += 23 * HOUR_MS
    second = state.back_up_vault()
    state.restore(Which.VAULT, first)
    state.at_ms += HOUR_MS
    done = state.restore(Which.VAULT, second)
    assert "What was there was as old as a backup of the vault may become, and is gone." in done
    with opened(state.folder / "vault.db") as copy:
        label = read_label(copy)
    assert label is not None
    (aside,) = (state.folder / "vault-backups").glob("before-restore-*")
    assert label.asides[0] == f"vault-backups/{aside.name}", "the one that was in use"


# ── what an older database lacks ───────────────────────────────────────────────────────


def test_an_older_vault_closes_what_it_cannot_open_and_waits_for_what_is_on_its_way(
    state: State,
) -> None:
    stored, coming = clip_of(1), clip_of(2)
    state.back_up_vault()
    with state.opened() as databases:
        keep(databases, stored)
        keep(databases, coming, is_stored=False)
    state.restore(Which.VAULT)
    settled = state.start()
    assert settled is not None
    assert settled.clips_buried == 1
    with state.opened() as databases:
        assert listed(databases) == [coming.id]
        keep(databases, coming)  # its doorbell announces it again
        assert opens(databases, coming)


def test_a_lost_vault_buries_nothing_and_can_still_be_restored(state: State) -> None:
    clip = clip_of(1)
    with state.opened() as databases:
        keep(databases, clip)
    main, vault = state.back_up_main(), state.back_up_vault()
    kept = vault.read_bytes()
    fresh = State.make(state.outside)
    fresh.restore(Which.MAIN, main)
    settled = fresh.start()
    assert settled is not None
    assert (settled.clips_buried, settled.clips_beyond_vault) == (0, 1)
    (fresh.outside / "vault.bak").write_bytes(kept)
    fresh.restore(Which.VAULT, fresh.outside / "vault.bak")
    settled = fresh.start()
    assert settled is not None
    assert settled.clips_beyond_vault == 0
    with fresh.opened() as databases:
        assert opens(databases, clip)


def test_envelopes_of_clips_that_main_does_not_know_wait(state: State) -> None:
    main = state.back_up_main()
    late = clip_of(1)
    with state.opened() as databases:
        keep(databases, late)
    state.restore(Which.MAIN, main)
    state.start()
    with state.opened() as databases:
        assert opens(databases, late)
        with databases.read() as unit:
            assert household_of_clip(unit, late.id) is None


def test_after_a_restore_nothing_goes_by_age_for_a_day(state: State) -> None:
    """Whoever put the wrong file in place can still put the right one there."""
    monotonic_s = [0.0]
    with state.opened() as databases, databases.write() as unit:
        note_found(unit, LOST_SINCE, ["a", "b"], NOW_MS - 48 * HOUR_MS)
        unit.commit()
    state.restore(Which.MAIN, state.back_up_main())
    state.start()
    with state.opened() as databases:
        with databases.read() as unit:
            assert found_since(unit, LOST_SINCE) == {}
        expiry = Expiry(databases, deleter_of(databases), lambda: NOW_MS, lambda: monotonic_s[0])
        assert not expiry.look_at_clock().is_believed
        monotonic_s[0] = 24 * 3600.0
        assert expiry.look_at_clock().is_believed


def deleter_of(databases: Databases) -> Deleter:
    key = SigningKey.generate(random_from("receipts"))
    return Deleter(databases, store_nowhere(), key, lambda: NOW_MS, lambda _: None)


def count(databases: Databases, table: type[SessionRow | TokenRow | ChallengeRow]) -> int:
    with databases.read() as unit:
        return len(unit.main.scalars(select(table)).all())


def test_sessions_end_and_tokens_stay_unless_they_ended_or_were_revoked(state: State) -> None:
    with state.opened() as databases:
        house = existing(databases)
        house.session()
        stays, revoked = house.token(Scope.CLIPS_READ), house.token(Scope.EVENTS_READ)
        assert stays != revoked
        with databases.write() as unit:
            unit.main.add(ChallengeRow(nonce=bytes(32), expires_at_ms=NOW_MS + 1))
            unit.commit()
    main = state.back_up_main()
    with state.opened() as databases, databases.write() as unit:
        row = unit.main.scalars(select(TokenRow).where(TokenRow.scopes == "events:read")).one()
        unit.main.delete(row)
        unit.commit()
    state.restore(Which.MAIN, main)
    settled = state.start()
    assert settled is not None
    assert (settled.sessions_ended, settled.tokens_ended) == (1, 1)
    with state.opened() as databases:
        assert [count(databases, t) for t in (SessionRow, ChallengeRow, TokenRow)] == [0, 0, 1]
    state.at_ms += 91 * 24 * HOUR_MS
    state.restore(Which.MAIN, main)
    settled = state.start()
    assert settled is not None
    assert settled.tokens_ended == 2


def test_a_database_made_anew_has_revoked_nothing(state: State) -> None:
    with state.opened() as databases:
        existing(databases).token(Scope.CLIPS_READ)
    fresh = State.make(state.outside)
    fresh.restore(Which.MAIN, state.back_up_main())
    settled = fresh.start()
    assert settled is not None
    assert not settled.is_aside_read, "and knows none"
    with fresh.opened() as databases:
        assert count(databases, TokenRow) == 1


def existing(databases: Databases) -> House:
    """Return the household that is in the databases already."""
    house = House.__new__(House)
    house._databases, house.owner = databases, OWNER
    house.head = first_head()
    return house


def test_what_the_household_signed_since_is_taken_again_with_the_keyring_of_the_vault(
    state: State,
) -> None:
    main = state.back_up_main()
    with state.opened() as databases:
        house = existing(databases)
        house.renew(epoch(2))
        after = house.head
    state.restore(Which.MAIN, main)
    state.start()
    with state.opened() as databases, databases.write() as unit:
        assert last_pass(unit, RESTORED) is not None
        append_statement(unit, HOUSEHOLD, after.signed, None, NOW_MS)
        assert read_file(unit, HOUSEHOLD, OWNER.member.member) == KEYRING_FILE
        unit.commit()
    with state.opened() as databases, databases.write() as unit:
        unknown = successor(after, epoch=epoch(3))
        with pytest.raises(ConflictError, match="comes with the keyring"):
            append_statement(unit, HOUSEHOLD, unknown, None, NOW_MS)


def test_a_start_that_is_cut_off_settles_again_and_a_settled_one_does_nothing(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = state.back_up_main()
    state.restore(Which.MAIN, main)

    def power_cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Databases, "forget_deleted", power_cut)
        with pytest.raises(KeyboardInterrupt):
            state.start()
    assert state.start() is not None
    assert state.start() is None
    with opened_to_read(state.folder / "main.db") as copy:
        assert read_label(copy) is None


def test_a_start_without_a_restore_settles_nothing(state: State) -> None:
    assert state.start() is None


@pytest.mark.parametrize("is_vault_restored", [True, False])
@pytest.mark.parametrize("lost", ["unreadable", "deleted", "made anew"])
def test_deletions_that_nobody_knows_of_any_more_are_told(
    state: State, lost: str, *, is_vault_restored: bool
) -> None:
    gone = clip_of(1)
    with state.opened() as databases:
        keep(databases, gone)
    main, vault = state.back_up_main(), state.back_up_vault()
    empty = State.make(state.outside).folder / "main.db"
    with state.opened() as databases:
        delete(databases, gone)
    if lost == "deleted":
        (state.folder / "main.db").unlink()
    else:
        data = NO_DATABASE if lost == "unreadable" else empty.read_bytes()
        (state.folder / "main.db").write_bytes(data)
    state.restore(Which.MAIN, main)
    if is_vault_restored:
        state.restore(Which.VAULT, vault)
    with capture_logs() as logged:
        settled = state.start()
    assert settled is not None
    assert not settled.is_aside_read
    told = [line for line in logged if line["event"] == "deletions_forgotten"]
    if not is_vault_restored:
        assert (settled.clips_buried, told) == (1, []), "the vault knows"
        return
    (line,) = told
    assert line["backup_of_ms"] == NOW_MS
    assert line["do"].startswith("doorstep status  ")
    with state.opened() as databases:
        assert opens(databases, gone)


# ── files that are no backup ───────────────────────────────────────────────────────────


def torn(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


def scribbled(data: bytes) -> bytes:
    return data[:4096] + os.urandom(len(data) - 4096)


BAD: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "torn": (torn, "it is damaged"),
    "garbage": (lambda data: os.urandom(len(data)), "it is no database"),
    "scribbled over": (scribbled, "it is damaged"),
    "empty": (lambda _: b"", "it is empty"),
    "a header alone": (lambda data: data[:100], "it is damaged"),
}


def everything_in(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock"
    }


@pytest.mark.parametrize("flaw", BAD)
def test_a_broken_file_is_refused_and_nothing_changed(state: State, flaw: str) -> None:
    spoil, said = BAD[flaw]
    for which, made in ((Which.MAIN, state.back_up_main()), (Which.VAULT, state.back_up_vault())):
        made.write_bytes(spoil(made.read_bytes()))
        before = everything_in(state.folder)
        with pytest.raises(BadBackupError, match=said) as caught:
            state.restore(which, made)
        assert "left as it is" in caught.value.safe
        assert caught.value.do
        assert everything_in(state.folder) == before


def change(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()
    return path


def test_a_file_of_another_kind_is_refused_with_its_reason(state: State) -> None:
    main, vault = state.back_up_main(), state.back_up_vault()
    newer = change(state.back_up_main("newer"), "UPDATE alembic_version SET version_num = '9999'")
    plain = change(state.back_up_main("plain"), f"DROP TABLE {LABEL_TABLE}")
    later = change(state.back_up_main("later"), "UPDATE doorstep_backup SET v = 2")
    odd = change(state.back_up_main("odd"), "UPDATE doorstep_backup SET database = 'attic'")
    mixed = change(state.back_up_main("mixed"), "CREATE TABLE keyring (x)")
    without = change(state.back_up_main("without"), "DROP TABLE alembic_version")
    lone = change(
        state.back_up_main("lone"),
        "INSERT INTO presence VALUES ('nobody', '', 0, 0, '', 0, NULL, NULL, NULL)",
    )
    before = everything_in(state.folder)
    for which, file, said in (
        (Which.MAIN, lone, "it is damaged: a row refers to one that is not there"),
        (Which.MAIN, vault, "it is one of vault, not of main"),
        (Which.VAULT, main, "it is one of main, not of vault"),
        (Which.MAIN, newer, "its tables are at 9999, which this version lacks"),
        (Which.MAIN, without, "its tables are at nothing"),
        (Which.MAIN, plain, "doorstep-cloud did not make it"),
        (Which.MAIN, later, "label is of version 2"),
        (Which.MAIN, odd, "label cannot be read"),
        (Which.MAIN, mixed, "it is one of main"),
        (Which.MAIN, state.outside, "cannot be read: Is a directory"),
        (Which.MAIN, state.outside / "nowhere", "cannot be read: No such file"),
        (Which.MAIN, state.outside / "newer" / "file", "cannot be read: Not a directory"),
    ):
        with pytest.raises(BadBackupError, match=said):
            state.restore(which, file)
    assert everything_in(state.folder) == before


@pytest.mark.parametrize("moment", ["1e300", "9e18", "-1", "'noon'", "253402300800000"])
@pytest.mark.parametrize("column", ["made_at_ms", "restored_at_ms"])
def test_a_label_with_no_moment_in_it_is_refused_in_words(
    state: State, column: str, moment: str
) -> None:
    file = change(state.back_up_main(), f"UPDATE doorstep_backup SET {column} = {moment}")  # noqa: S608  # ours
    with pytest.raises(BadBackupError, match="its label cannot be read"):
        state.restore(Which.MAIN, file)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "CREATE TRIGGER t AFTER INSERT ON clip BEGIN DELETE FROM clip; END",
            "an unknown trigger t",
        ),
        ("CREATE VIEW v AS SELECT 1", "an unknown view v"),
        ("CREATE TABLE t (x)", "an unknown table t"),
        ("CREATE INDEX i ON clip (device)", "an unknown index i"),
        ("DROP TABLE presence", "no table presence"),
        ("ALTER TABLE clip ADD COLUMN x", "other columns in table clip"),
    ],
)
def test_a_file_with_what_no_version_has_in_it_is_refused(
    state: State, statement: str, said: str
) -> None:
    file = change(state.back_up_main(), statement)
    before = everything_in(state.folder)
    with pytest.raises(BadBackupError, match=f"not as this service makes them, with {said}"):
        state.restore(Which.MAIN, file)
    assert everything_in(state.folder) == before


def test_what_sqlite_keeps_for_itself_is_in_nobodys_way(state: State) -> None:
    assert state.restore(Which.MAIN, change(state.back_up_main(), "ANALYZE"))


def test_a_pipe_is_refused_and_not_waited_for(state: State) -> None:
    os.mkfifo(state.outside / "pipe")
    # Whoever reads it all the same gets something, and is not waited for here.
    writing = os.open(state.outside / "pipe", os.O_RDWR)
    os.write(writing, bytes(4096))
    with pytest.raises(BadBackupError, match="no file, but a pipe"):
        state.restore(Which.MAIN, state.outside / "pipe")
    os.close(writing)


def test_a_file_that_may_not_be_read_is_told(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    main = state.back_up_main()
    open_ = Path.open

    def refuse(path: Path, mode: str = "r") -> object:
        if path == main:
            raise PermissionError(13, "Permission denied")
        return open_(path, mode)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(BadBackupError, match="Permission denied"):
        state.restore(Which.MAIN, main)


def test_a_backup_of_the_vault_that_is_a_day_old_is_refused_whatever_its_name(
    state: State,
) -> None:
    hidden = state.outside / "kept-elsewhere.db"
    hidden.write_bytes(state.back_up_vault().read_bytes())
    for at_ms, said in ((NOW_MS + 24 * HOUR_MS, "a day old"), (NOW_MS - HOUR_MS, "the future")):
        state.at_ms = at_ms
        with pytest.raises(TooOldError, match=said):
            state.restore(Which.VAULT, hidden)
        with pytest.raises(BadBackupError, match="no backup of the vault"):
            state.restore(Which.VAULT)
    assert list((state.folder / "vault-backups").iterdir()) == []


def test_an_older_schema_is_taken_and_brought_up_to_date_afterwards(state: State) -> None:
    older = state.outside / "older"
    engine, config = create_engine(f"sqlite:///{older}"), Config()
    config.set_main_option("script_location", "cloud/doorstep_cloud/migrations/main")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    with opened(older) as copy:
        write_label(copy, Label(Which.MAIN, NOW_MS))
    assert any("doorstep-cloud migrate" in line for line in state.restore(Which.MAIN, older))


# ── in its place, whole or not at all ──────────────────────────────────────────────────


def test_what_was_there_is_set_aside_and_can_be_put_back(state: State) -> None:
    main, vault = state.back_up_main(), state.back_up_vault()
    clip = clip_of(1)
    with state.opened() as databases:
        keep(databases, clip)
    state.at_ms += HOUR_MS
    done = state.restore(Which.VAULT, vault) + state.restore(Which.MAIN, main)
    (old_main,) = state.folder.glob("main.db.before-restore-*")
    (old_vault,) = (state.folder / "vault-backups").glob("before-restore-*")
    for aside in (old_main, old_vault):
        assert any(str(aside) in line for line in done)
        assert aside.stat().st_mode & 0o077 == 0
    assert state.ask(listed) == []
    state.at_ms += HOUR_MS
    state.restore(Which.MAIN, old_main)
    state.restore(Which.VAULT, old_vault)
    state.start()
    with state.opened() as databases:
        assert listed(databases) == [clip.id]
        assert opens(databases, clip)


def test_a_vault_set_aside_is_gone_within_a_day(state: State) -> None:
    state.restore(Which.VAULT, state.back_up_vault())
    state.at_ms += 24 * HOUR_MS
    clean_up(state.folder, state.at_ms)
    assert list((state.folder / "vault-backups").iterdir()) == []


def test_a_log_that_was_left_by_a_kill_goes_with_its_own_database(state: State) -> None:
    main = state.back_up_main()
    clip = clip_of(1)
    databases = Databases.open(state.folder)
    keep(databases, clip)
    log = (state.folder / "main.db-wal").read_bytes()
    assert log
    body = (state.folder / "main.db").read_bytes()
    databases.close()
    # As a SIGKILL leaves it.
    (state.folder / "main.db").write_bytes(body)
    (state.folder / "main.db-wal").write_bytes(log)
    state.restore(Which.MAIN, main)
    assert not (state.folder / "main.db-wal").exists()
    assert state.ask(listed) == []
    (aside,) = state.folder.glob("main.db.before-restore-*")
    with opened_to_read(aside) as copy:
        assert copy.execute("SELECT id FROM clip").fetchall() == [(clip.id,)]


def test_a_damaged_database_is_set_aside_as_it_is(state: State) -> None:
    main = state.back_up_main()
    (state.folder / "main.db").write_bytes(NO_DATABASE)
    state.restore(Which.MAIN, main)
    (aside,) = state.folder.glob("main.db.before-restore-*Z")
    assert aside.read_bytes() == NO_DATABASE
    assert state.start() is not None


def test_a_log_that_a_damaged_database_cannot_take_in_is_not_taken_for_the_copys(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = state.back_up_main()
    (state.folder / "main.db-wal").write_bytes(b"its log")
    # As if SQLite could open neither.
    for opening in ("_before", "_close_up"):
        monkeypatch.setattr(
            f"doorstep_cloud.app.restoring.{opening}", lambda *_: Label(Which.MAIN, NOW_MS)
        )
    state.restore(Which.MAIN, main)
    (log,) = state.folder.glob("main.db.before-restore-*Z-wal")
    assert log.read_bytes() == b"its log"
    assert not (state.folder / "main.db-wal").exists()


def test_without_a_database_before_nothing_is_set_aside(state: State) -> None:
    main = state.back_up_main()
    (state.folder / "main.db").unlink()
    assert not any("before-restore" in line for line in state.restore(Which.MAIN, main))
    assert state.start() is not None


def test_a_restore_into_nothing_says_what_comes_first(state: State) -> None:
    main = state.back_up_main()
    state.folder = state.outside / "nowhere"
    with pytest.raises(StateFolderError) as caught:
        state.restore(Which.MAIN, main)
    assert caught.value.do.startswith("doorstep-cloud migrate")


def test_a_restore_is_refused_while_the_service_runs(state: State) -> None:
    main = state.back_up_main()
    with held(state.folder), pytest.raises(StateFolderError, match="works on"):
        state.restore(Which.MAIN, main)


def test_a_full_disk_changes_nothing(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    main, vault = state.back_up_main(), state.back_up_vault()
    before = everything_in(state.folder)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("os.fsync", "doorstep_cloud.app.restoring.make_private"):
        for which, file in ((Which.MAIN, main), (Which.VAULT, vault)):
            with monkeypatch.context() as patch:
                patch.setattr(name, full)
                with pytest.raises(RestoreUnfinishedError, match="No space left") as caught:
                    state.restore(which, file)
            assert "left as it is" in caught.value.safe
    assert everything_in(state.folder).keys() == before.keys()


LINK = os.link
STEPS = ("os.link", "pathlib.Path.replace", "pathlib.Path.rename", "os.fsync")


@pytest.mark.parametrize("which", Which)
@pytest.mark.parametrize("is_sound", [True, False])
def test_a_restore_that_is_killed_at_any_step_leaves_one_database_or_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: Which, *, is_sound: bool
) -> None:
    """The state before each step is kept, and each is started from afterwards."""
    state = State.make(tmp_path)
    state.found()
    file = state.back_up_main() if which is Which.MAIN else state.back_up_vault()
    clip = clip_of(1)
    with state.opened() as databases:
        keep(databases, clip, is_stored=False)
    if not is_sound:
        (state.folder / which.file).write_bytes(NO_DATABASE)
        (state.folder / f"{which.file}-wal").write_bytes(b"no log")
    taken: list[Path] = []

    def keeping(real: Callable[..., object]) -> Callable[..., object]:
        def step(*words: object, **options: object) -> object:
            place = tmp_path / f"step-{len(taken)}"
            # Links stay links: as `cp -a` copies.
            copy_tree(state.folder, place)
            taken.append(place)
            return real(*words, **options)

        return step

    with monkeypatch.context() as patch:
        for name in STEPS:
            module, _, attribute = name.rpartition(".")
            owner = {"os": os, "pathlib.Path": Path}[module]
            patch.setattr(owner, attribute, keeping(getattr(owner, attribute)))
        state.restore(which, file)
    assert len(taken) >= 6
    for place in [*taken, state.folder]:
        left = State(place, state.outside, state.at_ms)
        current = (place / which.file).read_bytes()
        if current == NO_DATABASE:
            # As damaged as before; the same command again mends it.
            left.restore(which, file)
        clean_up(place, state.at_ms)
        assert not list(place.glob("*.restoring*"))
        assert (place / which.file).stat().st_nlink == 1
        left.start()
        with left.opened() as databases:
            if which is Which.VAULT:
                assert listed(databases) == [clip.id]
            else:
                assert listed(databases) in ([clip.id], [])
        assert left.start() is None


def copy_tree(source: Path, target: Path) -> None:
    """Copy a folder with the links among its files."""
    seen: dict[int, Path] = {}
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir(parents=True)
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        inode = path.stat().st_ino
        if inode in seen:
            LINK(seen[inode], copy)
        else:
            copy.write_bytes(path.read_bytes())
            seen[inode] = copy


def test_a_second_name_that_a_killed_restore_gave_is_taken_away(state: State) -> None:
    aside = state.folder / "main.db.before-restore-20260921T150000.000Z"
    os.link(state.folder / "main.db", aside)
    aside.with_name(f"{aside.name}-wal").write_bytes(b"its log")
    clean_up(state.folder, NOW_MS)
    assert not aside.exists()
    assert (state.folder / "main.db-wal").read_bytes() == b"its log"


def test_a_label_that_a_killed_restore_wrote_means_nothing(state: State) -> None:
    with opened(state.folder / "main.db") as current:
        write_label(current, Label(Which.MAIN, NOW_MS))
    with state.opened() as databases:
        existing(databases).session()
    assert state.start() is None
    with state.opened() as databases:
        assert count(databases, SessionRow) == 1
        with databases.read() as unit:
            names = unit.main.execute(text("SELECT name FROM sqlite_master")).scalars().all()
    assert LABEL_TABLE not in names
