"""Founding, signing in, the chain, the keyring, over the service's own HTTP."""

import pytest
from sqlalchemy import delete, select

from doorstep_cloud.households import chain
from doorstep_cloud.households.chain import (
    MAX_STATEMENT_BYTES,
    is_epoch,
    read_head,
    read_statements,
)
from doorstep_cloud.households.keyring import MAX_FILE_BYTES, RECOVERY
from doorstep_cloud.households.tables import (
    InviteRow,
    KeyringRow,
    MemberRow,
    SessionRow,
    StatementRow,
    TokenRow,
)
from doorstep_cloud.store.errors import NotFoundError
from doorstep_shared.encoding import to_base64url
from doorstep_shared.ids import HouseholdId
from doorstep_shared.signing import MAX_SIGNATURES, Kind, sign
from doorstep_shared.statements import MAX_DEVICES, MAX_MEMBERS, Recovery, Role, sign_statement
from tests.cast import (
    FOREIGN,
    OWN,
    PUBLIC_URL,
    STRANGER,
    VIEWER,
    Stage,
    as_json,
    bearer,
    keyring_files,
)
from tests.people import DAY_MS, OWNER, doorbell, epoch, first_statement, person

SECOND_MS = 1000
OWN_FILE = b"age-encryption.org/v1\nfor " + b"o" * 26


def test_an_invite_founds_a_household_and_its_owner_signs_in(service: Stage) -> None:
    head = service.found()
    me = service.client.get("/v1/household", headers=service.session(OWNER)).json()
    assert me == {
        "household": OWN,
        "root": to_base64url(head.root),
        "head": {"seq": 0, "sha256": to_base64url(head.signed.body_hash)},
        "me": {"member": OWNER.member.member, "role": "owner"},
        "epoch": {"n": 1, "not_after": "2026-11-05T14:13:20.000Z"},
    }


def test_an_invite_founds_one_household_only(service: Stage) -> None:
    asked = service.founding(OWNER, OWN)
    assert service.client.post("/v1/households", json=asked).status_code == 201
    second = service.founding(STRANGER, FOREIGN) | {"invite": asked["invite"]}
    answer = service.client.post("/v1/households", json=second)
    assert answer.status_code == 403
    assert answer.json()["title"] == "this invite has been used"


def test_the_same_founding_again_gets_the_same_answer(service: Stage) -> None:
    asked = service.founding(OWNER, OWN)
    first = service.client.post("/v1/households", json=asked)
    service.clock.at_ms += 8 * DAY_MS
    again = service.client.post("/v1/households", json=asked)
    assert (again.status_code, again.json()) == (201, first.json())


def test_an_invite_ends_after_seven_days(service: Stage) -> None:
    asked = service.founding(OWNER, OWN)
    service.clock.at_ms += 7 * DAY_MS
    answer = service.client.post("/v1/households", json=asked)
    assert answer.status_code == 403
    assert "ended" in answer.json()["title"]


@pytest.mark.parametrize("invite", ["dst_inv_", "dst_inv_" + "0" * 38, "x" * 64])
def test_an_invite_that_is_none_founds_nothing(service: Stage, invite: str) -> None:
    asked = service.founding(OWNER, OWN) | {"invite": invite}
    assert service.client.post("/v1/households", json=asked).status_code == 403


def test_a_first_statement_signed_by_somebody_else_founds_nothing(service: Stage) -> None:
    forged = sign_statement(service.found().statement, STRANGER.sign)
    asked = service.founding(STRANGER, FOREIGN) | {"statement": as_json(forged)}
    answer = service.client.post("/v1/households", json=asked)
    assert answer.status_code == 403
    assert answer.json()["type"] == "urn:doorstep:problem:wrong-signature"


