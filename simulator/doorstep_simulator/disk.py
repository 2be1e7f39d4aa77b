"""A disk that forgets at a power cut what a real one may forget.

It records every single step that reaches the file system. Power can be cut after any of
them, and what is found afterwards is as unkind as the manuals allow:

- data that no fdatasync covered survives in any subset of its 4 KiB pages, and the last
  of those pages may be torn anywhere (a flash page is written whole or not, but no kernel
  promises which pages it wrote first);
- the name of a new, moved or removed file is durable only once its folder was synced; of
  what was not, a beginning in order survives, as a journal leaves it;
- what was synced is there.

A process that is killed cannot show any of this: the page cache survives it.
"""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from doorstep_device.ports.disk import (
    DiskFile,
    DiskFullError,
    DiskReadOnlyError,
    PathMissingError,
)

PAGE_BYTES: Final = 4096
_NO_PAGE: Final = bytes(PAGE_BYTES)
_PLENTY_BYTES: Final = 1 << 40


class PowerCutError(Exception):
    """The power is gone: nothing more is done on this disk, ever.

    Not one of the product's errors, so that nothing in the product catches it.
    """


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the file system: its name, its path, and what else it needs.

    Attributes:
        do: Which step; see `FileSystem.do`.
        path: What it is done to.
        offset: Where data goes, or the length that a file is cut to.
        data: What is written.
        new_name: What a rename makes of the last part of `path`.
    """

    do: str
    path: str
    offset: int = 0
    data: bytes = b""
    new_name: str = ""

    def __str__(self) -> str:
        if self.do == "write":
            return f"write {self.path} {self.offset}+{len(self.data)}"
        return f"{self.do} {self.path} {self.new_name or self.offset or ''}".rstrip()


@dataclass(slots=True)
class _Content:
    """A sparse file's bytes: pages that were written, and a length."""

    size: int = 0
    pages: dict[int, bytes] = field(default_factory=dict)

    def copy(self) -> "_Content":
        return _Content(self.size, dict(self.pages))

    def write(self, offset: int, data: bytes) -> None:
        for page, start, piece in _by_page(offset, data):
            old = self.pages.get(page, _NO_PAGE)
            self.pages[page] = old[:start] + piece + old[start + len(piece) :]
        self.size = max(self.size, offset + len(data))

    def read(self, offset: int, size: int) -> bytes:
        end = min(offset + size, self.size)
        if offset >= end:
            return b""
        first = offset // PAGE_BYTES
        pages = range(first, (end - 1) // PAGE_BYTES + 1)
        joined = b"".join(self.pages.get(page, _NO_PAGE) for page in pages)
        return joined[offset - first * PAGE_BYTES :][: end - offset]

    def truncate(self, size: int) -> None:
        last = size // PAGE_BYTES
        self.pages = {page: data for page, data in self.pages.items() if page <= last}
        if last in self.pages:
            kept = self.pages[last][: size % PAGE_BYTES]
            self.pages[last] = kept.ljust(PAGE_BYTES, b"\0")
        self.size = size


@dataclass(slots=True)
class _File:
    """A file: what readers see, what is durable, and what lies between."""

    seen: _Content = field(default_factory=_Content)
    durable: _Content = field(default_factory=_Content)
    unsynced: list[Step] = field(default_factory=list)

    def sync(self) -> None:
        self.durable = self.seen.copy()
        self.unsynced.clear()

    def after_cut(self, luck: random.Random) -> "_File":
        found = self.durable.copy()
        for place, step in enumerate(self.unsynced):
            if step.do == "truncate":
                if _is_kept(luck):
                    found.truncate(step.offset)
                continue
            pieces = [piece for piece in _by_page(step.offset, step.data) if _is_kept(luck)]
            for number, (page, start, data) in enumerate(pieces):
                is_last = place == len(self.unsynced) - 1 and number == len(pieces) - 1
                kept = data[: luck.randint(0, len(data))] if is_last else data
                found.write(page * PAGE_BYTES + start, kept)
        return _File(found, found.copy())


@dataclass(frozen=True, slots=True)
class _Change:
    """A change of one folder's names: one goes, one comes, or both at once."""

    gone: str | None
    come: str | None
    node: "_Node | None"

    def apply(self, names: "dict[str, _Node]") -> None:
        if self.gone is not None:
            names.pop(self.gone, None)
        if self.come is not None and self.node is not None:
            names[self.come] = self.node


@dataclass(slots=True)
class _Folder:
    """A folder: the names that are seen, those that are durable, and what lies between."""

    seen: "dict[str, _Node]" = field(default_factory=dict)
    durable: "dict[str, _Node]" = field(default_factory=dict)
    unsynced: list[_Change] = field(default_factory=list)

    def change(self, gone: str | None, come: str | None, node: "_Node | None") -> None:
        change = _Change(gone, come, node)
        change.apply(self.seen)
        self.unsynced.append(change)

    def sync(self) -> None:
        self.durable = dict(self.seen)
        self.unsynced.clear()

    def after_cut(self, luck: random.Random) -> "_Folder":
        names = dict(self.durable)
        for change in self.unsynced[: luck.randint(0, len(self.unsynced))]:
            change.apply(names)
        found = {name: node.after_cut(luck) for name, node in sorted(names.items())}
        return _Folder(found, dict(found))


_Node: TypeAlias = _File | _Folder


class FileSystem:
    """What lies under a `SimulatedDisk`: files, folders, and every step done to them.

    Attributes:
        steps: In order.
        is_read_only: Whether every further step fails as on a worn card.
        ends_at: How many steps there will have been when the power goes; None means never.
    """

    def __init__(self, origin: _Folder, capacity_bytes: int | None = None) -> None:
        self.steps: list[Step] = []
        self.is_read_only = False
        self.ends_at: int | None = None
        self._capacity_bytes: Final = capacity_bytes
        self._origin: Final = origin
        self._root: Final = _copy_durable(origin)

    def after_cut(self, steps: int | None, seed: int) -> "FileSystem":
        """Return what is found when the power went behind the first ``steps`` steps."""
        replayed = FileSystem(self._origin)
        for step in self.steps[:steps]:
            replayed.do(step)
        # Not hash(): that of a text differs from process to process.
        luck = hashlib.sha256(f"{seed}/{len(replayed.steps)}".encode()).digest()
        found = replayed._root.after_cut(random.Random(luck))
        return FileSystem(found, self._capacity_bytes)

    def do(self, step: Step) -> None:
        """Do ``step`` and remember it.

        Raises:
            PowerCutError: The power is gone.
            DiskFullError, DiskReadOnlyError, PathMissingError: As on a real disk.
        """
        self.require_power()
        if self.is_read_only:
            raise DiskReadOnlyError("this simulated disk takes no more writes")
        match step.do:
            case "sync_folder":
                self.folder(step.path).sync()
            case "sync_file":
                self.file(step.path).sync()
            case "write" | "truncate":
                self._change_file(step)
            case _:
                self._change_folder(step)
        self.steps.append(step)

    def find(self, path: str) -> _File | _Folder | None:
        """Return what is at ``path``."""
        self.require_power()
        node: _Node | None = self._root
        for name in path.split("/") if path else ():
            if not isinstance(node, _Folder):
                return None
            node = node.seen.get(name)
        return node

    def file(self, path: str) -> _File:
        """Return the file at ``path``, or raise `PathMissingError`."""
        node = self.find(path)
        if not isinstance(node, _File):
            raise PathMissingError(f"there is no file at {path}")
        return node

    def folder(self, path: str) -> _Folder:
        """Return the folder at ``path``, or raise `PathMissingError`."""
        node = self.find(path)
        if not isinstance(node, _Folder):
            raise PathMissingError(f"there is no folder at {path}")
        return node

    def free_bytes(self) -> int:
        """Return the room left for data, in whole pages."""
        self.require_power()
        if self._capacity_bytes is None:
            return _PLENTY_BYTES
        return self._capacity_bytes - _used_bytes(self._root)

    def require_power(self) -> None:
        """Raise `PowerCutError` if the power is gone."""
        if self.ends_at is not None and len(self.steps) >= self.ends_at:
            raise PowerCutError

    def _change_file(self, step: Step) -> None:
        file = self.file(step.path)
        if step.do == "truncate":
            file.seen.truncate(step.offset)
        else:
            new = {page for page, _, _ in _by_page(step.offset, step.data)} - file.seen.pages.keys()
            if PAGE_BYTES * len(new) > self.free_bytes():
                raise DiskFullError("this simulated disk has no room left")
            file.seen.write(step.offset, step.data)
        file.unsynced.append(step)

    def _change_folder(self, step: Step) -> None:
        folder, name = self.folder(_parent(step.path)), _name(step.path)
        match step.do:
            case "make_file":
                folder.change(None, name, _File())
            case "make_folder":
                folder.change(None, name, _Folder())
            case "unlink":
                folder.change(name, None, None)
            case _:
                if (node := self.find(step.path)) is None:
                    raise PathMissingError(f"there is nothing at {step.path}")
                folder.change(name, step.new_name, node)


class SimulatedDisk:
    """Implements `Disk` in memory, and can lose its power."""

    def __init__(self, *, capacity_bytes: int | None = None, seed: int = 0) -> None:
        """Make an empty disk.

        Args:
            capacity_bytes: Room for data, in whole pages; None is as good as endless.
            seed: What survives a cut, where that is a matter of luck.
        """
        self._seed: Final = seed
        self._files = FileSystem(_Folder(), capacity_bytes)

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every step that was done, in order."""
        return tuple(self._files.steps)

    def make_read_only(self, *, is_read_only: bool = True) -> None:
        """Let every later write fail as on a worn card, or work again."""
        self._files.is_read_only = is_read_only

    def cut_after(self, steps: int) -> None:
        """Cut the power after so many more steps; each later call raises `PowerCutError`."""
        self._files.ends_at = len(self._files.steps) + steps

    def after_cut(self, steps: int | None = None, *, seed: int = 0) -> "SimulatedDisk":
        """Return the disk as it is found after a cut behind the first ``steps`` steps.

        Args:
            steps: None means all that were done. This disk itself stays as it is.
            seed: For another luck with the same steps.
        """
        found = SimulatedDisk(seed=self._seed + 1)
        found._files = self._files.after_cut(steps, seed=self._seed + seed)
        return found

    def everything(self) -> Iterator[tuple[str, bytes]]:
        """Yield path and bytes of every file, holes left out: to look for what must not be."""
        yield from _walk("", self._files.folder(""))

    def read(self, path: str) -> bytes:
        """As `Disk.read`."""
        content = self._files.file(path).seen
        return content.read(0, content.size)

    def exists(self, path: str) -> bool:
        """As `Disk.exists`."""
        return self._files.find(path) is not None

    def list_dir(self, path: str) -> list[str]:
        """As `Disk.list_dir`."""
        return sorted(self._files.folder(path).seen)

    def make_dir(self, path: str) -> None:
        """As `Disk.make_dir`."""
        if not self.exists(path):
            self._files.do(Step("make_folder", path))
        self._files.do(Step("sync_folder", _parent(path)))

    def write_whole(self, path: str, data: bytes) -> None:
        """As `Disk.write_whole`."""
        new = f"{path}.tmp"
        self._files.do(Step("make_file", new))
        try:
            self._files.do(Step("write", new, data=data))
        except DiskFullError:
            self._files.do(Step("unlink", new))
            raise
        self._files.do(Step("sync_file", new))
        self._files.do(Step("rename", new, new_name=_name(path)))
        self._files.do(Step("sync_folder", _parent(path)))

    def append_synced(self, path: str, data: bytes) -> None:
        """As `Disk.append_synced`."""
        is_new = not self.exists(path)
        if is_new:
            self._files.do(Step("make_file", path))
        self._files.do(Step("write", path, self._files.file(path).seen.size, data))
        self._files.do(Step("sync_file", path))
        if is_new:
            self._files.do(Step("sync_folder", _parent(path)))

    def open(self, path: str) -> DiskFile:
        """As `Disk.open`."""
        if not self.exists(path):
            self._files.do(Step("make_file", path))
            self._files.do(Step("sync_folder", _parent(path)))
        self._files.file(path)
        return _OpenFile(self._files, path)

    def rename(self, old: str, new: str) -> None:
        """As `Disk.rename`."""
        self._files.do(Step("rename", old, new_name=_name(new)))
        self._files.do(Step("sync_folder", _parent(old)))

    def remove(self, path: str) -> None:
        """As `Disk.remove`."""
        self._files.file(path)
        self._files.do(Step("unlink", path))
        self._files.do(Step("sync_folder", _parent(path)))

    def remove_tree(self, path: str) -> None:
        """As `Disk.remove_tree`."""
        self._unlink_tree(path, self._files.folder(path))
        self._files.do(Step("sync_folder", _parent(path)))

    def free_bytes(self) -> int:
        """As `Disk.free_bytes`."""
        return self._files.free_bytes()

    def _unlink_tree(self, path: str, folder: _Folder) -> None:
        for name, node in sorted(folder.seen.items()):
            if isinstance(node, _Folder):
                self._unlink_tree(f"{path}/{name}", node)
            else:
                self._files.do(Step("unlink", f"{path}/{name}"))
        self._files.do(Step("unlink", path))


class _OpenFile(DiskFile):
    """One open file of a `SimulatedDisk`."""

    def __init__(self, files: FileSystem, path: str) -> None:
        self._files = files
        self._path = path

    def write_at(self, offset: int, data: bytes) -> None:
        """As `DiskFile.write_at`."""
        self._files.do(Step("write", self._path, offset, data))

    def read_at(self, offset: int, size: int) -> bytes:
        """As `DiskFile.read_at`."""
        return self._files.file(self._path).seen.read(offset, size)

    def size(self) -> int:
        """As `DiskFile.size`."""
        return self._files.file(self._path).seen.size

    def truncate(self, size: int) -> None:
        """As `DiskFile.truncate`."""
        self._files.do(Step("truncate", self._path, size))

    def sync(self) -> None:
        """As `DiskFile.sync`."""
        self._files.do(Step("sync_file", self._path))

    def close(self) -> None:
        """As `DiskFile.close`."""


def _is_kept(luck: random.Random) -> bool:
    return bool(luck.getrandbits(1))


def _by_page(offset: int, data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield (page, where in it, bytes) for each page that ``data`` at ``offset`` touches."""
    view = memoryview(data)
    while view:
        page, start = divmod(offset, PAGE_BYTES)
        piece = view[: PAGE_BYTES - start]
        yield page, start, bytes(piece)
        view, offset = view[len(piece) :], offset + len(piece)


def _copy_durable(folder: _Folder) -> _Folder:
    """Return a copy of a folder in which everything is durable, as after a cut."""
    found: dict[str, _Node] = {}
    for name, node in folder.durable.items():
        if isinstance(node, _Folder):
            found[name] = _copy_durable(node)
        else:
            found[name] = _File(node.durable.copy(), node.durable.copy())
    return _Folder(found, dict(found))


def _walk(path: str, folder: _Folder) -> Iterator[tuple[str, bytes]]:
    for name, node in sorted(folder.seen.items()):
        if isinstance(node, _Folder):
            yield from _walk(f"{path}{name}/", node)
        else:
            pages = node.seen.pages
            yield f"{path}{name}", b"".join(pages[page] for page in sorted(pages))


def _used_bytes(folder: _Folder) -> int:
    return sum(
        _used_bytes(node) if isinstance(node, _Folder) else PAGE_BYTES * len(node.seen.pages)
        for node in folder.seen.values()
    )


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _name(path: str) -> str:
    return path.rpartition("/")[2]
