"""A state folder with a household and clips in it, for tests that copy it and put it back."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from doorstep_cloud.app.backups import Backups
from doorstep_cloud.app.restoring import restore
from doorstep_cloud.app.settling import Settled, settle_restored
from doorstep_cloud.clips.deletion import bury, drop_envelopes
from doorstep_cloud.clips.service import announce, record_stored
from doorstep_cloud.store.backups import Which
from doorstep_cloud.store.databases import Databases
from doorstep_shared.manifest import ObjectName
from tests.cloud_world import House, migrated_folder
from tests.people import FRONT_DOOR, HOUSEHOLD, NOW_MS, OWNER, epoch_identity
from tests.scripted_doorbell import Clip, make_clip

HOUR_MS = 3600 * 1000
RECIPIENT = epoch_identity(1).recipient()


def no_progress(_done: int, _total: int) -> None:
    """Nobody watches."""


def clip_of(seed: int) -> Clip:
    """Return the clip of that number, sealed to our household's key."""
    sizes = dict.fromkeys(ObjectName, 400)
    return make_clip(FRONT_DOOR, HOUSEHOLD, RECIPIENT, seed=seed, sizes=sizes)


def keep(databases: Databases, clip: Clip, *, is_stored: bool = True, now_ms: int = NOW_MS) -> None:
    """Take a clip from its doorbell."""
    envelopes = {name: box.envelope for name, box in clip.boxes.items()}
    with databases.write() as unit:
        announce(unit, clip.signed, clip.manifest, envelopes, now_ms)
        for name in clip.boxes if is_stored else ():
            unit.main.flush()
            record_stored(unit, clip.id, name, b"receipt", now_ms)
        unit.commit()


def delete(databases: Databases, clip: Clip, now_ms: int = NOW_MS) -> None:
    """Delete a clip, as its owner would."""
    with databases.write() as unit:
        bury(unit, [clip.id], now_ms)
        drop_envelopes(unit, [clip.id])
        unit.commit()
    databases.forget_deleted()


@dataclass(slots=True)
class State:
    """A service's state folder, and its clock.

    Attributes:
        outside: A folder that is not in it.
    """

    folder: Path
    outside: Path
    at_ms: int = NOW_MS

    @classmethod
    def make(cls, parent: Path) -> "State":
        """Return a migrated state folder below ``parent``."""
        shutil.copytree(migrated_folder(), parent / "state")
        (parent / "state").chmod(0o700)
        (parent / "outside").mkdir()
        return cls(parent / "state", parent / "outside")

    @contextmanager
    def opened(self) -> Iterator[Databases]:
        """Open the databases, as a service does while it runs."""
        databases = Databases.open(self.folder)
        try:
            yield databases
        finally:
            databases.close()

    def found(self) -> House:
        """Found our household; the databases are closed again."""
        with self.opened() as databases:
            return House(databases, OWNER, HOUSEHOLD)

    def back_up_main(self, name: str = "main.bak") -> Path:
        """Return a new backup of main."""
        return self.backups.make(Which.MAIN, self.outside / name, no_progress)

    def back_up_vault(self) -> Path:
        """Return a new backup of the vault."""
        return self.backups.make(Which.VAULT, None, no_progress)

    @property
    def backups(self) -> Backups:
        """Whoever makes them."""
        return Backups(self.folder, lambda: self.at_ms)

    def restore(self, which: Which, file: Path | None = None) -> list[str]:
        """Put a backup in place."""
        return restore(self.folder, which, file, self.at_ms, no_progress)

    def start(self) -> Settled | None:
        """Do what a start of the service does to restored databases."""
        with self.opened() as databases:
            return settle_restored(databases, self.folder, self.at_ms)

    def holds(self, wanted: Mapping[str, bytes]) -> set[str]:
        """Return which of ``wanted`` stands in any file of the folder."""
        files = [path.read_bytes() for path in self.folder.rglob("*") if path.is_file()]
        return {what for what, form in wanted.items() if any(form in data for data in files)}

    def ask(self, question: Callable[[Databases], object]) -> object:
        """Return what ``question`` finds in the databases."""
        with self.opened() as databases:
            return question(databases)
