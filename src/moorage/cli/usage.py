"""What is wrong with a command's values, in the words that the settings have for it."""

from typing import Any

import typer
from typer.core import TyperGroup

_WANTS = {
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number that is not as long",
    "float_parsing": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} at most",
}
"""By what pydantic, which typer has look at the values, calls the trouble."""


class Commands(TyperGroup):
    """The commands of `moorage`."""

    def invoke(self, ctx: Any) -> Any:
        """Run one of them. Raises BadParameter."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = _explain(error)
            raise


def _explain(error: typer.BadParameter) -> str:
    errors = getattr(error.__cause__, "errors", None)
    if not callable(errors):
        return error.message
    first = errors()[0]
    wanted = _WANTS.get(first["type"])
    if wanted is None:
        return error.message.removeprefix("Value error, ")
    return f"want {wanted.format(**first.get('ctx', {}))}; this is {first['input']!r}"
