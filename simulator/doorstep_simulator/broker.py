"""The stack's Mosquitto: TLS, client certificates, and exactly our topics.

The limits come from what hostile clients did to an unlimited one: the access
list does not check subscriptions, so memory and packet size are capped, and
nothing is ever retained.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from doorstep_shared.topics import acl_lines
from doorstep_simulator.processes import Program
from doorstep_simulator.tools import find_program

INGEST_USER: Final = "ingest"
MEMORY_LIMIT_BYTES: Final = 256 * 1024 * 1024
# Mosquitto 2.0 checks no subscriptions: a hostile doorbell can fill it. At its own limit
# it turns everybody away for good, so it is started anew before that; it keeps nothing.
# Fifty doorbells that deliver at once take a quarter of this.
RESTART_ABOVE_BYTES: Final = 192 * 1024 * 1024
MAX_PACKET_BYTES: Final = 160 * 1024
MAX_INFLIGHT: Final = 64
# More than all the segments that ingest lets be under way, so that none is dropped.
MAX_QUEUED: Final = 4_096


@dataclass(frozen=True, slots=True)
class BrokerFiles:
    """What the broker presents and whom it trusts, PEM files made by the service."""

    ca: Path
    certificate: Path
    key: Path


def broker_program(folder: Path, port: int, files: BrokerFiles, log: Path) -> Program:
    """Return the broker on loopback ``port``; writes its configuration into ``folder``."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "acl").write_text("\n".join(acl_lines(INGEST_USER)) + "\n")
    configuration = folder / "mosquitto.conf"
    configuration.write_text(_configuration(folder, port, files))
    return Program(
        name="broker",
        command=[str(find_program("mosquitto")), "-c", str(configuration)],
        log=log,
        stop_s=5,
        most_bytes=RESTART_ABOVE_BYTES,
    )


def _configuration(folder: Path, port: int, files: BrokerFiles) -> str:
    # `user root` only has a meaning for root: without it Mosquitto would become
    # another user who cannot read this folder.
    return f"""\
per_listener_settings false
user root
persistence false
allow_anonymous false
log_dest stderr
log_type error
log_type warning
log_type notice
connection_messages true
set_tcp_nodelay true
memory_limit {MEMORY_LIMIT_BYTES}
max_packet_size {MAX_PACKET_BYTES}
max_inflight_messages {MAX_INFLIGHT}
max_queued_messages {MAX_QUEUED}
retain_available false
acl_file {folder / "acl"}
listener {port} 127.0.0.1
cafile {files.ca}
certfile {files.certificate}
keyfile {files.key}
require_certificate true
use_identity_as_username true
tls_version tlsv1.2
"""
