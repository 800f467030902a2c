"""What a feature adds, in one line whose printed factors multiply to its printed number."""

from __future__ import annotations

from typing import NamedTuple

from ..words.text import digits_for, read_number, signed, significant


class Arithmetic(NamedTuple):
    """What a feature adds to what is explained, as printed: ``fires`` x ``unit`` reads ``value`` to its last digit.

    ``unit`` is what one unit of activation adds; ``before`` is the same before the norms on its way divide it, and
    ``norm`` what they divide by together ("" both where there is none). ``reads`` says what it is read through.
    """

    fires: str
    unit: str
    before: str
    norm: str
    value: str
    target: str
    reads: str

    def line(self) -> str:
        """``fires at 8.09, promotes ·Paris by 0.1607 per unit (0.7301 before the norm divides by 4.543): 8.09 × 0.1607
        = +1.30``."""
        verb = "suppresses" if read_number(self.unit) < 0 else "promotes"
        divided = f" ({self.before} before the norm divides by {self.norm})" if self.norm else ""
        reads = f"; {self.reads}" if self.reads else ""
        return (
            f"fires at {self.fires}, {verb} {self.target} by {self.unit} per unit{divided}: "
            f"{self.fires} × {self.unit} = {self.value}{reads}"
        )


def arithmetic(
    activation: float, unit: float, divisor: float, value: float, target: str = "", reads: str = ""
) -> Arithmetic:
    """The factors of ``value``, with as few digits as it takes for their printed product to print as ``value`` does.

    Args:
        activation: how strongly the feature fires.
        unit: what one unit of that adds, in the unit of what is explained.
        divisor: what the norms on the way divide by; 1 where there is none.
    """
    places = digits_for(value)
    printed = signed(value, places)
    for digits in range(3, 12):
        fires, each, norm, before = (significant(v, digits) for v in (activation, unit, divisor, unit * divisor))
        factors = read_number(fires) * read_number(each)
        undivided = read_number(fires) * read_number(before) / read_number(norm)
        if signed(factors, places) == printed == signed(undivided, places):
            break
    plain = abs(divisor - 1) < 1e-9
    return Arithmetic(fires, each, "" if plain else before, "" if plain else norm, printed, target, reads)
