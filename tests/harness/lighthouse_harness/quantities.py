"""Kubernetes quantities: `500m`, `1Gi`, `2e3`."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, Final

_FORM: Final = re.compile(r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))(?P<suffix>[A-Za-z]*|[eE][+-]?\d+)")
_SUFFIXES: Final = {
    "": Fraction(1),
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    **{letter: Fraction(1000**power) for power, letter in enumerate("kMGTPE", start=1)},
    **{f"{letter}i": Fraction(1024**power) for power, letter in enumerate("KMGTPE", start=1)},
}


def quantity(value: Any) -> Fraction:
    """The number that a quantity stands for: `500m` is 1/2, `1Ki` is 1024.

    Raises `ValueError` for anything that Kubernetes would not read.
    """
    text = str(value)
    found = None if isinstance(value, bool) else _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"{value!r} is not a quantity such as 500m or 1Gi.")
    number, suffix = Fraction(found["number"]), found["suffix"]
    if suffix in _SUFFIXES:
        return number * _SUFFIXES[suffix]
    if suffix[:1] in "eE" and suffix[1:]:
        return (
            Fraction(number * Fraction(10) ** int(suffix[1:]))
            if suffix[1:].lstrip("+-").isdigit()
            else _refuse(text)
        )
    return _refuse(text)


def _refuse(text: str) -> Fraction:
    raise ValueError(f"{text!r} has no suffix of Kubernetes (n u m k M G T P E Ki Mi Gi Ti Pi Ei).")
