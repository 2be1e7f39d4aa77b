"""What is wrong with settings from the environment: in words, and with a line to type."""

import shlex
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings

_WORDS: Final = {
    "int_parsing": "it is no whole number",
    "int_from_float": "it is no whole number",
    "float_parsing": "it is no number",
    "bool_parsing": "it is neither true nor false",
    "greater_than_equal": "it is less than {ge}",
    "less_than_equal": "it is more than {le}",
    "string_too_short": "it is too short (the least is {min_length})",
    "string_too_long": "it is too long (the most is {max_length})",
    "value_error": "{error}",
}
"""By the validator's name for a problem; of the settings' types, and in its own terms."""


def wrong_settings(
    settings: type[BaseSettings], prefix: str, error: ValidationError
) -> tuple[str, str]:
    """Return the fact and the next step; no value is shown, since it may be a secret.

    Args:
        settings: What was to be built, checked field by field.
        prefix: Of its variables' names.
        error: Why it could not be.
    """
    problems = {str(problem["loc"][0]): _why(problem) for problem in error.errors()}
    names = {field: prefix + field.upper() for field in problems}
    fact = "; ".join(
        f"the setting {names[field]} is wrong: {problems[field]}" for field in problems
    )
    first = next(iter(problems))
    default = shlex.quote(str(settings.model_fields[first].default))
    return fact, f"export {names[first]}={default}        (its default; or another)"


def _why(problem: ErrorDetails) -> str:
    words = _WORDS.get(problem["type"], "it is not written as it has to be")
    return words.format_map(problem.get("ctx", {}))
