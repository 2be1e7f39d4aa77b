"""The home folder: this person's keys and what they have verified so far.

Everything in it is private (0700, files 0600) and written whole: to a
temporary file, synced, renamed. The service never sees the folder; losing it
means losing the keys in it.
"""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from doorstep_client.errors import DamagedHomeError, NoHouseholdError, UnwritableError
from doorstep_shared.age_keys import Identity
from doorstep_shared.errors import BadMessageError, DoorstepError
from doorstep_shared.ids import HouseholdId, MemberId, Random
from doorstep_shared.signing import Signed, SigningKey, decode_signed
from doorstep_shared.unseal import parse_identity_file

ENVIRONMENT_NAME: Final = "DOORSTEP_HOME"


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """Which household this computer belongs to, and where.

    Attributes:
        url: Of the service, without a slash at its end.
        root: The household's root, hex.
    """

    url: str
    household: HouseholdId
    member: MemberId
    root: str


@dataclass(frozen=True, slots=True)
class MemberKeys:
    """This person's own private keys."""

    sign: SigningKey
    age: Identity


@dataclass(frozen=True, slots=True)
class Founding:
    """A household that is drawn but not yet founded.

    Attributes:
        statement: Statement 0, signed.
        epoch_key: The private half of epoch 1.
    """

    statement: Signed
    epoch_key: Identity


