"""The stack's Mosquitto: TLS, client certificates, and exactly our topics.

Who may say and hear what is the business of its dynamic security plugin, which
ingest fills. The limits come from what hostile clients did to an unlimited
broker: queues and packets are capped, and nothing is ever retained. Its own
`memory_limit` is not used: Mosquitto 2.0 counts what the plugin frees but not
what it took, until it believes itself full and refuses everybody.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from doorstep_cloud.ingest.access import first_access_list
from doorstep_simulator.processes import Program
from doorstep_simulator.tools import find_broker_plugin, find_program

# The last resort against one that grows: it keeps nothing, and is back in 0.2 s. Fifty
# doorbells that deliver at once take a quarter of this.
RESTART_ABOVE_BYTES: Final = 192 * 1024 * 1024
MAX_PACKET_BYTES: Final = 160 * 1024
MAX_INFLIGHT: Final = 64
# More than all the segments that ingest lets be under way, so that none is dropped.
MAX_QUEUED: Final = 4_096

# For one reader who does not read; half as much again as ingest lets be under way.
MAX_QUEUED_BYTES: Final = 96 * 1024 * 1024

ACCESS: Final = "access.json"
"""Which doorbells may say and hear what; the broker writes it as ingest tells it."""


@dataclass(frozen=True, slots=True)
class BrokerFiles:
    """What the broker presents and whom it trusts, PEM files made by the service."""

    ca: Path
    certificate: Path
    key: Path


def broker_program(folder: Path, port: int, files: BrokerFiles, log: Path) -> Program:
    """Return the broker on loopback ``port``; writes its configuration into ``folder``."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Anew each time: ingest fills it when it connects, and a torn one would stop the broker.
    access = folder / ACCESS
    access.touch(mode=0o600)
    access.write_text(first_access_list())
    configuration = folder / "mosquitto.conf"
    configuration.write_text(_configuration(folder, port, files, find_broker_plugin()))
    return Program(
        name="broker",
        command=[str(find_program("mosquitto")), "-c", str(configuration)],
        log=log,
        stop_s=5,
        most_bytes=RESTART_ABOVE_BYTES,
    )


def _configuration(folder: Path, port: int, files: BrokerFiles, plugin: Path) -> str:
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
max_queued_bytes {MAX_QUEUED_BYTES}
max_packet_size {MAX_PACKET_BYTES}
max_inflight_messages {MAX_INFLIGHT}
max_queued_messages {MAX_QUEUED}
retain_available false
plugin {plugin}
plugin_opt_config_file {folder / ACCESS}
listener {port} 127.0.0.1
cafile {files.ca}
certfile {files.certificate}
keyfile {files.key}
require_certificate true
use_identity_as_username true
tls_version tlsv1.2
"""
