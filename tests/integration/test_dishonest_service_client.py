"""A service that swaps root, epoch, members or seals is refused by the owner's client."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from doorstep_client import __main__ as command
from doorstep_client import clips
from doorstep_client.answers import Answer
from doorstep_client.home import Home as KeyFolder
from doorstep_client.household import Household
from doorstep_shared.age_keys import Identity
from doorstep_shared.claim import WrongBindingError
from doorstep_shared.encoding import to_base64url
from doorstep_shared.errors import DoorstepError
from doorstep_shared.keyring import ForeignEpochError, seal_keyrings
from doorstep_shared.manifest import MAX_PAYLOAD_BYTES, ObjectName, read_manifest, sign_manifest
from doorstep_shared.opening import UnprovenClipError, facts_of
from doorstep_shared.seal import seal_bytes
from doorstep_shared.signing import Signed, SigningKey, WrongSignatureError, decode_signed
from doorstep_shared.statements import (
    BrokenChainError,
    Epoch,
    ForkedChainError,
    Head,
    Role,
    accept_root,
    sign_statement,
)
from doorstep_shared.wire import StatementHead
from tests.dishonest import DishonestService, in_json
from tests.people import Person, person, random_from
from tests.running import Home, ring

GHOST = person("ghost")
EPOCH_OF_THE_SERVICE = Identity.generate(random_from("the service's own epoch"))
ITS_OWN = SigningKey.generate(random_from("the service's own key"))


@pytest.fixture(scope="module")
def clip(home: Home) -> str:
    """A stored clip of the household, found honest before anybody lies."""
    with home.doorbell() as bell:
        stored = home.wait_until_stored(ring(bell))
    assert home.owner.open_clip(stored.id).video[4:8] == b"ftyp"
    return stored.id


@pytest.fixture
def service(clip: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[DishonestService]:
    """What the owner's computer reaches in place of the service."""
    del clip
    with DishonestService() as between:
        monkeypatch.setenv("HTTP_PROXY", between.url)
        monkeypatch.setenv("http_proxy", between.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        yield between


@pytest.fixture
def household(home: Home, service: DishonestService) -> Iterator[Household]:
    """The owner, asking the dishonest service; what they knew before stays as it was."""
    before = chain_file(home).read_bytes()
    with Household(home.owner.home) as asking:
        yield asking
    assert service.told, "the service was not asked"
    assert chain_file(home).read_bytes() == before


def chain_file(home: Home) -> Path:
    return home.owner.home.folder / "statements.json"


def head_of(home: Home) -> Head:
    """Return the head as the owner's computer keeps it."""
    with Household(home.owner.home) as honest:
        return honest.chain().head


def after(head: Head, signer: Person, **changes: object) -> Signed:
    """Return a successor of ``head`` that the service made up, with a key it has."""
    statement = head.statement.model_copy(
        update={"seq": head.statement.seq + 1, "prev": head.signed.body_hash, **changes}
    )
    return sign_statement(statement, signer.sign)


def saying(*statements: Signed) -> bytes:
    return json.dumps({"statements": [s.model_dump(mode="json") for s in statements]}).encode()


# ── the root ────────────────────────────────────────────────────────────────────────────


def test_a_root_of_its_own_is_refused(
    home: Home, service: DishonestService, tmp_path: Path
) -> None:
    honest = home.owner.home
    # A computer that knows the root and nothing else yet, as after a loss.
    folder = KeyFolder(tmp_path / "again")
    folder.save_account(honest.account())
    (folder.folder / "signing.key").write_bytes((honest.folder / "signing.key").read_bytes())
    (folder.folder / "age.key").write_bytes((honest.folder / "age.key").read_bytes())
    first = head_of(home).statement.model_copy(
        update={"seq": 0, "prev": None, "devices": (), "roster": (GHOST.member,)}
    )
    own = sign_statement(first, GHOST.sign)
    accept_root(own)  # by itself it is a fine beginning
    service.lie("/v1/statements", lambda _: saying(own))
    with Household(folder) as asking, pytest.raises(BrokenChainError):
        asking.chain()
    assert folder.chain() == ()


def test_no_beginning_at_all_is_refused(
    home: Home, service: DishonestService, tmp_path: Path
) -> None:
    honest = home.owner.home
    folder = KeyFolder(tmp_path / "again")
    folder.save_account(honest.account())
    (folder.folder / "signing.key").write_bytes((honest.folder / "signing.key").read_bytes())
    (folder.folder / "age.key").write_bytes((honest.folder / "age.key").read_bytes())
    service.lie("/v1/statements", lambda _: saying())
    with Household(folder) as asking, pytest.raises(DoorstepError):
        asking.chain()


def test_another_history_is_a_fork(
    home: Home, service: DishonestService, household: Household
) -> None:
    # An old owner's key that leaked would sign this: the place in the chain is taken.
    keys = home.owner.home.keys()
    other = head_of(home).statement.model_copy(update={"policy_hash": bytes(32)})
    service.lie("/v1/statements", lambda _: saying(sign_statement(other, keys.sign)))
    with pytest.raises(ForkedChainError):
        household.chain()


# ── the epoch ───────────────────────────────────────────────────────────────────────────


def test_an_epoch_of_its_own_in_the_chain_is_refused(
    home: Home, service: DishonestService, household: Household
) -> None:
    head = head_of(home)
    epoch = Epoch(
        n=2,
        recipient=str(EPOCH_OF_THE_SERVICE.recipient()),
        not_after=head.statement.epoch.not_after,
    )
    service.lie("/v1/statements", lambda _: saying(after(head, GHOST, epoch=epoch)))
    with pytest.raises(WrongSignatureError):
        household.chain()


@pytest.mark.parametrize("n", [1, 2])
def test_an_epoch_of_its_own_in_the_keyring_is_refused(
    home: Home, service: DishonestService, household: Household, n: int
) -> None:
    # Anybody who knows the roster can seal to a member: that it opens proves nothing.
    statement = head_of(home).statement
    files = seal_keyrings(statement, {n: EPOCH_OF_THE_SERVICE}, secrets.token_bytes)
    file = files[home.owner.home.account().member]
    service.lie("/v1/keyring.age", lambda _: file)
    with pytest.raises(ForeignEpochError):
        household.epochs()


def test_a_clip_sealed_to_an_epoch_of_its_own_is_refused(
    service: DishonestService, household: Household, clip: str
) -> None:
    def swapped(honest: bytes) -> bytes:
        manifest = read_manifest(decode_signed(honest))
        own = manifest.model_copy(update={"recipient": str(EPOCH_OF_THE_SERVICE.recipient())})
        return sign_manifest(own, ITS_OWN).encode()

    service.lie("/manifest", swapped)
    with pytest.raises(WrongSignatureError):
        clips.check_clip(household, clip)


# ── the ghost ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("role", Role)
def test_a_ghost_member_is_refused(
    home: Home, service: DishonestService, household: Household, role: Role
) -> None:
    head = head_of(home)
    ghost = GHOST.member.model_copy(update={"role": role})
    roster = (*head.statement.roster, ghost)
    service.lie("/v1/statements", lambda _: saying(after(head, GHOST, roster=roster)))
    with pytest.raises(WrongSignatureError):
        household.chain()


def test_a_ghost_is_refused_before_anything_is_signed_upon_it(
    home: Home, service: DishonestService, household: Household
) -> None:
    head = head_of(home)
    roster = (*head.statement.roster, GHOST.member)
    service.lie("/v1/statements", lambda _: saying(after(head, GHOST, roster=roster)))
    with pytest.raises(WrongSignatureError):
        household.change(lambda now: now.model_copy(update={"policy_hash": bytes(32)}))
    assert head_of_service(home) == head.statement.seq


class Standing(Answer):
    """What the service says of the chain."""

    head: StatementHead


def head_of_service(home: Home) -> int:
    """Return how far the chain goes at the real service."""
    with Household(home.owner.home) as asking:
        return asking.ask(lambda real: real.get("/v1/household", Standing)).head.seq


def test_a_doorbell_of_its_own_that_answers_a_claim_is_refused(
    service: DishonestService, household: Household
) -> None:
    claim = household.make_claim(secrets.token_bytes)
    answer = {
        "id": f"00-{'a' * 26}",
        "tls_key": to_base64url(bytes(91)),
        "manifest_key": to_base64url(ITS_OWN.public.raw),
        "age_recipient": str(EPOCH_OF_THE_SERVICE.recipient()),
        "mac": to_base64url(bytes(32)),
    }
    service.lie(
        f"/v1/claims/{to_base64url(claim.claim_id)}",
        in_json(lambda honest: honest | {"state": "answered", "device": answer}),
    )
    with pytest.raises(WrongBindingError):
        household.answer_to(claim)


# ── the envelope ────────────────────────────────────────────────────────────────────────


def forged_video(home: Home) -> bytes:
    """Return a video of the service's own, sealed to the household: it opens."""
    sealed = seal_bytes(b"never happened", head_of(home).epoch_recipient, secrets.token_bytes)
    return sealed.envelope + sealed.payload


def test_a_video_sealed_by_the_service_is_refused_though_it_opens(
    home: Home, service: DishonestService, household: Household, clip: str
) -> None:
    service.lie("/file.age", lambda _: forged_video(home))
    manifest = clips.check_clip(household, clip)
    with pytest.raises(UnprovenClipError):
        clips.open_clip_object(household, manifest)


@pytest.mark.parametrize("at", [40, 200, -1])
def test_a_changed_byte_of_envelope_or_payload_is_refused(
    service: DishonestService, household: Household, clip: str, at: int
) -> None:
    def changed(honest: bytes) -> bytes:
        data = bytearray(honest)
        data[at] ^= 1
        return bytes(data)

    service.lie("/file.age", changed)
    manifest = clips.check_clip(household, clip)
    with pytest.raises(DoorstepError):
        clips.open_clip_object(household, manifest)


def test_an_envelope_of_another_object_is_refused(
    home: Home, service: DishonestService, household: Household, clip: str
) -> None:
    with Household(home.owner.home) as asking:
        thumb = asking.ask(
            lambda real: real.get_bytes(f"/v1/clips/{clip}/thumb.age", MAX_PAYLOAD_BYTES)
        )
    service.lie("/file.age", lambda _: thumb)
    manifest = clips.check_clip(household, clip)
    with pytest.raises(UnprovenClipError):
        clips.open_clip_object(household, manifest)


def test_a_forged_video_with_a_manifest_to_match_is_refused(
    home: Home, service: DishonestService, household: Household, clip: str
) -> None:
    sealed = seal_bytes(b"never happened", head_of(home).epoch_recipient, secrets.token_bytes)

    def matching(honest: bytes) -> bytes:
        manifest = read_manifest(decode_signed(honest))
        facts = facts_of(sealed.envelope, sealed.payload)
        own = manifest.model_copy(update={ObjectName.FILE.value: facts})
        return sign_manifest(own, ITS_OWN).encode()

    service.lie("/manifest", matching)
    service.lie("/file.age", lambda _: sealed.envelope + sealed.payload)
    with pytest.raises(WrongSignatureError):
        clips.check_clip(household, clip)


def test_another_clip_than_the_one_asked_for_is_refused(
    home: Home, service: DishonestService, household: Household, clip: str
) -> None:
    with home.doorbell() as bell:
        other = home.wait_until_stored(ring(bell)).id
    with Household(home.owner.home) as asking:
        manifest = asking.ask(
            lambda real: real.get_bytes(f"/v1/clips/{other}/manifest", MAX_PAYLOAD_BYTES)
        )
    service.lie("/manifest", lambda _: manifest)
    with pytest.raises(UnprovenClipError):
        clips.check_clip(household, clip)


# ── what a person sees ──────────────────────────────────────────────────────────────────


def test_the_command_says_what_is_wrong_what_is_safe_and_what_to_do(
    home: Home,
    service: DishonestService,
    clip: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    service.lie("/file.age", lambda _: forged_video(home))
    monkeypatch.setenv("DOORSTEP_HOME", str(home.owner.home.folder))
    target = home.card.parent / "forged.mp4"
    monkeypatch.setattr("sys.argv", ["doorstep", "clip", "save", clip, "-o", str(target)])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 1
    assert not target.exists()
    said = capsys.readouterr()
    assert said.out == ""
    fact, safe, do = said.err.strip().splitlines()[-3:]
    assert fact == "doorstep: these bytes are not the ones the doorbell signed."
    assert safe.startswith("It was not opened")
    assert do.startswith("Do: doorstep clip verify")
