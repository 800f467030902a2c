"""The roles that a head can be called, each with its measures, the thresholds and where it was defined.

A head is called a role only where every measure of the role stands above its threshold, and above the 99th percentile
of what the best of all heads reaches by chance.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One number per head: ``threshold`` is what it must reach, ``null`` says what chance does there."""

    key: str
    name: str
    threshold: float
    null: str


@dataclass(frozen=True)
class Role:
    """What a head is called: its ``letter`` in pictures, its measures, what it ``does`` in few words, what that means
    exactly, and who defined it."""

    name: str
    letter: str
    measures: tuple[Measure, ...]
    does: str
    means: str
    source: str


_ELSEWHERE = "the same patterns, read at a random earlier position"
_FIXED = "attention to another position, the same from everywhere"
_ROWS = "the rows of the unembedding permuted"
_KEYS = "the keys permuted"
_SIGNS = "the sign of every pair's effect drawn at random"


def _pattern(
    name: str, letter: str, does: str, means: str, source: str, null: str = _ELSEWHERE, threshold: float = 0.4
) -> Role:
    return Role(name, letter, (Measure(name, "attention", threshold, null),), does, means, source)


NEGATIVE = Measure("negative copying", "own token suppressed", 0.5, _ROWS)
PATTERN = (
    _pattern(
        "previous token",
        "P",
        "reads the token before",
        "It attends from every token to the one before it.",
        "Elhage et al. 2021; Olsson et al. 2022 (arXiv 2209.11895)",
    ),
    _pattern(
        "duplicate token",
        "D",
        "reads where this token stood before",
        "It attends from a repeated token to where that token stood before.",
        "Wang et al. 2022 (arXiv 2211.00593)",
    ),
    _pattern(
        "induction",
        "I",
        "reads what followed this token before",
        "It attends from a repeated token to what followed it the first time.",
        "Olsson et al. 2022 (arXiv 2209.11895)",
    ),
    _pattern(
        "current token",
        "C",
        "reads the token that it stands on",
        "It attends from every token to that token itself.",
        "Elhage et al. 2021",
    ),
    _pattern(
        "first-token sink",
        "F",
        "reads the first token, whichever it is",
        "It attends from every token to the first one, whichever that is.",
        "Xiao et al. 2023 (arXiv 2309.17453)",
        _FIXED,
        # There are few other positions, so that their best is beaten by chance far more often than once in a hundred:
        # of 160 random networks with learned positions six had a head above .4, and none above .6.
        0.6,
    ),
)
CIRCUIT = (
    Role(
        "copying",
        "K",
        (
            Measure("eigenvalues", "share of positive eigenvalues", 0.5, _ROWS),
            Measure("direct copying", "own token promoted", 0.5, _ROWS),
        ),
        "writes for the token that it reads",
        "It writes for the token that it reads: the eigenvalues of its OV circuit are positive, and the token that it "
        "reads is among those that it promotes most.",
        "Elhage et al. 2021; Wang et al. 2022 (arXiv 2211.00593)",
    ),
    Role(
        "copy suppression",
        "S",
        (NEGATIVE, Measure("own key", "prediction looks for itself", 0.5, _KEYS)),
        "writes against the token that would be said",
        "It looks for the token that is about to be predicted and writes against it.",
        "McDougall et al. 2023 (arXiv 2310.04625)",
    ),
    Role(
        "negative name mover",
        "N",
        (NEGATIVE,),
        "writes against the token that it reads",
        "It writes against the token that it reads, whichever kind of token that is.",
        "Wang et al. 2022 (arXiv 2211.00593)",
    ),
)
MOVER = Role(
    "name mover",
    "M",
    (
        Measure("to the logits", "direct share of the gap", 0.05, _SIGNS),
        Measure("reads the answer", "attention", 0.4, _ELSEWHERE),
    ),
    "reads the name that answers, and writes for it",
    "In the task of two names it attends to the name that answers and writes for it.",
    "Wang et al. 2022 (arXiv 2211.00593)",
)
INHIBITION = Role(
    "S-inhibition",
    "H",
    (Measure("to the queries", "share of the gap through name movers' queries", 0.05, _SIGNS),),
    "turns name movers away from the repeated name",
    "In the task of two names it turns the name movers away from the name that is repeated.",
    "Wang et al. 2022 (arXiv 2211.00593)",
)
TASK = (MOVER, INHIBITION)
#: Every role, in the order in which they are printed.
ROLES: tuple[Role, ...] = (*PATTERN, *CIRCUIT, *TASK)
#: Every measure by its key.
MEASURES = {measure.key: measure for role in ROLES for measure in role.measures}
