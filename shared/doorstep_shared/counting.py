"""Numbers of things, as a person says them."""


def many(count: int, what: str) -> str:
    """Return ``count`` with the noun ``what``, which takes an s unless there is one of it."""
    return f"{count} {what}{'' if count == 1 else 's'}"
