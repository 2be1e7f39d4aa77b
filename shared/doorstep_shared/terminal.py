"""What may be shown on a terminal of what a stranger said.

A terminal obeys what is printed on it: escape sequences retitle it, clear it and move the
cursor, and Unicode's bidirectional controls turn a line round (UTS #55).
"""

import unicodedata
from typing import Final

# Cc: controls, ESC among them. Cf: formats, the bidirectional ones among them. Zl, Zp: line
# ends by another name. Cs: half a character, which no terminal can be sent.
_COMMANDING: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def commands_terminal(character: str) -> bool:
    """Return whether ``character`` could command a terminal; the end of a line does, too."""
    return unicodedata.category(character) in _COMMANDING


def plain(text: str) -> str:
    """Return ``text`` with a mark for each character that could command a terminal.

    Only the ends of lines stay.
    """
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_marked(c) else c for c in text)


def _is_marked(character: str) -> bool:
    return character != "\n" and commands_terminal(character)
