"""How often one address may ask without having signed in."""

import pytest

from doorstep_cloud.access.attempts import WINDOW_MS, Attempts
from doorstep_cloud.store.errors import TooOftenError


def test_an_address_that_asks_too_often_waits_for_the_next_minute() -> None:
    attempts = Attempts(limit=2)
    attempts.count("a", 10)
    attempts.count("a", 20)
    with pytest.raises(TooOftenError) as caught:
        attempts.count("a", WINDOW_MS - 500)
    assert caught.value.after_s == 0.5
    attempts.count("a", WINDOW_MS)


def test_one_address_does_not_use_up_anothers_attempts() -> None:
    attempts = Attempts(limit=1)
    for address in "abc":
        attempts.count(address, 0)


def test_a_refused_attempt_counts_too() -> None:
    attempts = Attempts(limit=1)
    attempts.count("a", 0)
    for at_ms in (1, 2):
        with pytest.raises(TooOftenError):
            attempts.count("a", at_ms)


def test_the_counters_stay_few_and_the_longest_silent_is_forgotten() -> None:
    attempts = Attempts(limit=1, addresses=2)
    attempts.count("a", 0)
    attempts.count("b", 0)
    with pytest.raises(TooOftenError):
        attempts.count("a", 0)
    attempts.count("c", 0)  # "b" has been silent longest
    attempts.count("b", 0)
    with pytest.raises(TooOftenError):
        attempts.count("c", 0)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("2001:db8:0:7::1", "2001:db8:0:7:ffff:ffff:ffff:ffff"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::2"),
    ],
)
def test_one_subscriber_is_one_address(first: str, second: str) -> None:
    attempts = Attempts(limit=1)
    attempts.count(first, 0)
    with pytest.raises(TooOftenError):
        attempts.count(second, 0)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("2001:db8:0:7::1", "2001:db8:0:8::1"),
        ("192.0.2.1", "192.0.2.2"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2"),
    ],
)
def test_two_subscribers_are_two(first: str, second: str) -> None:
    attempts = Attempts(limit=1)
    attempts.count(first, 0)
    attempts.count(second, 0)
