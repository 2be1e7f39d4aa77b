"""The transfer trial of `tests/unit/shared`, with some thirty times as many schedules."""

from hypothesis import HealthCheck, settings

from tests.unit.shared.test_transfer_both_ends import Transfer

TestLongTransfer = Transfer.TestCase
TestLongTransfer.settings = settings(
    max_examples=4000,
    stateful_step_count=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