class Home:
    """Reads and writes the folder of one person.

    Attributes:
        folder: Where it is; made on the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def default(cls) -> "Home":
        """Return the home named by ``DOORSTEP_HOME``, else the usual one."""
        data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        return cls(Path(os.environ.get(ENVIRONMENT_NAME) or Path(data) / "doorstep"))

    def account(self) -> ServiceAccount:
        """Return the household this computer belongs to.

        Raises:
            NoHouseholdError: None yet.
            DamagedHomeError: The file is not ours.
        """
        if (data := self._read("service.json")) is None:
            raise NoHouseholdError(
                f"this computer belongs to no household yet ({self.folder} holds no account)",
                safe="Nothing was sent.",
                do="doorstep init URL --invite CODE        (your operator gives you both)",
            )
        try:
            return ServiceAccount(**json.loads(data))
        except (ValueError, TypeError) as error:
            raise self._damaged("service.json") from error

    def has_account(self) -> bool:
        """Return whether this computer belongs to a household."""
        return (self.folder / "service.json").exists()

    def save_account(self, account: ServiceAccount) -> None:
        """Store which household this computer belongs to."""
        self._write("service.json", json.dumps(asdict(account), indent=1).encode())

    def keys(self) -> MemberKeys:
        """Return this person's keys.

        Raises:
            NoHouseholdError: There are none yet.
            DamagedHomeError: A file is not ours.
        """
        seed, age = self._read("signing.key"), self._read("age.key")
        if seed is None or age is None:
            raise NoHouseholdError(
                f"there are no keys in {self.folder}",
                do="doorstep init URL --invite CODE",
            )
        try:
            sign = SigningKey(bytes.fromhex(seed.decode()))
            keys = MemberKeys(sign, parse_identity_file(age.decode())[0])
            _ = keys.sign.public  # a seed of another length fails here, and not later
        except (ValueError, DoorstepError) as error:
            raise self._damaged("signing.key or age.key") from error
        return keys

    def keys_or_new(self, random: Random) -> MemberKeys:
        """Return this person's keys; make and store them when there are none."""
        if not (self.folder / "age.key").exists():
            keys = MemberKeys(SigningKey.generate(random), Identity.generate(random))
            self._write("signing.key", keys.sign.seed.hex().encode() + b"\n")
            self._write(
                "age.key", f"# your Doorstep key: keep it to yourself\n{keys.age}\n".encode()
            )
        return self.keys()

    def chain(self) -> tuple[Signed, ...]:
        """Return the household's statements verified so far, oldest first."""
        if (data := self._read("statements.json")) is None:
            return ()
        try:
            return tuple(decode_signed(line) for line in data.splitlines())
        except DoorstepError as error:
            raise self._damaged("statements.json") from error

    def save_chain(self, chain: Sequence[Signed]) -> None:
        """Store a verified chain."""
        self._write("statements.json", b"".join(s.encode() + b"\n" for s in chain))

    def policies(self) -> tuple[Signed, ...]:
        """Return the versions of the consent policy verified so far, oldest first."""
        if (data := self._read("consent.json")) is None:
            return ()
        try:
            return tuple(decode_signed(line) for line in data.splitlines())
        except DoorstepError as error:
            raise self._damaged("consent.json") from error

    def save_policies(self, policies: Sequence[Signed]) -> None:
        """Store verified versions: a service that was put back from a backup may lack some."""
        self._write("consent.json", b"".join(s.encode() + b"\n" for s in policies))

    def founding(self) -> Founding | None:
        """Return the household drawn by an `init` that did not come to its end."""
        if (data := self._read("founding")) is None:
            return None
        try:
            statement, epoch_key = data.splitlines()
            return Founding(decode_signed(statement), Identity.parse(epoch_key.decode()))
        except (ValueError, DoorstepError) as error:
            raise self._damaged("founding") from error

    def save_founding(self, founding: Founding) -> None:
        """Store a household before it is founded."""
        self._write("founding", founding.statement.encode() + f"\n{founding.epoch_key}\n".encode())

    def forget_founding(self) -> None:
        """Remove the copy that `save_founding` made."""
        (self.folder / "founding").unlink(missing_ok=True)

    def session(self) -> str | None:
        """Return the session token, if this computer is signed in."""
        data = self._read("session")
        return None if data is None else data.decode().strip()

    def save_session(self, token: str) -> None:
        """Store a session token."""
        self._write("session", token.encode() + b"\n")

    def save_claim(self, claim_id: str, text: str) -> Path:
        """Store a claim's text until its doorbell is listed; its setup key is needed later."""
        return self._write(f"claims/{claim_id}.txt", text.encode() + b"\n")

    def claims(self) -> dict[str, str]:
        """Return the texts of claims not yet answered, by claim id."""
        folder = self.folder / "claims"
        files = sorted(folder.glob("*.txt")) if folder.is_dir() else []
        return {file.stem: file.read_text().strip() for file in files}

    def keep_claim_of(self, claim_id: str, device: str) -> None:
        """Move an answered claim's text to the doorbell it belongs to."""
        target = self.folder / "doorbells" / f"{device}.txt"
        self._make_folder(target.parent)
        (self.folder / "claims" / f"{claim_id}.txt").rename(target)

    def claims_ever(self) -> list[str]:
        """Return the texts of all claims made here, answered or not."""
        folder = self.folder / "doorbells"
        answered = sorted(folder.glob("*.txt")) if folder.is_dir() else []
        return [*self.claims().values(), *(file.read_text().strip() for file in answered)]

    def service_ca(self) -> str | None:
        """Return the certificate (PEM) of the service's CA, if it is pinned."""
        data = self._read("service-ca.pem")
        return None if data is None else data.decode()

    def save_service_ca(self, pem: str) -> None:
        """Pin the service's CA."""
        self._write("service-ca.pem", pem.encode())

    def keep_deletion(self, receipt: Signed) -> None:
        """Add a checked receipt to those in ``deletions.jsonl``; durable on return.

        Raises:
            UnwritableError: It cannot be written.
        """
        path = self.folder / "deletions.jsonl"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "ab") as file:
                file.write(receipt.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UnwritableError(
                f"{path} cannot be written ({error.strerror})",
                safe="The clip is deleted; its receipt comes again as often as you ask.",
                do="make room, then delete the same clip once more",
            ) from error

    def deletions(self) -> list[Signed]:
        """Return the receipts in ``deletions.jsonl``, oldest first; without torn lines."""
        found = []
        for line in (self._read("deletions.jsonl") or b"").splitlines():
            with suppress(BadMessageError):
                found.append(decode_signed(line))
        return found

    def _read(self, name: str) -> bytes | None:
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def _write(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        self._make_folder(self.folder)
        self._make_folder(path.parent)
        write_private(path, data)
        return path

    def _make_folder(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _damaged(self, name: str) -> DamagedHomeError:
        return DamagedHomeError(
            f"{self.folder / name} is not what Doorstep wrote there",
            safe="It was left as it is, and nothing was sent.",
            do=f"put back your copy of {self.folder}",
        )


def write_private(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all, readable by its owner only.

    Raises:
        UnwritableError: It cannot be written there; what was there stays.
    """
    try:
        _write_whole(path, data)
    except OSError as error:
        raise UnwritableError(
            f"{path} cannot be written ({error.strerror})",
            safe="What was there before is there still.",
            do="name a place that you can write to and that has room",
        ) from error


def _write_whole(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600
        )
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