def test_a_household_is_founded_with_its_owners_keyring_file_and_no_other(service: Stage) -> None:
    for files in (keyring_files([VIEWER]), keyring_files([OWNER, VIEWER])):
        asked = service.founding(OWNER, OWN) | {"keyring": files}
        assert service.client.post("/v1/households", json=asked).status_code == 409
    no_age = {OWNER.member.member: to_base64url(b"my keys")}
    asked = service.founding(OWNER, OWN) | {"keyring": no_age}
    assert service.client.post("/v1/households", json=asked).status_code == 400


def test_nobody_takes_a_households_id_or_an_owners_key(home: Stage) -> None:
    taken_id = home.founding(person("another"), OWN)
    taken_key = home.founding(OWNER, FOREIGN.replace("s", "t"))  # type: ignore[arg-type]
    for asked in (taken_id, taken_key):
        assert home.client.post("/v1/households", json=asked).status_code == 409


def test_an_invite_is_kept_as_a_hash(service: Stage) -> None:
    invite = service.invite()
    with service.databases.read() as unit:
        row = unit.main.scalars(select(InviteRow)).one()
    assert invite.encode() not in row.code_sha256
    for path in service.folder.glob("main.db*"):
        assert invite.encode() not in path.read_bytes()


def test_a_challenge_serves_once(home: Stage) -> None:
    signed = {"signed": as_json(home.sign_in(OWNER))}
    assert home.client.post("/v1/sessions", json=signed).status_code == 201
    again = home.client.post("/v1/sessions", json=signed)
    assert again.status_code == 401
    assert "unknown, used or over" in again.json()["title"]


def test_a_challenge_lasts_two_minutes(home: Stage) -> None:
    signed = {"signed": as_json(home.sign_in(OWNER))}
    home.clock.at_ms += 2 * 60 * 1000
    assert home.client.post("/v1/sessions", json=signed).status_code == 401


def test_a_sign_in_made_for_another_service_is_refused(home: Stage) -> None:
    signed = home.sign_in(OWNER, audience="http://127.0.0.1:9999")
    answer = home.client.post("/v1/sessions", json={"signed": as_json(signed)})
    assert answer.status_code == 401
    assert PUBLIC_URL in answer.json()["title"]


def test_a_sign_in_under_anothers_name_is_refused_like_an_unknown_key(home: Stage) -> None:
    mine = home.sign_in(STRANGER)
    renamed = mine.model_copy(
        update={"body": mine.body.replace(
            to_base64url(STRANGER.sign.public.key_id).encode(),
            to_base64url(OWNER.sign.public.key_id).encode(),
        )}
    )  # fmt: skip
    unknown = home.sign_in(person("nobody"))
    answers = [
        home.client.post("/v1/sessions", json={"signed": as_json(signed)})
        for signed in (renamed, unknown)
    ]
    assert [a.status_code for a in answers] == [401, 401]
    assert answers[0].json() == answers[1].json()


def test_a_wrong_clock_at_the_client_does_not_matter(home: Stage) -> None:
    signed = home.sign_in(OWNER, at_ms=0)
    assert home.client.post("/v1/sessions", json={"signed": as_json(signed)}).status_code == 201


def test_a_session_lasts_thirty_days(home: Stage) -> None:
    session = home.session(OWNER)
    home.clock.at_ms += 30 * DAY_MS - 1
    assert home.client.get("/v1/household", headers=session).status_code == 200
    home.clock.at_ms += 1
    assert home.client.get("/v1/household", headers=session).status_code == 401


def test_sessions_and_tokens_are_kept_as_hashes(home: Stage) -> None:
    session, token = home.session(OWNER), home.token(OWNER, "events:read")
    kept = b"".join(path.read_bytes() for path in home.folder.glob("*.db*"))
    for header in (session, token):
        assert header["Authorization"].removeprefix("Bearer ").encode() not in kept


def test_statements_come_oldest_first_and_after_a_place(home: Stage) -> None:
    home.list_devices(doorbell("front").device)
    session = home.session(OWNER)
    found = home.client.get("/v1/statements", headers=session).json()["statements"]
    later = home.client.get("/v1/statements?after=0", headers=session).json()["statements"]
    assert found[1:] == later
    assert found[1] == as_json(home.heads[OWN].signed)


