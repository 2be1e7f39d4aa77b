"""The folder of an owner's keys: private, written whole, and never guessed at."""

import stat
from pathlib import Path

import pytest

from doorstep_client.errors import DamagedHomeError, NoHouseholdError
from doorstep_client.home import Home, ServiceAccount
from doorstep_shared.ids import HouseholdId, MemberId
from tests.people import first_head, random_from, successor

ACCOUNT = ServiceAccount(
    url="http://127.0.0.1:8080",
    household=HouseholdId("h" * 26),
    member=MemberId("o" * 26),
    root=first_head().root.hex(),
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A folder that is not there yet."""
    return Home(tmp_path / "deep" / "keys")


def test_a_new_home_holds_nothing_and_makes_nothing(home: Home) -> None:
    assert not home.has_account()
    assert (home.chain(), home.claims(), home.session(), home.founding()) == ((), {}, None, None)
    for read in (home.account, home.keys):
        with pytest.raises(NoHouseholdError):
            read()
    assert not home.folder.exists()


def test_what_is_written_is_read_again(home: Home) -> None:
    home.save_account(ACCOUNT)
    home.save_session("dst_ses_one")
    chain = (first_head().signed, successor(first_head(), policy_hash=bytes(32)))
    home.save_chain(chain)
    again = Home(home.folder)
    assert (again.account(), again.session(), again.chain()) == (ACCOUNT, "dst_ses_one", chain)


def test_everything_in_it_is_its_owners_alone(home: Home) -> None:
    home.keys_or_new(random_from("owner"))
    home.save_account(ACCOUNT)
    home.save_chain([first_head().signed])
    home.save_session("dst_ses_one")
    home.save_claim("one", "DS1.AAAA")
    home.keep_claim_of("one", "00-device")
    home.save_claim("two", "DS1.BBBB")
    paths = [home.folder, *home.folder.rglob("*")]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in paths}
    assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in modes.items())
    assert len(paths) >= 9


def test_keys_are_made_once(home: Home) -> None:
    made = home.keys_or_new(random_from("owner"))
    assert home.keys_or_new(random_from("other")) == made
    assert home.keys() == made


def test_a_half_made_pair_of_keys_is_made_anew(home: Home) -> None:
    made = home.keys_or_new(random_from("owner"))
    (home.folder / "age.key").unlink()
    with pytest.raises(NoHouseholdError):
        home.keys()
    assert home.keys_or_new(random_from("other")) != made


@pytest.mark.parametrize("name", ["signing.key", "age.key"])
@pytest.mark.parametrize("text", ["", "zz", "AGE-SECRET-KEY-1", "\n\n"])
def test_keys_that_cannot_be_read_are_told_and_kept(home: Home, name: str, text: str) -> None:
    home.keys_or_new(random_from("owner"))
    (home.folder / name).write_text(text)
    with pytest.raises(DamagedHomeError) as told:
        home.keys_or_new(random_from("other"))
    assert name in told.value.fact
    assert (home.folder / name).read_text() == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("service.json", ""),
        ("service.json", "[]"),
        ("service.json", '{"url": "x"}'),
        ("statements.json", "{}\n"),
        ("founding", "one line\n"),
        ("founding", "a\nb\n"),
    ],
)
def test_a_damaged_file_is_told_by_its_name_and_kept(home: Home, name: str, text: str) -> None:
    home.save_session("made")
    (home.folder / name).write_text(text)
    read = {"service.json": home.account, "statements.json": home.chain, "founding": home.founding}
    with pytest.raises(DamagedHomeError, match=name):
        read[name]()
    assert (home.folder / name).read_text() == text


def test_an_answered_claim_moves_to_its_doorbell(home: Home) -> None:
    home.save_claim("one", "DS1.AAAA")
    home.save_claim("two", "DS1.BBBB")
    assert home.claims() == {"one": "DS1.AAAA", "two": "DS1.BBBB"}
    home.keep_claim_of("one", "00-device")
    assert home.claims() == {"two": "DS1.BBBB"}
    assert (home.folder / "doorbells" / "00-device.txt").read_text() == "DS1.AAAA\n"


def test_the_environment_says_where_home_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOORSTEP_HOME", str(tmp_path / "one"))
    assert Home.default().folder == tmp_path / "one"
    monkeypatch.delenv("DOORSTEP_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert Home.default().folder == tmp_path / "data" / "doorstep"
