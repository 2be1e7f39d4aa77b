"""What Doorstep seals, everybody's tools open, and the other way round.

The tools are Debian's `age` and the Rust implementation behind `pyrage`.
"""

import hashlib
import shutil
import subprocess
from collections.abc import Iterable
from itertools import count
from pathlib import Path

import pyrage  # type: ignore[import-untyped]  # a compiled module without stubs
import pytest

from doorstep_shared.age_keys import Identity, Recipient
from doorstep_shared.ids import Random
from doorstep_shared.seal import (
    CHUNK_BYTES,
    FileKey,
    GhostRecipientError,
    Sealed,
    parse_envelope,
    parse_header,
    require_one_recipient_stanza,
    seal_bytes,
    seal_envelope,
)
from doorstep_shared.tail import RecordingCipher, Write, recover
from doorstep_shared.unseal import (
    TruncatedPayloadError,
    open_age_file,
    open_envelope,
    open_payload,
    parse_identity_file,
    rewrap_envelope,
)

CHECKOUT = Path(__file__).parents[2]
SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 200_000]


def find_tool(name: str) -> str:
    """Return the path of a public tool, or fail saying how to get it."""
    beside = CHECKOUT / ".tools" / "bin" / name
    if found := shutil.which(name):
        return found
    if beside.exists():
        return str(beside)
    pytest.fail(f"{name} is neither on PATH nor in .tools/bin. Do: make deps")


AGE = "age"
KEYGEN = "age-keygen"


def seeded(seed: str) -> Random:
    """Return a source that repeats itself for one seed."""
    calls = count()
    return lambda size: hashlib.shake_256(f"{seed} {next(calls)}".encode()).digest(size)


HOUSEHOLD = Identity.generate(seeded("household"))
AGENCY = Identity.generate(seeded("agency"))
STRANGER = Identity.generate(seeded("stranger"))


def clip(size: int) -> bytes:
    return hashlib.shake_256(b"clip").digest(size)


def age(*arguments: str, data: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [find_tool(AGE), *arguments], input=data, capture_output=True, check=False, timeout=60
    )


def key_file(folder: Path, identities: Iterable[Identity]) -> str:
    path = folder / "keys.txt"
    path.write_text("".join(f"# epoch\n{identity}\n" for identity in identities))
    path.chmod(0o600)
    return str(path)


def joined(box: Sealed) -> bytes:
    return box.envelope + box.payload


@pytest.mark.parametrize("size", SIZES)
def test_age_opens_what_we_seal(size: int, tmp_path: Path) -> None:
    box = seal_bytes(clip(size), HOUSEHOLD.recipient(), seeded("box"))
    keys = key_file(tmp_path, [STRANGER, HOUSEHOLD])
    done = age("-d", "-i", keys, data=joined(box))
    assert (done.returncode, done.stdout, done.stderr) == (0, clip(size), b"")


@pytest.mark.parametrize("size", SIZES)
def test_we_open_what_age_seals(size: int) -> None:
    done = age("-r", str(HOUSEHOLD.recipient()), "-r", str(AGENCY.recipient()), data=clip(size))
    assert done.returncode == 0
    assert open_age_file(done.stdout, [HOUSEHOLD]) == clip(size)
    assert open_age_file(done.stdout, [STRANGER, AGENCY]) == clip(size)


@pytest.mark.parametrize("size", SIZES)
def test_pyrage_opens_what_we_seal(size: int) -> None:
    box = seal_bytes(clip(size), HOUSEHOLD.recipient(), seeded("box"))
    identity = pyrage.x25519.Identity.from_str(str(HOUSEHOLD))
    assert pyrage.decrypt(joined(box), [identity]) == clip(size)


@pytest.mark.parametrize("size", SIZES)
def test_we_open_what_pyrage_seals(size: int) -> None:
    recipient = pyrage.x25519.Recipient.from_str(str(HOUSEHOLD.recipient()))
    assert open_age_file(pyrage.encrypt(clip(size), [recipient]), [HOUSEHOLD]) == clip(size)


def test_an_envelope_by_other_tools_is_not_taken_for_one_of_our_devices() -> None:
    # pyrage adds "grease", a stanza of no meaning; two recipients are a ghost.
    recipient = pyrage.x25519.Recipient.from_str(str(HOUSEHOLD.recipient()))
    greased, _ = parse_header(pyrage.encrypt(b"", [recipient]))
    assert len(greased.stanzas) > 1
    with pytest.raises(GhostRecipientError):
        require_one_recipient_stanza(greased)
    both = age("-r", str(HOUSEHOLD.recipient()), "-r", str(AGENCY.recipient()), data=b"").stdout
    with pytest.raises(GhostRecipientError):
        require_one_recipient_stanza(parse_header(both)[0])
    ours = seal_bytes(b"", HOUSEHOLD.recipient(), seeded("box"))
    require_one_recipient_stanza(parse_envelope(ours.envelope))


