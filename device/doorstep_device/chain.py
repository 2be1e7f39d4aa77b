"""The chain of this doorbell's manifests: which number comes next, and after which."""

from dataclasses import dataclass
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from doorstep_device.ports.disk import Disk, PathMissingError
from doorstep_shared.encoding import Base64Bytes32
from doorstep_shared.errors import BadMessageError
from doorstep_shared.fields import Counter

CHAIN_PATH: Final = "outbox/chain.json"


class _ChainFile(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    v: Literal[1] = 1
    seq: Counter
    sha256: Base64Bytes32 | None


@dataclass(frozen=True, slots=True)
class Link:
    """The newest manifest.

    Attributes:
        seq: Its number; 0 before the first.
        sha256: Of its body; None before the first.
    """

    seq: int = 0
    sha256: bytes | None = None


class Chain:
    """Keeps the newest link.

    A manifest becomes durable in its clip's folder first, and here second. A cut in
    between is mended at the start, by `catch_up`. So `save` has to be done before the folder
    may go.
    """

    def __init__(self, disk: Disk, newest: Link) -> None:
        self.newest = newest
        self._saved = newest
        self._disk: Final = disk

    @classmethod
    def open(cls, disk: Disk) -> Self:
        """Return the chain as it was saved, or a new one.

        Raises:
            BadMessageError: It cannot be read; a new one would use numbers twice.
        """
        try:
            file = _ChainFile.model_validate_json(disk.read(CHAIN_PATH))
        except PathMissingError:
            return cls(disk, Link())
        except ValidationError as error:
            raise BadMessageError(
                "the chain of this doorbell's manifests cannot be read"
            ) from error
        return cls(disk, Link(file.seq, file.sha256))

    def catch_up(self, link: Link) -> None:
        """Take note of a manifest found in a clip's folder."""
        if link.seq > self.newest.seq:
            self.newest = link

    def save(self) -> None:
        """Make the newest link durable, if it is not."""
        if self.newest != self._saved:
            file = _ChainFile(seq=self.newest.seq, sha256=self.newest.sha256)
            self._disk.write_whole(CHAIN_PATH, file.model_dump_json().encode())
            self._saved = self.newest
