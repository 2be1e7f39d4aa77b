"""Grants: one clip, one request, one recipient, by the policy that holds, now."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_shared.age_keys import Identity
from doorstep_shared.agencies import AgencyRecord
from doorstep_shared.consent import (
    NOTICE_MS,
    AgencyKind,
    ConsentPolicy,
    Requests,
    ShowMyName,
)
from doorstep_shared.errors import BadMessageError, DoorstepError
from doorstep_shared.grants import (
    FETCH_MS,
    MAX_CLOCK_OFF_MS,
    Grant,
    WrongGrantError,
    check_grant,
    sign_grant,
)
from doorstep_shared.ids import (
    AgencyId,
    ClipId,
    HouseholdId,
    RequestId,
    draw_clip_id,
    draw_event_id,
)
from doorstep_shared.manifest import ClipKind, Manifest, ObjectName, sign_manifest
from doorstep_shared.opening import VerifiedObject, check_manifest, facts_of, open_object
from doorstep_shared.requests import WrongRequestError, sign_request
from doorstep_shared.seal import FileKey, seal_bytes, seal_envelope
from doorstep_shared.signing import Kind, Signed, WrongSignatureError, canonical, sign
from doorstep_shared.statements import Role, Statement
from doorstep_shared.unseal import NotOurEnvelopeError, open_age_file
from tests.people import (
    DAY_MS,
    FRONT_DOOR,
    HOUSEHOLD,
    NOW_MS,
    OWNER,
    Person,
    doorbell,
    epoch_identity,
    first_statement,
    person,
    random_from,
)
from tests.questions import AGENCY, AGENCY_KEY, REQUEST, REQUEST_IDENTITY

PARTNER: Final = person("partner")
VIEWER: Final = person("viewer", Role.VIEWER)
STRANGER: Final = person("stranger")
VIDEO: Final = b"clear frames " * 900

STATEMENT: Final = first_statement().model_copy(
    update={
        "at": NOW_MS - 30 * DAY_MS,
        "roster": (OWNER.member, PARTNER.member, VIEWER.member),
        "devices": (FRONT_DOOR.device,),
    }
)
POLICY: Final = ConsentPolicy(
    household=HOUSEHOLD,
    version=1,
    prev=None,
    at=NOW_MS - DAY_MS,
    in_force_at=NOW_MS - DAY_MS,
    agency_requests=Requests.ASK,
    agency_kinds=(AgencyKind.POLICE,),
)
SIGNED_REQUEST: Final = sign_request(REQUEST, AGENCY_KEY)


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip of the household, opened."""

    signed: Signed
    opened: VerifiedObject
    envelope: bytes
    payload: bytes


def clip(name: str = "clip") -> Clip:
    random, identity = random_from(name), epoch_identity(1)
    sealed = seal_bytes(VIDEO, identity.recipient(), random)
    manifest = Manifest(
        household=HOUSEHOLD,
        device=FRONT_DOOR.device.id,
        clip=draw_clip_id(NOW_MS, random),
        seq=1,
        prev=None,
        epoch=1,
        recipient=str(identity.recipient()),
        kind=ClipKind.RING,
        events=(draw_event_id(NOW_MS, random),),
        pre_roll_ms=6000,
        start=REQUEST.start,
        end=REQUEST.start + 14_000,
        clock_synced=True,
        file=facts_of(sealed.envelope, sealed.payload),
        thumb=None,
        details=None,
    )
    signed = sign_manifest(manifest, FRONT_DOOR.sign)
    checked = check_manifest(signed, [STATEMENT])
    opened = open_object(checked, ObjectName.FILE, sealed.envelope + sealed.payload, {1: identity})
    return Clip(signed, opened, sealed.envelope, sealed.payload)


CLIP: Final = clip()
ENVELOPE: Final = CLIP.opened.rewrap(REQUEST_IDENTITY.recipient(), random_from("rewrap"))
GRANT: Final = Grant(
    household=HOUSEHOLD,
    request=REQUEST.request,
    request_sha256=SIGNED_REQUEST.body_hash,
    agency=AGENCY.agency,
    agency_key=AGENCY_KEY.public.key_id,
    recipient=REQUEST.recipient,
    clip=CLIP.opened.manifest.clip,
    manifest_sha256=CLIP.signed.body_hash,
    payload_sha256=hashlib.sha256(CLIP.payload).digest(),
    payload_length=len(CLIP.payload),
    envelope_sha256=hashlib.sha256(ENVELOPE).digest(),
    policy_version=1,
    name=None,
    not_after=REQUEST.closes_at + FETCH_MS,
    nonce=bytes(range(32)),
    at=NOW_MS,
)