def test_a_key_wrapped_again_opens_for_the_other_and_no_longer_for_the_first(
    tmp_path: Path,
) -> None:
    box = seal_bytes(clip(200_000), HOUSEHOLD.recipient(), seeded("box"))
    file_key = open_envelope(box.envelope, [HOUSEHOLD])
    released = rewrap_envelope(file_key, [AGENCY.recipient()], seeded("release")) + box.payload
    done = age("-d", "-i", key_file(tmp_path, [AGENCY]), data=released)
    assert (done.returncode, done.stdout) == (0, clip(200_000))
    assert age("-d", "-i", key_file(tmp_path, [HOUSEHOLD]), data=released).returncode == 1


def test_age_and_we_agree_on_the_keys_that_age_makes(tmp_path: Path) -> None:
    path = tmp_path / "made.txt"
    keygen = find_tool(KEYGEN)
    subprocess.run([keygen, "-o", str(path)], check=True, capture_output=True, timeout=60)
    (identity,) = parse_identity_file(path.read_text())
    printed = subprocess.run(
        [keygen, "-y", str(path)], check=True, capture_output=True, timeout=60, text=True
    ).stdout.strip()
    assert identity.recipient() == Recipient.parse(printed)
    assert str(identity) in path.read_text()


@pytest.mark.parametrize("cut", [16 + 65552, 16 + 65552 + 15, 16 + 65552 + 700])
def test_a_payload_cut_without_a_slot_is_refused_by_all(cut: int, tmp_path: Path) -> None:
    box = seal_bytes(clip(200_000), HOUSEHOLD.recipient(), seeded("box"))
    file_key = open_envelope(box.envelope, [HOUSEHOLD])
    data = box.envelope + box.payload[:cut]
    done = age("-d", "-i", key_file(tmp_path, [HOUSEHOLD]), data=data)
    assert (done.returncode, done.stdout) == (1, clip(CHUNK_BYTES))
    identity = pyrage.x25519.Identity.from_str(str(HOUSEHOLD))
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(data, [identity])
    if cut < 16 + 65552 + 16:
        with pytest.raises(TruncatedPayloadError):
            open_payload(file_key, box.payload[:cut])


class SparseFile:
    """A recording's file, with only what was written in it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b")

    def do(self, writes: Iterable[Write]) -> None:
        for write in writes:
            self._file.seek(write.offset)
            self._file.write(write.data)
        self._file.flush()

    def read(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(size)

    def length(self) -> int:
        return self._file.seek(0, 2)

    def close(self) -> None:
        self._file.close()


@pytest.mark.parametrize("ticks", [1, 2, 5])
@pytest.mark.parametrize("is_finished", [True, False])
def test_a_cut_recording_opens_completely_with_the_public_tools(
    ticks: int,
    is_finished: bool,  # noqa: FBT001  # a case, not a switch
    tmp_path: Path,
) -> None:
    file_key = FileKey.draw(seeded("recording"))
    envelope = seal_envelope(file_key, [HOUSEHOLD.recipient()], seeded("envelope"))
    cipher = RecordingCipher(file_key, seeded("nonce")(16))
    file = SparseFile(tmp_path / "payload")
    for number in range(ticks):
        file.do(cipher.tick(mdat(30_000 * number + 50_000), 1000 * number))
    if is_finished:
        file.do(cipher.finish(mdat(12_345), 1000 * ticks).writes)
    else:
        # The next tick's body arrived, its slot did not.
        body, _ = cipher.tick(mdat(150_000), 1000 * ticks)
        file.do([body])
    recovered = recover(file.read, file.length())
    assert recovered is not None
    file.do([recovered.write])
    data = envelope + file.read(0, recovered.payload_bytes)
    file.close()

    done = age("-d", "-i", key_file(tmp_path, [HOUSEHOLD]), data=data)
    assert (done.returncode, done.stderr) == (0, b"")
    for number in range(ticks):
        assert mdat(30_000 * number + 50_000) in done.stdout
    assert done.stdout.endswith(mdat(12_345)) == is_finished
    identity = pyrage.x25519.Identity.from_str(str(HOUSEHOLD))
    assert pyrage.decrypt(data, [identity]) == done.stdout
    assert open_age_file(data, [HOUSEHOLD]) == done.stdout


def mdat(size: int) -> bytes:
    return size.to_bytes(4, "big") + b"mdat" + clip(size - 8)
