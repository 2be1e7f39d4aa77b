"""The stack's object store: SeaweedFS in one process, on loopback, quiet, its data synced.

By default it listens everywhere, reports home and syncs nothing; the first two
are turned round here, and the third as far as it goes: see `sync_every_put`.
"""

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from doorstep_simulator.processes import ProcessFailedError, Program
from doorstep_simulator.tools import find_program

BUCKET: Final = "clips"
ACCESS_KEY: Final = "doorstep"


@dataclass(frozen=True, slots=True)
class StorePorts:
    """Loopback ports; each one plus 10,000 is taken too."""

    s3: int
    master: int
    volume: int
    filer: int
    admin: int

    @property
    def endpoint(self) -> str:
        """Return the address of the S3 interface."""
        return f"http://127.0.0.1:{self.s3}"


@dataclass(frozen=True, slots=True)
class StoreSecret:
    """The one account of the store.

    Attributes:
        key: Its secret.
    """

    key: str = field(repr=False)


def store_program(folder: Path, ports: StorePorts, secret: StoreSecret, log: Path) -> Program:
    """Return the object store with its data in ``folder``."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Program(
        name="object store",
        command=[
            str(find_program("weed")),
            "-logtostderr=true",
            "mini",
            f"-dir={folder}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-s3.port={ports.s3}",
            f"-s3.port.grpc={ports.s3 + 10_000}",
            f"-master.port={ports.master}",
            f"-master.port.grpc={ports.master + 10_000}",
            f"-volume.port={ports.volume}",
            f"-volume.port.grpc={ports.volume + 10_000}",
            f"-filer.port={ports.filer}",
            f"-filer.port.grpc={ports.filer + 10_000}",
            f"-admin.port={ports.admin}",
            f"-admin.port.grpc={ports.admin + 10_000}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.allowDeleteBucketNotEmpty=false",
            "-admin.ui=false",
            "-webdav=false",
            "-master.telemetry=false",
            f"-bucket={BUCKET}",
        ],
        environment={
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": secret.key,
            # Holds it near 425 MB; 256 MiB would cost nearly twice the CPU.
            "GOMEMLIMIT": "512MiB",
        },
        log=log,
        # SIGKILL loses nothing: what was written is the kernel's to keep.
        stop_s=6,
    )


def sync_every_put(ports: StorePorts, log: Path) -> None:
    """Make the store sync each object's bytes before it answers; kept across restarts.

    Their names are not synced: the filer keeps them in a LevelDB that it writes without
    fsync, and has no setting for it. So power lost within about half a minute of a put may
    take the object, though the store had confirmed it.

    Raises:
        ProcessFailedError: The store did not take the setting.
    """
    done = subprocess.run(  # our own command
        [str(find_program("weed")), "shell", f"-master=127.0.0.1:{ports.master}"],
        input=b"fs.configure -locationPrefix=/buckets/ -fsync -apply\n",
        capture_output=True,
        timeout=60,
        check=False,
    )
    with log.open("ab") as file:
        file.write(done.stdout + done.stderr)
    if re.search(rb'"fsync": +true', done.stdout) is None:
        raise ProcessFailedError(
            "the object store did not agree to sync what it stores",
            do=f"tail {log}        (says why)",
        )