@dataclass(frozen=True, slots=True)
class Case:
    """Everything a grant is held against; as it comes, it fits."""

    grant: Grant = GRANT
    signers: Sequence[Person] = (OWNER,)
    request: Signed = SIGNED_REQUEST
    agency: AgencyRecord = AGENCY
    manifest: Signed = CLIP.signed
    envelope: bytes = ENVELOPE
    policies: Sequence[ConsentPolicy] = (POLICY,)
    statement: Statement = STATEMENT
    earlier: Sequence[Statement] = ()
    now_ms: int = NOW_MS

    def granting(self, **changes: object) -> "Case":
        """Return the case with ``changes`` in the grant, signed anew."""
        return replace(self, grant=self.grant.model_copy(update=changes))

    def held(self, **changes: object) -> "Case":
        """Return the case with ``changes`` in the policy."""
        return replace(self, policies=[POLICY.model_copy(update=changes)])

    def check(self, signed: Signed | None = None) -> Grant:
        return check_grant(
            signed or sign_grant(self.grant, *(one.sign for one in self.signers)),
            request=self.request,
            agency=self.agency,
            manifest=self.manifest,
            envelope=self.envelope,
            policies=self.policies,
            statement=self.statement,
            past=[self.statement, *self.earlier],
            now_ms=self.now_ms,
        )


@cache
def other_clip() -> Clip:
    return clip("other")


def envelope_case(envelope: bytes) -> Case:
    """Return a case whose grant names ``envelope``, which comes along."""
    hashed = hashlib.sha256(envelope).digest()
    return replace(Case(), envelope=envelope).granting(envelope_sha256=hashed)


def refused(case: Case, words: str) -> None:
    with pytest.raises(WrongGrantError, match=words):
        case.check()


def test_a_grant_that_fits_lets_one_clip_go_to_one_request() -> None:
    assert Case().check() == GRANT
    assert open_age_file(ENVELOPE + CLIP.payload, [REQUEST_IDENTITY]) == VIDEO
    with pytest.raises(NotOurEnvelopeError):
        open_age_file(ENVELOPE + CLIP.payload, [epoch_identity(1)])


OTHER_HASH: Final = bytes(32)
ELSEWHERE: Final = str(Identity.generate(random_from("elsewhere")).recipient())
CHANGED: Final[list[tuple[str, object, str]]] = [
    ("household", HouseholdId("x" * 26), "another household's"),
    ("request", RequestId("x" * 26), "another request than the one shown"),
    ("request_sha256", OTHER_HASH, "another request than the one shown"),
    ("agency", AgencyId("x" * 26), "another agency, or another key"),
    ("agency_key", OTHER_HASH, "another agency, or another key"),
    ("recipient", ELSEWHERE, "another recipient than the request"),
    ("clip", ClipId("01a0c450-6c00-7000-8000-00000000000c"), "another clip"),
    ("manifest_sha256", OTHER_HASH, "another clip"),
    ("payload_sha256", OTHER_HASH, "another video"),
    ("payload_length", 1, "another video"),
    ("envelope_sha256", OTHER_HASH, "another envelope"),
    ("policy_version", 2, "another version of the consent policy"),
    ("name", "Ada", "lets no agency learn a name"),
    ("not_after", REQUEST.closes_at + FETCH_MS + 1, "until 7 days after its request has closed"),
    ("not_after", NOW_MS, "until 7 days after its request has closed"),
    ("at", NOW_MS - MAX_CLOCK_OFF_MS - 1, "more than five minutes from now"),
    ("at", NOW_MS + MAX_CLOCK_OFF_MS + 1, "more than five minutes from now"),
]


@pytest.mark.parametrize(("field", "value", "words"), CHANGED)
def test_each_field_is_held_against_what_it_stands_for(
    field: str, value: object, words: str
) -> None:
    refused(Case().granting(**{field: value}), words)


