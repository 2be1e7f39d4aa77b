"""The block of commands that opens a clip: as it is printed, run, shown and written."""

from typing import Final

ENV_LINE: Final = 'eval "$(.venv/bin/doorstep-sim env)"'
"""Typed first in another terminal, in the folder of the checkout."""

KEY_COMMAND: Final = "doorstep key export > me.txt"
KEYRING_COMMAND: Final = (
    'curl -fsS -H "Authorization: Bearer $TOKEN" "$API/v1/keyring.age"'
    " | age -d -i me.txt > household.txt"
)
CLIP_COMMAND: Final = (
    'curl -fsS -H "Authorization: Bearer $TOKEN" "$API/v1/clips/latest/file.age"'
    " | age -d -i household.txt > clip.mp4"
)
COMMANDS: Final = (KEY_COMMAND, KEYRING_COMMAND, CLIP_COMMAND)
BLOCK: Final = (ENV_LINE, *COMMANDS)
