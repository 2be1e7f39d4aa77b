"""Which word of a doorbell is the latest, and when it counts as there."""

from hypothesis import given
from hypothesis import strategies as st

from doorstep_cloud.devices.rules import HEARD_WITHIN_MS, Presence, is_online

A, B = "a" * 32, "b" * 32

words = st.tuples(st.sampled_from([A, B, "c" * 32]), st.integers(1, 4), st.booleans())


def hear(*said: tuple[str, int, bool]) -> Presence:
    """Return the presence after these words, old ones passed over."""
    presence = Presence()
    for boot, connections, is_connected in said:
        presence = presence.hear(boot, connections, is_connected=is_connected) or presence
    return presence


def test_the_last_will_of_an_older_connection_is_passed_over() -> None:
    assert hear((A, 1, True), (A, 2, True), (A, 1, False)) == hear((A, 1, True), (A, 2, True))


def test_the_last_will_of_the_latest_connection_counts() -> None:
    assert not hear((A, 2, True), (A, 2, False)).is_connected


def test_the_last_will_of_an_earlier_boot_is_passed_over() -> None:
    assert hear((A, 7, True), (B, 1, True), (A, 7, False)).is_connected


def test_eight_earlier_boots_are_remembered() -> None:
    presence = hear(*((f"{n:032x}", 1, True) for n in range(10)))
    assert presence.boot == f"{9:032x}"
    assert presence.earlier_boots == tuple(f"{n:032x}" for n in range(8, 0, -1))


@given(st.lists(words, max_size=12))
def test_repeating_every_word_changes_nothing(said: list[tuple[str, int, bool]]) -> None:
    doubled = [word for word in said for _ in "12"]
    assert hear(*doubled) == hear(*said)


@given(st.lists(words, max_size=12), words)
def test_a_word_passed_over_is_passed_over_for_good(
    said: list[tuple[str, int, bool]], late: tuple[str, int, bool]
) -> None:
    boot, connections, is_connected = late
    presence = hear(*said)
    if presence.hear(boot, connections, is_connected=is_connected) is None:
        assert hear(*said, late) == presence


def test_a_doorbell_is_there_until_150_seconds_of_silence() -> None:
    presence = hear((A, 1, True))
    assert is_online(presence, 1000, 1000 + HEARD_WITHIN_MS)
    assert not is_online(presence, 1000, 1001 + HEARD_WITHIN_MS)
    assert not is_online(hear((A, 1, False)), 1000, 1000)
    assert not is_online(presence, None, 1000)
