"""The household's consent policy, verified version by version, and changed by signed ones.

The service stores the versions and says what they come to; this module believes
neither. Every version must be named by a statement of the household's own chain
and follow from the one before it, and every one that is named must be shown.
"""

from dataclasses import dataclass
from itertools import pairwise

from doorstep_client.answers import Answer, PolicyList
from doorstep_client.errors import ConflictError, FalseConsentError, WithheldError
from doorstep_client.household import ATTEMPTS, CONSENT_PATH, Chain, Household, now_ms
from doorstep_shared.consent import (
    BrokenPolicyError,
    Choices,
    ConsentPolicy,
    earliest_in_force,
    is_loosening,
    policy_in_force,
    sign_policy,
    verify_policies,
    version_in_force,
    waiting_policy,
)
from doorstep_shared.errors import BadMessageError, RefusedError
from doorstep_shared.signing import Signed, WrongSignatureError


@dataclass(frozen=True, slots=True)
class Consent:
    """What a household lets itself be asked, as of one moment.

    Attributes:
        policies: Every version, verified, oldest first.
        owners: How many owners the household has.
        at_ms: The moment, by this computer's clock, Unix milliseconds.
    """

    policies: tuple[ConsentPolicy, ...]
    owners: int
    at_ms: int

    @property
    def in_force(self) -> Choices:
        """Return what holds."""
        return policy_in_force(self.policies, self.at_ms)

    @property
    def holding(self) -> ConsentPolicy | None:
        """Return the version that holds; None if none ever did: then everything is off."""
        return version_in_force(self.policies, self.at_ms)

    @property
    def waiting(self) -> ConsentPolicy | None:
        """Return the version that will hold unless an owner replaces it; None if none waits."""
        return waiting_policy(self.policies, self.at_ms)


@dataclass(frozen=True, slots=True)
class Change:
    """What an owner is about to sign.

    Attributes:
        loosens: Whether it lets anything through that what holds does not.
        delays: Whether a part of it tightens, and has to wait with the rest.
        begins_ms: From when on it holds, signed now by one owner.
        stopped: What waits and will not come; None if nothing waits.
    """

    before: Choices
    after: Choices
    loosens: bool
    delays: bool
    begins_ms: int
    stopped: ConsentPolicy | None


def read_consent(household: Household) -> Consent:
    """Return the household's consent policy, every version checked on this computer.

    Raises:
        FalseConsentError: The service withholds a version, or shows one that the
            household has not signed.
    """
    chain = household.chain()
    while True:
        policies = _read_policies(household, chain)
        try:
            verified = verify_policies(policies, chain.statements)
        except (BrokenPolicyError, WrongSignatureError, BadMessageError) as error:
            newer = household.chain()
            if newer.head == chain.head:
                raise _false(error) from error
            chain = newer  # another owner changed it between the two answers
            continue
        if tuple(policies) != household.home.policies():
            household.home.save_policies(policies)
        return Consent(verified, len(chain.head.statement.owner_keys), now_ms())


def plan_change(consent: Consent, wanted: Choices) -> Change | None:
    """Return what it takes to make ``wanted`` hold; None if it does and nothing waits.

    Raises:
        RefusedError: No household like this one can have it.
    """
    held = consent.in_force
    if wanted == held and not consent.waiting:
        return None
    if wanted.owners_needed > consent.owners:
        raise RefusedError(
            "your household has one owner, so it cannot ask for two",
            safe="Nothing was changed.",
            do="doorstep consent show",
        )
    loosens = is_loosening(held, wanted)
    begins_ms = earliest_in_force(consent.policies, wanted, 1, consent.at_ms)
    return Change(
        before=held,
        after=wanted,
        loosens=loosens,
        delays=begins_ms > consent.at_ms and is_loosening(wanted, held),
        begins_ms=begins_ms,
        stopped=consent.waiting,
    )


def set_consent(household: Household, seen: Consent, wanted: Choices) -> Consent:
    """Sign ``wanted`` as the next version and return what holds then.

    Args:
        household: At its service.
        seen: What its owner was shown before they agreed.
        wanted: What they agreed to.

    Raises:
        ConflictError: Another owner has changed the policy since ``seen``, or
            others kept changing the household meanwhile.
        WithheldError: The service took it, and does not show it.
    """
    policy = _sign_and_put(household, seen, wanted)
    found = read_consent(household)
    if policy not in found.policies:
        raise WithheldError(
            "the service took this consent policy, and does not show it",
            safe="Nobody follows a change that is not shown: what held before holds.",
            do="doorstep consent show",
        )
    return found


def _read_policies(household: Household, chain: Chain) -> list[Signed]:
    """Return what the service shows; no more of it than the chain names versions, and a page."""
    named = sum(a.policy_hash != b.policy_hash for a, b in pairwise(chain.statements))
    policies: list[Signed] = []
    while page := _page(household, len(policies)):
        policies += page
        if len(policies) >= named:
            break
    return policies


def _page(household: Household, after: int) -> tuple[Signed, ...]:
    return household.ask(
        lambda service: service.get(CONSENT_PATH, PolicyList, after=after)
    ).policies


def _sign_and_put(
    household: Household, seen: Consent, wanted: Choices, attempts: int = ATTEMPTS
) -> ConsentPolicy:
    chain = household.chain()
    _refuse_changed(seen, read_consent(household))
    policy = _next_policy(chain, seen, wanted)
    try:
        _put(household, chain, policy)
    except ConflictError:  # another statement was quicker; the policy itself may still be as seen
        if attempts == 1:
            raise
        return _sign_and_put(household, seen, wanted, attempts - 1)
    return policy


def _next_policy(chain: Chain, seen: Consent, wanted: Choices) -> ConsentPolicy:
    last = seen.policies[-1] if seen.policies else None
    # Never before the last one or the statement in force, whatever this computer's clock says.
    at = max(now_ms(), chain.head.statement.at, last.at if last else 0)
    return ConsentPolicy(
        **wanted.model_dump(),
        household=chain.head.household,
        version=last.version + 1 if last else 1,
        prev=chain.head.statement.policy_hash,
        at=at,
        in_force_at=earliest_in_force(seen.policies, wanted, 1, at),
    )


def _put(household: Household, chain: Chain, policy: ConsentPolicy) -> None:
    signed = sign_policy(policy, household.home.keys().sign)
    edited = chain.head.statement.model_copy(update={"policy_hash": signed.body_hash})
    change = {
        "policy": signed.model_dump(mode="json"),
        "statement": household.sign_successor(chain.head, edited).model_dump(mode="json"),
    }
    household.ask(lambda service: service.put(CONSENT_PATH, Answer, change))


def _refuse_changed(seen: Consent, now: Consent) -> None:
    if now.policies != seen.policies:
        raise ConflictError(
            "another owner has changed the consent policy just now",
            safe="Nothing of yours was signed.",
            do="doorstep consent show        (then set it again, if you still want to)",
        )


def _false(error: BrokenPolicyError | WrongSignatureError | BadMessageError) -> FalseConsentError:
    return FalseConsentError(
        f"the service shows a consent policy that is not your household's: {error.fact}",
        safe="Nothing of it was believed. No clip is given without a person's own key.",
        do="doorstep status        (gives back what a restored service lost; if it stays, tell"
        " whoever runs your service)",
    )
