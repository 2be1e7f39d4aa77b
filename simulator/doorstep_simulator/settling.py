"""A household and its doorbell at a running stack: founded once, taken up again later."""

from collections.abc import Callable

from doorstep_simulator.env import OWNER_FOLDER, TOKEN_FILE
from doorstep_simulator.folder import DOORBELL_FOLDER
from doorstep_simulator.owner import Owner
from doorstep_simulator.stack import Stack
from doorstep_simulator.telling import spoken


def settle(stack: Stack, tell: Callable[[str], None]) -> Owner:
    """Return the owner of the one household of ``stack``, whose doorbell is enrolled.

    Everything is made on the first run, step by step as a person would, and each step
    that an earlier run has done is left as it is.

    Raises:
        DoorstepError: The service or the owner's own client says no.
    """
    owner = Owner(stack.folder / OWNER_FOLDER)
    if owner.has_household:
        owner.move_to(stack.ports.api_url)
    else:
        owner.found_household(stack.ports.api_url, stack.invite())
        tell(f"household founded: the owner's keys are in {spoken(owner.home.folder)}")
    owner.make_token(stack.folder / TOKEN_FILE)
    card = stack.folder / DOORBELL_FOLDER
    if not owner.has_doorbell(card):
        tell(f"doorbell {owner.add_doorbell(card)} enrolled and listed")
    return owner
