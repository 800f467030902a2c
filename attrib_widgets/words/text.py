"""How numbers and tokens are printed, everywhere alike."""

from __future__ import annotations


def signed(value: float, digits: int = 2) -> str:
    """A number with a printed sign: ``+2.71``, ``−0.90`` (a true minus); what reads 0.00 has none."""
    text = f"{abs(value):.{digits}f}"
    if not text.strip("0."):
        return text
    return ("\u2212" if value < 0 else "+") + text


def number(value: float, digits: int = 2) -> str:
    """A number without a plus sign: ``2.71``, ``−0.90`` (a true minus)."""
    return signed(value, digits).removeprefix("+")


def power(value: float) -> str:
    """A number as one digit and a power of ten: ``−4e-07`` (a true minus), for gaps."""
    return ("\u2212" if value < 0 else "") + f"{abs(value):.0e}"


def others_label(count: int) -> str:
    """The name of the row that stands for ``count`` rows left out."""
    return "1 other" if count == 1 else f"{count} others"


def visible(text: str) -> str:
    """A token as people see it: a leading space becomes ``·``, a line break ``⏎``, a tab ``⇥``."""
    body = text.replace("\n", "\u23ce").replace("\t", "\u21e5").replace("\r", "\u240d")
    return "\u00b7" + body[1:] if body.startswith(" ") else body
