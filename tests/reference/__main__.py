"""`make reference`: write every page that is made from the code.

It stands among the tests because it needs all the packages, ships with none of them, and
what it writes is what `tests/unit/docs/test_reference.py` compares.
"""

import sys

from tests.reference.pages import PAGES, wrong


def main() -> None:
    """Write each page that differs, and say which."""
    if problems := wrong():
        sys.exit("\n".join(problems))
    for path, make in PAGES.items():
        text = make()
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            sys.stderr.write(f"{path.name} is written anew\n")


if __name__ == "__main__":
    main()
