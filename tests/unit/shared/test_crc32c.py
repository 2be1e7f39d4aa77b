"""CRC-32C, the quick way and the plain way."""

from hypothesis import given
from hypothesis import strategies as st

from doorstep_shared.crc32c import crc32c


def plain_crc32c(data: bytes) -> int:
    """Bit by bit, as RFC 3720 section 12.1 has it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_the_published_examples_hold() -> None:
    # The check value of the CRC catalogue, then RFC 3720 appendix B.4.
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(bytes(reversed(range(32)))) == 0x113FDB5C
    assert crc32c(b"") == 0


@given(
    data=st.binary(min_size=1, max_size=64), length=st.sampled_from([4095, 4096, 4097, 4352, 9000])
)
def test_long_input_in_lanes_is_what_the_plain_way_gives(data: bytes, length: int) -> None:
    long = (data * (length // len(data) + 1))[:length]
    assert crc32c(long) == plain_crc32c(long)


@given(data=st.binary(max_size=300))
def test_short_input_is_what_the_plain_way_gives(data: bytes) -> None:
    assert crc32c(data) == plain_crc32c(data)
