"""Sockets that cannot be listened on say so, in words."""

import socket
from pathlib import Path

import pytest

from doorstep_cloud.app.serving import CannotListenError, listen_tcp, listen_unix


def test_the_admin_socket_is_its_users_alone_and_replaces_a_dead_one(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    for _ in range(2):
        with listen_unix(path):
            assert path.stat().st_mode & 0o777 == 0o600


def test_a_socket_path_may_be_too_long(tmp_path: Path) -> None:
    with pytest.raises(CannotListenError, match="cannot be made") as caught:
        listen_unix(tmp_path / ("x" * 120))
    assert "DOORSTEP_CLOUD_STATE_DIR" in caught.value.do


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_loopback_is_listened_on_in_both_families(host: str) -> None:
    if host == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    with listen_tcp(host, 0) as listener:
        assert listener.getsockname()[0] == host


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_an_address_of_another_machine_is_refused_in_words() -> None:
    with pytest.raises(CannotListenError, match=r"192\.0\.2\.1:1 cannot be listened on"):
        listen_tcp("192.0.2.1", 1)