def test_only_the_nonce_stands_for_nothing_but_itself() -> None:
    assert {field for field, *_ in CHANGED} == set(Grant.model_fields) - {"v", "nonce"}
    assert Case().granting(nonce=bytes(32)).check().nonce == bytes(32)


@given(st.data())
def test_a_grant_changed_in_any_field_is_refused(data: st.DataObject) -> None:
    body = GRANT.model_dump(mode="json")
    field = data.draw(st.sampled_from(sorted(body)))
    change = st.none() | st.integers(0, 2**53 - 1) | st.text(max_size=60)
    value = data.draw(
        (change | st.sampled_from(list(body.values()))).filter(lambda value: value != body[field])
    )
    signed = sign_grant(GRANT, OWNER.sign)
    try:
        changed = canonical({**body, field: value})
    except BadMessageError:
        return
    with pytest.raises(DoorstepError):
        Case().check(Signed(body=changed, sigs=signed.sigs))


@given(st.sampled_from(CHANGED), st.sampled_from(CHANGED))
def test_two_wrongs_signed_anew_make_no_grant(
    one: tuple[str, object, str], other: tuple[str, object, str]
) -> None:
    with pytest.raises(WrongGrantError):
        Case().granting(**{one[0]: one[1], other[0]: other[1]}).check()


def test_a_grant_for_another_request_of_the_same_agency_is_refused() -> None:
    other = REQUEST.model_copy(update={"question": "And the day after?"})
    refused(replace(Case(), request=sign_request(other, AGENCY_KEY)), "another request")


def test_a_request_that_is_not_the_agencys_reaches_no_grant() -> None:
    other = AGENCY.model_copy(update={"agency": AgencyId("x" * 26)})
    with pytest.raises(WrongRequestError):
        replace(Case(), agency=other).check()
    with pytest.raises(WrongSignatureError):
        replace(Case(), request=sign_request(REQUEST, STRANGER.sign)).check()


def test_a_request_with_a_recipient_put_under_its_signature_is_refused() -> None:
    body = canonical({**REQUEST.model_dump(mode="json"), "recipient": ELSEWHERE})
    with pytest.raises(WrongSignatureError):
        replace(Case(), request=Signed(body=body, sigs=SIGNED_REQUEST.sigs)).check()


def test_a_key_that_the_agency_has_no_more_is_refused() -> None:
    newer = AGENCY.model_copy(update={"sign_key": STRANGER.sign.public.raw})
    case = replace(Case(), agency=newer, request=sign_request(REQUEST, STRANGER.sign))
    refused(case, "another key of it")


def test_another_clips_manifest_is_refused() -> None:
    refused(replace(Case(), manifest=other_clip().signed), "another clip")


def test_another_clips_envelope_is_refused() -> None:
    envelope = other_clip().opened.rewrap(REQUEST_IDENTITY.recipient(), random_from("x"))
    refused(replace(Case(), envelope=envelope), "another envelope")


def test_a_clip_that_no_listed_doorbell_made_is_refused() -> None:
    bare = STATEMENT.model_copy(update={"devices": ()})
    refused(replace(Case(), statement=bare), "no doorbell of this household")
    changed = CLIP.opened.manifest.model_copy(update={"household": HouseholdId("x" * 26)})
    foreign = sign_manifest(changed, FRONT_DOOR.sign)
    refused(replace(Case(), manifest=foreign), "no doorbell of this household")


def test_a_manifest_that_the_doorbell_did_not_sign_is_refused() -> None:
    forged = sign_manifest(CLIP.opened.manifest, doorbell("back").sign)
    with pytest.raises(WrongSignatureError):
        replace(Case(), manifest=forged).check()


def test_the_clips_own_envelope_is_not_handed_over() -> None:
    refused(envelope_case(CLIP.envelope), "own envelope, not a new one")


def test_an_envelope_is_for_one_recipient_alone() -> None:
    random, key = random_from("ghost"), FileKey(bytes(16))
    agency, ghost = REQUEST_IDENTITY.recipient(), Identity.generate(random).recipient()
    line = b"-> x-grease\n\n"
    greased = ENVELOPE.replace(b"\n--- ", b"\n" + line + b"--- ")
    for envelope in (
        seal_envelope(key, [agency, ghost], random),
        greased,
        ENVELOPE.replace(b"-> X25519 ", b"-> ssh-ed25519 "),
        ENVELOPE + b"\n",
        ENVELOPE[:-1],
        ENVELOPE + CLIP.payload[:100],
        b"",
    ):
        refused(envelope_case(envelope), "not for one recipient alone")


