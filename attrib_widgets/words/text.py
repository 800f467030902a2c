"""How numbers and tokens are printed, everywhere alike."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

#: Bytes that are no whole character, as they are printed: ``<0xF0>``, ``<0xF0 0x9F>``.
_BYTES = re.compile(r"<(0x[0-9A-F]{2}(?: 0x[0-9A-F]{2})*)>")
#: How a word begins that is spoken with a vowel: not unit, ufunc, user, one or euro, but ndarray.
_VOWEL = re.compile(r"(?!(?i:eu|uni(?!n)|ui|ub|uf|uu|us[ae]|ut[ei])|(?i:one)(?![a-z]))(?i:[aeiou]|nd)")
#: What ends a line, moves the cursor or a terminal's colours, turns the direction of what follows, or has no encoding.
_BREAKING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SIGNS = {"\n": "\u23ce", "\t": "\u21e5", "\r": "\u240d"}
_ODD = re.compile("[\udc80-\udcff]+")


def signed(value: float, digits: int = 2) -> str:
    """A number with a printed sign: ``+2.71``, ``−0.90`` (a true minus); what reads 0.00 has none."""
    text = f"{abs(value):.{digits}f}"
    if not text.strip("0."):
        return text
    return ("\u2212" if value < 0 else "+") + text


def number(value: float, digits: int = 2) -> str:
    """A number without a plus sign: ``2.71``, ``−0.90`` (a true minus)."""
    return signed(value, digits).removeprefix("+")


def digits_for(most: float, least: int = 2) -> int:
    """Digits after the point for a list whose largest number is this: ``least``, and more where all would read 0.00."""
    if not 0 < abs(most) < 0.02:
        return least
    return max(least, min(12, 1 - math.floor(math.log10(abs(most)))))


def significant(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, and no power of ten: ``8.09``, ``0.161``, ``−0.00320``."""
    size = math.floor(math.log10(abs(value))) if value else 0
    return number(value, max(0, digits - 1 - size))


def read_number(text: str) -> float:
    """A printed number: ``−0.90`` with its true minus."""
    return float(text.replace("\u2212", "-"))


def digits_of(values: Iterable[float]) -> int:
    """Digits after the point for a column of numbers: two, and more where its largest is below 0.2 (as on the page)."""
    most = max((abs(v) for v in values if v == v), default=0.0)
    return 3 if 0.02 <= most < 0.2 else 4 if 0.002 <= most < 0.02 else digits_for(most)


def gap_said(value: float, unit: str) -> str:
    """``a gap of 9.56 logits``: with as many digits as it takes not to read 0.00."""
    return f"a gap of {number(value, digits_for(value))} {unit}".rstrip()


def percent(p: float) -> str:
    """A probability, or another part of a whole: ``85 %``, ``0.3 %``, ``<0.1 %``, ``>99.9 %``; only all or nothing
    reads 100 or 0. The space does not break. The page prints the same (``percent`` in format.ts)."""
    v = 100 * p
    if not v > 0:  # NaN included
        return "0\u00a0%" if v <= 0 else "n/a"
    if v < 0.1:
        return "<0.1\u00a0%"
    if v >= 99.95:
        return "100\u00a0%" if v >= 100 else ">99.9\u00a0%"
    return f"{v:.{1 if v < 10 or v > 99 else 0}f}\u00a0%"


def share(value: float, digits: int = 0) -> str:
    """A share that may lie below 0 or above 1, such as one of a gap: ``43 %``, ``−12 %``, ``149 %``. The space does not
    break."""
    return f"{number(100 * value, digits)}\u00a0%"


def power(value: float) -> str:
    """A number as one digit and a power of ten: ``−4e−7`` (true minuses), for mismatches. The page prints the same
    (``tiny`` in format.ts)."""
    digit, _, exponent = f"{abs(value):.0e}".partition("e")
    return ("\u2212" if value < 0 else "") + (f"{digit}e{number(int(exponent), 0)}" if exponent else digit)


def how_many(count: int, noun: str) -> str:
    """``"1 target"``, ``"2 targets"``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def placed(tokens: Sequence[str]) -> list[str]:
    """Tokens as they are printed, those that stand there more than once with their positions: ``·John @4``."""
    return [f"{visible(t)} @{i}" if tokens.count(t) > 1 else visible(t) for i, t in enumerate(tokens)]


def others_label(count: int) -> str:
    """The name of the row that stands for ``count`` rows left out."""
    return "1 other" if count == 1 else f"{count} others"


def enumerated(names: Sequence[str], most: int = 99) -> str:
    """``"A"``, ``"A and B"``, ``"A, B and C"``, ``"A, B, C and 2 more"``."""
    shown = list(names[:most])
    rest = len(names) - len(shown)
    last = [f"{rest} more"] if rest else [shown.pop()] if len(shown) > 1 else []
    return " and ".join([", ".join(shown), *last])


def indefinite(noun: str, *, start: bool = False) -> str:
    """A noun with its article, as it is spoken: ``an int``, ``a Tensor``, ``a ufunc``, ``an SAE``. ``start``: of a
    sentence."""
    letters = noun[:2].isupper() and len(noun) > 1  # spelled letter by letter
    vowel = noun[:1] in "AEFHILMNORSX" if letters else bool(_VOWEL.match(noun))
    found = f"an {noun}" if vowel else f"a {noun}"
    return found[:1].upper() + found[1:] if start else found


def kind_of(value: object, *, start: bool = False) -> str:
    """The type of a value with its article: ``an int``. ``start``: of a sentence."""
    return indefinite(type(value).__name__, start=start)


def safe(text: str) -> str:
    r"""A text as one line that stays where it is put: what would break it is shown as its sign or code, ``\u001b``."""
    return _BREAKING.sub(lambda found: _sign(found.group()), text)


def visible(text: str) -> str:
    r"""A token as people see it: a leading space becomes ``·``, a line break ``⏎``, a tab ``⇥``, and whatever
    else cannot be seen its code, ``\u200b``, as on the page (``mark`` in format.ts)."""
    body = "".join(c if c == " " or c.isprintable() else _sign(c) for c in text)
    return "\u00b7" + body[1:] if body.startswith(" ") else body


def bracketed(token: str) -> str:
    """A token in brackets, the space before it outside of them."""
    word = token.lstrip(" ")
    return f"{token[: len(token) - len(word)]}[{word}]"


def _sign(char: str) -> str:
    code = ord(char)
    return _SIGNS.get(char) or (f"\\u{{{code:x}}}" if code > 0xFFFF else f"\\u{code:04x}")


def spelled(data: bytes) -> str:
    """The text of some tokens' bytes. What is no whole character stands as its bytes: ``<0xF0 0x9F>``."""
    text = data.decode("utf-8", "surrogateescape")  # an odd byte becomes one surrogate
    return _ODD.sub(lambda odd: f"<{' '.join(f'0x{ord(c) - 0xDC00:02X}' for c in odd.group())}>", text)


def unspelled(text: str) -> bytes | None:
    """The bytes that :func:`spelled` printed so; None where ``text`` names none by number."""
    parts = _BYTES.split(text)
    if len(parts) == 1:
        return None
    found = (bytes.fromhex(p.replace("0x", "")) if i % 2 else p.encode() for i, p in enumerate(parts))
    return b"".join(found)
