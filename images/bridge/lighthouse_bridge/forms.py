"""Whether an answer is as its form demands. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .problems import Problem

if TYPE_CHECKING:
    from .talk_messages import Field, Form

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
}


def check_form(form: Form) -> None:
    """Raise Problem 400 for a form that no answer can satisfy."""
    unknown = [name for name in form.required if name not in form.properties]
    if unknown:
        raise Problem(400, f"The schema requires {unknown[0][:80]!r}, which is none of its properties.")
    for name, wanted in form.properties.items():
        of_text: list[object] = [wanted.enum, wanted.min_length, wanted.max_length]
        of_number: list[object] = [wanted.minimum, wanted.maximum]
        stray = {"string": of_number, "boolean": of_text + of_number}.get(wanted.type, of_text)
        if any(bound is not None for bound in stray):
            raise Problem(400, f"The property {name[:80]!r} has a bound that a {wanted.type} does not know.")
        if _crossed(wanted.min_length, wanted.max_length) or _crossed(wanted.minimum, wanted.maximum):
            raise Problem(400, f"The bounds of the property {name[:80]!r} leave nothing between them.")


def check_data(form: Form, data: dict[str, Any]) -> None:
    """Raise Problem 400 naming the first value that is not as the form demands."""
    for name in form.required:
        if name not in data:
            raise Problem(400, f"The answer lacks {name[:80]!r}, which the schema requires.")
    for name, value in data.items():
        wanted = form.properties.get(name)
        if wanted is None:
            raise Problem(400, f"The answer has {name[:80]!r}, which is no property of the schema.")
        problem = _problem(wanted, value)
        if problem:
            raise Problem(400, f"The answer's {name[:80]!r} {problem}.")


def _problem(wanted: Field, value: Any) -> str:
    # In Python a bool is an int, in JSON it is not.
    fits = type(value) in _TYPES[wanted.type]
    if not fits:
        return f"is not of the type {wanted.type}"
    if isinstance(value, str):
        if wanted.enum is not None and value not in wanted.enum:
            return "is none of the values that the schema lists"
        return _beyond(len(value), wanted.min_length, wanted.max_length, "characters")
    return _beyond(value, wanted.minimum, wanted.maximum, "")


def _beyond(size: float, low: float | None, high: float | None, unit: str) -> str:
    if low is not None and size < low:
        return f"is less than {low:g} {unit}".rstrip()
    if high is not None and size > high:
        return f"is more than {high:g} {unit}".rstrip()
    return ""


def _crossed(low: float | None, high: float | None) -> bool:
    return low is not None and high is not None and low > high