def test_an_envelope_is_no_larger_than_others() -> None:
    refused(envelope_case(bytes(2049)), "at most 2048 bytes")


def test_a_request_that_has_closed_gets_nothing() -> None:
    late = REQUEST.closes_at
    at_once = replace(Case(), now_ms=late).granting(at=late)
    refused(at_once, "this request has closed")
    just_in_time = replace(Case(), now_ms=late - 1).granting(at=late - 1)
    assert just_in_time.check().at == late - 1


def test_without_a_policy_that_lets_ask_nothing_is_given() -> None:
    refused(replace(Case(), policies=()), "lets no agency ask")
    refused(Case().held(agency_requests=Requests.OFF), "lets no agency ask")
    refused(Case().held(in_force_at=NOW_MS + 1), "lets no agency ask")


def test_an_agency_of_a_kind_that_may_not_ask_gets_nothing() -> None:
    refused(Case().held(agency_kinds=(AgencyKind.FIRE,)), "no agency of this kind")


def test_a_policy_of_another_household_counts_for_nothing() -> None:
    refused(Case().held(household=HouseholdId("x" * 26)), "policy is another household's")


def test_the_policy_in_force_now_is_the_one_that_is_named() -> None:
    newer = POLICY.model_copy(update={"version": 2, "in_force_at": NOW_MS})
    both = replace(Case(), policies=[POLICY, newer])
    refused(both, "another version of the consent policy")
    assert both.granting(policy_version=2).check().policy_version == 2
    waiting = newer.model_copy(update={"in_force_at": NOW_MS + 1})
    assert replace(both, policies=[POLICY, waiting]).check() == GRANT


def test_a_name_goes_along_where_the_policy_lets_it() -> None:
    case = Case().held(show_my_name=ShowMyName.ASK)
    assert case.check().name is None
    assert case.granting(name="Ada").check().name == "Ada"


@pytest.mark.parametrize("signer", [VIEWER, STRANGER])
def test_nobody_but_an_owner_gives_a_clip(signer: Person) -> None:
    with pytest.raises(WrongSignatureError, match="nobody who may sign this grant"):
        replace(Case(), signers=[signer]).check()


def test_a_grant_signed_as_something_else_is_none() -> None:
    with pytest.raises(WrongSignatureError):
        Case().check(sign(Kind.COMMAND, GRANT.model_dump(mode="json"), OWNER.sign))


def test_a_grant_of_another_form_is_none() -> None:
    body = {**GRANT.model_dump(mode="json"), "also": "x"}
    with pytest.raises(BadMessageError, match="not a version 1 grant"):
        Case().check(sign(Kind.GRANT, body, OWNER.sign))


def test_where_two_owners_are_asked_for_it_takes_two() -> None:
    two = Case().held(owners_needed=2)
    for signers in ([OWNER], [OWNER, OWNER], [OWNER, VIEWER], [OWNER, STRANGER]):
        refused(replace(two, signers=signers), "asks for two owners")
    assert replace(two, signers=[OWNER, PARTNER]).check() == GRANT


def test_of_two_owners_each_has_been_one_for_72_hours() -> None:
    alone = STATEMENT.model_copy(update={"roster": (OWNER.member,)})
    case = replace(Case().held(owners_needed=2), signers=[OWNER, PARTNER], earlier=[alone])
    listed = NOW_MS - NOTICE_MS
    settled = replace(case, statement=STATEMENT.model_copy(update={"at": listed}))
    assert settled.check() == GRANT
    fresh = replace(case, statement=STATEMENT.model_copy(update={"at": listed + 1}))
    refused(fresh, "asks for two owners")
    # A date ahead, as far as one is taken, makes nobody an owner for longer.
    refused(fresh.granting(at=NOW_MS + MAX_CLOCK_OFF_MS), "asks for two owners")


def test_one_owner_alone_may_be_new_where_one_is_asked_for() -> None:
    fresh = STATEMENT.model_copy(update={"at": NOW_MS})
    assert replace(Case(), statement=fresh).check() == GRANT
