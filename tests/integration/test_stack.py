"""The stack takes what is free, also when somebody else takes it first."""

import socket
from pathlib import Path

import pytest

from doorstep_simulator.folder import read_stack_url
from doorstep_simulator.processes import free_ports
from doorstep_simulator.stack import Ports, Stack


@pytest.mark.timeout(90)
def test_a_port_that_somebody_was_quicker_to_take_is_left_to_them(tmp_path: Path) -> None:
    (wanted,) = free_ports(1)
    # As if it had still been free when it was drawn.
    with (
        socket.create_server(("127.0.0.1", wanted)),
        Stack(tmp_path, ports=Ports.draw(api=wanted)) as stack,
    ):
        assert stack.ports.api != wanted
        assert read_stack_url(tmp_path) == stack.ports.api_url
        assert stack.invite().startswith("dst_inv_")
