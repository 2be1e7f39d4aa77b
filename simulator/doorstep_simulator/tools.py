"""Where the programs are that Doorstep starts but does not contain."""

import os
import shutil
import sys
from pathlib import Path
from typing import Final

from doorstep_shared.errors import TryLaterError

ENVIRONMENT_NAME: Final = "DOORSTEP_TOOLS"

# Debian keeps servers in sbin, which a normal user's PATH leaves out.
_SERVER_FOLDERS: Final = ("/usr/local/sbin", "/usr/sbin")

_BROKER_PLUGIN: Final = "mosquitto_dynamic_security.so"
_LIBRARY_FOLDERS: Final = ("lib/*-linux-*", "lib64", "lib")


class MissingProgramError(TryLaterError):
    """A program that is needed is not on this machine."""


def find_program(name: str) -> Path:
    """Return the program ``name``: beside this Python, on PATH, or fetched by `make deps`.

    Raises:
        MissingProgramError: It is nowhere.
    """
    folders = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    folders += [*_SERVER_FOLDERS, str(tools_folder())]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        raise MissingProgramError(
            f"the program {name} was not found on this machine",
            safe="Nothing was started.",
            do=f"make deps        (in the checkout; or: sudo apt-get install {name})",
        )
    return Path(found)


def find_broker_plugin() -> Path:
    """Return Mosquitto's dynamic security plugin, of the same package as the broker.

    Raises:
        MissingProgramError: This Mosquitto came without it.
    """
    program = find_program("mosquitto").resolve()
    is_fetched = program.parent == tools_folder().resolve()
    prefix = program.parents[1] / "root" / "usr" if is_fetched else program.parents[1]
    for folder in _LIBRARY_FOLDERS:
        for found in prefix.glob(f"{folder}/{_BROKER_PLUGIN}"):
            return found
    raise MissingProgramError(
        f"this machine's Mosquitto has no {_BROKER_PLUGIN}, which keeps doorbells apart",
        safe="Nothing was started.",
        do="make deps        (in the checkout; or install Mosquitto 2.0 as your system packs it)",
    )


def tools_folder() -> Path:
    """Return the folder that `make deps` puts fetched programs in."""
    checkout = Path(__file__).parents[2]
    return Path(os.environ.get(ENVIRONMENT_NAME, checkout / ".tools" / "bin"))
