"""What is shown when nobody says what; apart, so that the command knows it at once."""

from typing import Final

DEFAULT_SEED: Final = 7
DEFAULT_SCENE_S: Final = 40.0

# Seed and length. The scripted part has one visitor in a hurry: at the bell when the camera
# has its pre-roll, and gone soon. After that somebody comes now and then.
UP_SCENE: Final = "7:18"
