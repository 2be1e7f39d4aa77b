"""What another terminal needs to reach the running stack: export lines."""

import os
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path

from doorstep_client.clips import ClipItem
from doorstep_client.errors import NotThereError, ServiceUnreachableError
from doorstep_client.service import Service
from doorstep_shared.errors import RefusedError
from doorstep_simulator.folder import CLOUD_FOLDER, DOORBELL_FOLDER, read_stack_url
from doorstep_simulator.tools import tools_folder

TOKEN_FILE = "token"  # noqa: S105  # its name
OWNER_FOLDER = "owner"


@dataclass(frozen=True, slots=True)
class Exports:
    """The variables of DESIGN's block of commands, and which folders our programs look in.

    Attributes:
        api: Address of the service.
        token: An API token.
        clip_id: The newest clip whose file is stored; empty if there is none yet.
        folder: Where the stack runs.
    """

    api: str
    token: str = field(repr=False)
    clip_id: str
    folder: Path

    @property
    def home(self) -> Path:
        """Return the folder of the owner's keys."""
        return self.folder / OWNER_FOLDER

    def lines(self) -> list[str]:
        """Return shell lines to evaluate: ``export`` and ``umask`` only."""
        values = self._values().items()
        lines = [f"export {name}={shlex.quote(value)}" for name, value in values]
        folders = ":".join(shlex.quote(str(folder)) for folder in _program_folders())
        return ["umask 077", *lines, f'export PATH={folders}:"$PATH"']

    def environment(self) -> dict[str, str]:
        """Return this process's environment with the same variables."""
        path = os.pathsep.join(map(str, _program_folders()))
        path = f"{path}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return dict(os.environ) | self._values() | {"PATH": path}

    def _values(self) -> dict[str, str]:
        return {
            "API": self.api,
            "TOKEN": self.token,
            "ID": self.clip_id,
            "DOORSTEP_HOME": str(self.home),
            "DOORSTEP_CLOUD_STATE_DIR": str(self.folder / CLOUD_FOLDER),
            "DOORSTEP_DEVICE_STATE_DIR": str(self.folder / DOORBELL_FOLDER),
        }


def read_exports(folder: Path) -> Exports:
    """Return the variables for the stack that runs in ``folder``.

    Raises:
        RefusedError: None runs there, or it is not set up yet.
    """
    api = read_stack_url(folder)
    try:
        token = (folder / TOKEN_FILE).read_text().strip()
    except FileNotFoundError as error:
        raise RefusedError(
            f"the stack in {folder} is not set up yet",
            safe="Nothing was changed.",
            do="wait until `make up` says that it is ready, then type the same line again",
        ) from error
    # A whole path: the shell may go elsewhere.
    return Exports(api, token, _newest_clip(api, token), folder.absolute())


def _newest_clip(api: str, token: str) -> str:
    try:
        with Service(api, token) as service:
            return service.get("/v1/clips/latest", ClipItem).id
    except NotThereError:
        return ""
    except ServiceUnreachableError as error:
        raise RefusedError(
            f"no stack runs at {api} any more",
            safe="What it stored is kept.",
            do="make up        (in another terminal)",
        ) from error


def _program_folders() -> tuple[Path, Path]:
    # Not resolved: in a virtual environment this is a link to another Python's folder.
    return Path(sys.executable).parent, tools_folder()
