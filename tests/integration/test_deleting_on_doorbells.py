"""An owner's command, the whole way: signed at home, carried, done on the card, answered, seen."""

from doorstep_client.household import Household
from doorstep_shared.ids import DeviceId
from tests.running import Home, ring, wait_for


def test_a_command_deletes_on_the_card_at_once_or_when_the_doorbell_is_back(home: Home) -> None:
    device = DeviceId(home.device)
    with Household(home.owner.home) as household:

        def state_of(counter: int) -> str:
            items = household.commands_of(device)
            return next(one.state for one in items if one.counter == counter)

        with home.doorbell() as bell:
            first = home.wait_until_stored(ring(bell)).id
            # Delivered, and still in its cache.
            assert (home.card / "outbox" / first).is_dir()
            sent = household.send_delete_command(device, clips=[first])
            wait_for(lambda: state_of(sent.counter) == "done", "the doorbell's answer")
            assert not (home.card / "outbox" / first).exists()
            second = home.wait_until_stored(ring(bell)).id
        later = household.send_delete_command(device, clips=[second])
        assert state_of(later.counter) == "waiting"
        assert (home.card / "outbox" / second).is_dir()
        with home.doorbell():
            wait_for(lambda: state_of(later.counter) == "done", "the answer of one that is back")
        assert not (home.card / "outbox" / second).exists()