def test_statements_come_in_pages_of_so_many_bytes_and_one_at_least(home: Stage) -> None:
    home.append(home.next_statement())
    home.append(home.next_statement())
    with home.databases.read() as unit:
        whole = read_statements(unit, OWN, None)
        two_bytes = sum(len(signed.encode()) for signed in whole[:2])
        two = read_statements(unit, OWN, None, limit_bytes=two_bytes)
        one = read_statements(unit, OWN, 0, limit_bytes=two_bytes // 2 - 1)
        none = read_statements(unit, OWN, 2, limit_bytes=two_bytes)
    assert (len(whole), two, one, none) == (3, whole[:2], whole[1:2], [])


def test_the_largest_household_makes_statements_that_fit_into_a_message() -> None:
    members = [person(f"member {number}").member for number in range(MAX_MEMBERS)]
    devices = [doorbell(f"bell {number}").device for number in range(MAX_DEVICES)]
    statement = first_statement().model_copy(
        update={"roster": tuple(members), "devices": tuple(devices)}
    )
    signers = [person(f"member {number}").sign for number in range(MAX_SIGNATURES)]
    assert len(sign_statement(statement, *signers).encode()) < MAX_STATEMENT_BYTES


def test_a_statement_too_long_for_a_doorbell_is_refused(
    home: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = sign_statement(home.next_statement(), OWNER.sign)
    length = len(signed.encode())
    monkeypatch.setattr(chain, "MAX_STATEMENT_BYTES", length - 1)
    session = home.session(OWNER)
    answer = home.client.post("/v1/statements", json=as_json(signed), headers=session)
    assert answer.status_code == 403
    assert answer.json()["title"] == f"this statement has {length} bytes, and may have {length - 1}"


def test_a_household_makes_only_so_many_statements_in_a_day(
    home: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "MAX_A_DAY", 3)
    for _ in range(2):
        home.append(home.next_statement())
    home.clock.at_ms += DAY_MS - SECOND_MS
    signed = as_json(sign_statement(home.next_statement(), OWNER.sign))
    answer = home.client.post("/v1/statements", json=signed, headers=home.session(OWNER))
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "1"
    assert answer.json()["title"] == "this household has made 3 statements within a day"
    home.clock.at_ms += SECOND_MS
    home.append(home.next_statement())


def test_a_clock_that_was_put_back_stops_no_statement(
    home: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "MAX_A_DAY", 1)
    home.clock.at_ms -= SECOND_MS
    home.append(home.next_statement())


def test_the_same_statement_again_gets_the_same_answer(home: Stage) -> None:
    session = home.session(OWNER)
    signed = as_json(sign_statement(home.next_statement(), OWNER.sign))
    answers = [home.client.post("/v1/statements", json=signed, headers=session) for _ in "12"]
    assert answers[0].status_code == answers[1].status_code == 201
    assert answers[0].json() == answers[1].json()


def test_a_fork_is_refused_as_a_conflict(home: Stage) -> None:
    fork = home.next_statement(at=home.clock.at_ms + 5)
    home.append(home.next_statement())
    signed = as_json(sign_statement(fork, OWNER.sign))
    answer = home.client.post("/v1/statements", json=signed, headers=home.session(OWNER))
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:doorstep:problem:forked-chain"


def test_a_statement_with_a_gap_before_it_is_refused(home: Stage) -> None:
    signed = as_json(sign_statement(home.next_statement(seq=2), OWNER.sign))
    answer = home.client.post("/v1/statements", json=signed, headers=home.session(OWNER))
    assert answer.status_code == 409


def test_a_stranger_appends_to_no_chain_but_their_own(home: Stage) -> None:
    signed = as_json(sign_statement(home.next_statement(), OWNER.sign))
    answer = home.client.post("/v1/statements", json=signed, headers=home.session(STRANGER))
    assert answer.status_code == 409


def test_who_may_open_clips_changes_only_with_the_keyring(home: Stage) -> None:
    session = home.session(OWNER)
    recovery = Recovery(
        sign_key=STRANGER.member.sign_key, age_recipient=STRANGER.member.age_recipient
    )
    changes: list[dict[str, object]] = [
        {"epoch": epoch(2)},
        {"roster": (OWNER.member, VIEWER.member)},
        {"recovery": recovery},
    ]
    for change in changes:
        signed = as_json(sign_statement(home.next_statement(OWN, **change), OWNER.sign))
        answer = home.client.post("/v1/statements", json=signed, headers=session)
        assert answer.status_code == 409
        assert "PUT /v1/keyring.age" in answer.json()["do"]


def test_a_new_epoch_comes_with_a_new_keyring(home: Stage) -> None:
    session = home.session(OWNER)
    assert home.client.get("/v1/keyring.age", headers=session).content == OWN_FILE
    signed = sign_statement(home.next_statement(epoch=epoch(2)), OWNER.sign)
    file = b"age-encryption.org/v1\nnew"
    change = {
        "statement": as_json(signed),
        "files": {OWNER.member.member: to_base64url(file)},
    }
    answer = home.client.put("/v1/keyring.age", json=change, headers=session)
    assert answer.json() == {"seq": 1, "sha256": to_base64url(signed.body_hash)}
    assert home.client.get("/v1/keyring.age", headers=session).content == file
    assert home.client.get("/v1/household", headers=session).json()["epoch"]["n"] == 2


def test_a_statement_without_keyring_leaves_the_keyring_in_force(home: Stage) -> None:
    home.append(home.next_statement())
    answer = home.client.get("/v1/keyring.age", headers=home.session(OWNER))
    assert answer.content == OWN_FILE


def test_a_keyring_without_everybodys_file_changes_nothing(home: Stage) -> None:
    session = home.session(OWNER)
    statement = home.next_statement(roster=(OWNER.member, VIEWER.member))
    change = {
        "statement": as_json(sign_statement(statement, OWNER.sign)),
        "files": keyring_files([OWNER]),
    }
    answer = home.client.put("/v1/keyring.age", json=change, headers=session)
    assert answer.status_code == 409
    assert VIEWER.member.member in answer.json()["title"]
    assert home.client.get("/v1/household", headers=session).json()["head"]["seq"] == 0


def test_the_largest_keyring_of_the_largest_household_fits(home: Stage) -> None:
    others = [person(letter) for letter in "abcdefghijklmnpqrstuvwxyz234567"]
    assert len(others) + 1 == MAX_MEMBERS
    paper = Recovery(sign_key=STRANGER.sign.public.raw, age_recipient=str(STRANGER.age.recipient()))
    statement = home.next_statement(
        roster=(OWNER.member, *(one.member for one in others)), recovery=paper
    )
    file = to_base64url(OWN_FILE.ljust(MAX_FILE_BYTES, b"x"))
    holders = [*(member.member for member in statement.roster), RECOVERY]
    change = {
        "statement": as_json(sign_statement(statement, OWNER.sign)),
        "files": dict.fromkeys(holders, file),
    }
    session = home.session(OWNER)
    answer = home.client.put("/v1/keyring.age", json=change, headers=session)
    assert answer.status_code == 200, answer.text
    too_much = change | {"files": dict.fromkeys(holders, file * 2)}
    answer = home.client.put("/v1/keyring.age", json=too_much, headers=session)
    assert answer.json()["title"] == "a body has at most 1024 KiB here"


def test_a_keyring_whose_statement_never_arrived_is_never_served(home: Stage) -> None:
    """Power fails between the two commits: the vault has the files, main has no statement."""
    session = home.session(OWNER)
    signed = sign_statement(home.next_statement(epoch=epoch(2)), OWNER.sign)
    file = b"age-encryption.org/v1\n"
    with home.databases.write() as unit:
        row = {
            "statement_sha256": signed.body_hash,
            "holder": OWNER.member.member,
            "household": OWN,
            "file": file + b"cut",
            "written_at_ms": home.clock(),
        }
        unit.vault.add(KeyringRow(**row))
        unit.commit()
    assert home.client.get("/v1/keyring.age", headers=session).content == OWN_FILE
    # The client comes again with the same statement, sealed anew: it takes the place.
    change = {
        "statement": as_json(signed),
        "files": {OWNER.member.member: to_base64url(file + b"whole")},
    }
    assert home.client.put("/v1/keyring.age", json=change, headers=session).status_code == 200
    assert home.client.get("/v1/keyring.age", headers=session).content == file + b"whole"


def test_everybody_gets_their_own_keyring_file(home: Stage) -> None:
    home.add_members(VIEWER)
    for who in (OWNER, VIEWER):
        answer = home.client.get("/v1/keyring.age", headers=home.session(who))
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.content.endswith(who.member.member.encode())


def test_leaving_the_roster_ends_sessions_and_tokens_at_once(home: Stage) -> None:
    owner = person("two", Role.OWNER)
    home.add_members(owner)
    session, token = home.session(owner), home.token(owner, "events:read")
    signed = sign_statement(home.next_statement(roster=(OWNER.member,), epoch=epoch(2)), OWNER.sign)
    change = {"statement": as_json(signed), "files": keyring_files([OWNER])}
    answer = home.client.put("/v1/keyring.age", json=change, headers=home.session(OWNER))
    assert answer.status_code == 200
    for header in (session, token):
        assert home.client.get("/v1/household", headers=header).status_code == 401
    with home.databases.read() as unit:
        for table in (SessionRow, TokenRow):
            assert (
                unit.main.scalars(select(table).where(table.member == owner.member.member)).all()
                == []
            )


def test_a_change_of_role_counts_from_the_next_request(home: Stage) -> None:
    second = person("two", Role.OWNER)
    home.add_members(second)
    session = home.session(second)
    assert home.client.get("/v1/tokens", headers=session).status_code == 200
    demoted = second.member.model_copy(update={"role": Role.VIEWER})
    home.append(home.next_statement(roster=(OWNER.member, demoted)))
    assert home.client.get("/v1/tokens", headers=session).status_code == 403
    with home.databases.read() as unit:
        assert unit.main.get_one(MemberRow, (OWN, second.member.member)).role == "viewer"


def test_whoever_listens_is_told_after_the_commit(home: Stage) -> None:
    home.append(home.next_statement())
    assert home.told == [OWN]


def test_a_statement_rests_as_the_bytes_it_came_in(home: Stage) -> None:
    signed = sign_statement(home.next_statement(), OWNER.sign)
    home.append(home.next_statement())
    with home.databases.read() as unit:
        row = unit.main.get_one(StatementRow, (OWN, 1))
    assert row.signed == signed.encode()


def test_tokens_are_listed_without_their_codes_and_revoked_at_once(home: Stage) -> None:
    session = home.session(OWNER)
    wish = {"name": "tablet", "scopes": ["events:read", "clips:read"], "days": 90}
    made = home.client.post("/v1/tokens", json=wish, headers=session).json()
    token = made.pop("token")
    assert token.startswith("dst_pat_")
    assert home.client.get("/v1/tokens", headers=session).json() == {"items": [made], "next": None}
    assert made["expires_at"] == "2026-12-20T14:13:20.002Z"
    deleted = home.client.delete(f"/v1/tokens/{made['id']}", headers=session)
    assert deleted.status_code == 204
    assert home.client.get("/v1/keyring.age", headers=bearer(token)).status_code == 401
    again = home.client.delete(f"/v1/tokens/{made['id']}", headers=session)
    assert again.status_code == 404


def test_a_token_ends_when_it_said(home: Stage) -> None:
    token = home.token(OWNER, "keyring:read")
    home.clock.at_ms += 30 * DAY_MS - 1
    assert home.client.get("/v1/keyring.age", headers=token).status_code == 200
    home.clock.at_ms += 1
    assert home.client.get("/v1/keyring.age", headers=token).status_code == 401


@pytest.mark.parametrize(
    "wish",
    [
        {"name": "", "scopes": ["events:read"], "days": 1},
        {"name": "\x00", "scopes": ["events:read"], "days": 1},
        {"name": "two\nlines", "scopes": ["events:read"], "days": 1},
        {"name": "x", "scopes": [], "days": 1},
        {"name": "x", "scopes": ["everything"], "days": 1},
        {"name": "x", "scopes": ["events:read"], "days": 91},
        {"name": "x", "scopes": ["events:read"], "days": 0},
    ],
)
def test_a_token_is_narrow_named_and_ends_within_ninety_days(
    home: Stage, wish: dict[str, object]
) -> None:
    answer = home.client.post("/v1/tokens", json=wish, headers=home.session(OWNER))
    assert answer.status_code == 422


def test_nobody_sees_or_ends_anothers_tokens(home: Stage) -> None:
    session = home.session(OWNER)
    wish = {"name": "mine", "scopes": ["events:read"], "days": 1}
    made = home.client.post("/v1/tokens", json=wish, headers=session).json()
    stranger = home.session(STRANGER)
    assert home.client.get("/v1/tokens", headers=stranger).json()["items"] == []
    assert home.client.delete(f"/v1/tokens/{made['id']}", headers=stranger).status_code == 404


def test_a_member_has_at_most_64_tokens(home: Stage) -> None:
    session = home.session(OWNER)
    wish = {"name": "one more", "scopes": ["events:read"], "days": 1}
    made = [home.client.post("/v1/tokens", json=wish, headers=session) for _ in range(65)]
    assert [a.status_code for a in made] == [201] * 64 + [409]
    home.clock.at_ms += DAY_MS
    assert home.client.post("/v1/tokens", json=wish, headers=session).status_code == 201


def test_what_is_signed_but_no_sign_in_opens_no_session(home: Stage) -> None:
    signed = sign(Kind.SIGN_IN, {"aud": PUBLIC_URL}, OWNER.sign)
    answer = home.client.post("/v1/sessions", json={"signed": as_json(signed)})
    assert answer.status_code == 400


def test_a_statement_that_is_no_json_is_refused(home: Stage) -> None:
    headers = home.session(OWNER) | {"Content-Type": "text/plain"}
    answer = home.client.post("/v1/statements", content=b"1", headers=headers)
    assert answer.status_code == 422


def test_a_vault_without_the_keyring_says_so(home: Stage) -> None:
    with home.databases.write() as unit:
        unit.vault.execute(delete(KeyringRow))
        unit.commit()
    answer = home.client.get("/v1/keyring.age", headers=home.session(OWNER))
    assert answer.status_code == 404
    assert "no keyring file" in answer.json()["title"]


def test_a_household_that_is_none_has_no_head(home: Stage) -> None:
    with home.databases.read() as unit, pytest.raises(NotFoundError):
        read_head(unit, HouseholdId("z" * 26))


def test_an_epoch_counts_if_the_chain_ever_named_it(home: Stage) -> None:
    old, new = epoch(1).recipient, epoch(2).recipient
    signed = sign_statement(home.next_statement(epoch=epoch(2)), OWNER.sign)
    change = {"statement": as_json(signed), "files": keyring_files([OWNER])}
    home.client.put("/v1/keyring.age", json=change, headers=home.session(OWNER))
    with home.databases.read() as unit:
        found = [is_epoch(unit, OWN, n, r) for n in (1, 2) for r in (old, new)]
        foreign = is_epoch(unit, FOREIGN, 2, new)
    assert found == [True, False, False, True]
    assert not foreign
