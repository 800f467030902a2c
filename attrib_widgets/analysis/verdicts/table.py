"""What may be said of a tested part: every word, its sentence, and the inequality under which it may be said.

One table, from which every surface prints: the first row of :data:`VERDICTS` that holds is the word on a part, every
one of :data:`REMARKS` that holds is added to it, and :data:`TITLES` is what is said of several parts together. With no
more than the four experiments something is said of every part, and of no part two words; what more was measured can
only make a word stronger. See :mod:`.rules` for what a row is.
"""

from __future__ import annotations

from ..experiments.measuring.common import OF_GAP
from .rules import Bound, Measured, Thresholds, Verdict

_HIGH_HIGH = "direct effect high, total effect high: it matters"
_HIGH_LOW = "direct effect high, total effect low: others can stand in for it"
_LOW_HIGH = "direct effect low, total effect high: it works through others"
_LOW_LOW = "direct effect low, total effect low"
_NEGATIVE = "negative: it holds the answer back"

SAME = 1e-5  # the share of its size by which a write may differ, as rounding lets it, and be the same
LATER, LITTLE = "works through later parts", "little alone"
_THROUGH = ("works through later parts", "work through later parts")
_NEEDED = ("is needed", "are needed")
_SPARED = ("can be spared alone", "can each be spared alone")
_SUPPRESSES = ("suppresses the answer", "suppress the answer")

_MEDIATES = (Bound("|d_n|", "<", "tau"), Bound("later", ">=", "tau"), Bound("most", ">=", "tau"))
_DIRECT = (Bound("|d_n|", "<", "tau"), Bound("later", "<", "tau"))
_FOR, _AGAINST = Bound("d_n", ">=", "tau"), Bound("d_n", "<=", "-tau")

_NEEDED_TEXT = "without it {n} of the gap goes; what it writes itself is worth {d_n}"
_TOTAL_TEXT = "without it {n} of the gap goes, by itself it brings back {s}; directly {d_n} and {d_s}"

VERDICTS: tuple[Verdict, ...] = (
    Verdict(
        "same",
        "not tested here",
        "it writes the same in both prompts, and this comparison cannot test it",
        (Bound("differs", "<=", SAME), Bound("most", "<", "tau")),
        "no row: the experiment does not touch it",
    ),
    Verdict(
        "carries",
        "carries the changed word",
        "at the words that differ it stands for these words: {changed_n} of the gap goes with it there, and "
        "{changed_s} comes back, as with the words themselves",
        (Bound("|d_n|", "<", "tau"), Bound("|d_s|", "<", "tau"), Bound("short", "<", "tau")),
        "no row: it is the input",
    ),
    Verdict(
        "either",
        LATER,
        "{either} is enough: without it alone {n} of the gap goes, without all of them {set_n}",
        (
            *_MEDIATES,
            Bound("n", ">", "-tau"),
            Bound("most_n", "<", "spared"),
            Bound("least_s", ">=", "needed"),
            Bound("set_n", ">=", "needed"),
        ),
        _LOW_HIGH,
        _THROUGH,
    ),
    Verdict(
        "all",
        LATER,
        "{both} are needed: by itself it brings back {s} of the gap, all of them together {set_s}; without it {n} goes",
        (
            *_MEDIATES,
            Bound("least_n", ">=", "needed"),
            Bound("most_s", "<", "spared"),
            Bound("set_s", ">=", "needed"),
        ),
        _LOW_HIGH,
        _THROUGH,
    ),
    Verdict(
        "needed and enough",
        LATER,
        "needed, and enough by itself: " + _TOTAL_TEXT,
        (*_MEDIATES, Bound("n", ">=", "needed"), Bound("s", ">=", "needed")),
        _LOW_HIGH,
        _THROUGH,
    ),
    Verdict(
        "needed through",
        LATER,
        "needed, not enough by itself: " + _TOTAL_TEXT,
        (*_MEDIATES, Bound("n", ">=", "needed"), Bound("s", "<", "needed")),
        _LOW_HIGH,
        _THROUGH,
    ),
    Verdict(
        "enough",
        LATER,
        "enough by itself: " + _TOTAL_TEXT,
        (*_MEDIATES, Bound("n", "<", "needed"), Bound("n", ">", "-tau"), Bound("s", ">=", "needed")),
        _LOW_HIGH,
        _THROUGH,
    ),
    Verdict(
        "enough there",
        LATER,
        "enough by itself in the other prompt, where it brings back {s} of the gap ({d_s} directly), and yet here it "
        "holds the answer back: without it the gap grows by {-n} ({-d_n} directly)",
        (*_MEDIATES[:2], Bound("n", "<=", "-tau"), Bound("s", ">=", "needed")),
        _NEGATIVE,
        _THROUGH,
    ),
    Verdict(
        "through",
        LATER,
        _TOTAL_TEXT,
        (*_MEDIATES, Bound("n", "<", "needed"), Bound("n", ">", "-tau"), Bound("s", "<", "needed")),
        _LOW_HIGH,
        _THROUGH,
    ),
    Verdict(
        "holds back through",
        LATER,
        "it holds the answer back: without it the gap grows by {-n}; directly {d_n}",
        (*_MEDIATES[:2], Bound("n", "<=", "-tau"), Bound("s", "<", "needed")),
        _NEGATIVE,
        _THROUGH,
    ),
    Verdict(
        "turned against",
        LATER,
        "it writes for the answer ({d_n} of the gap), and yet without it the gap grows by {-n}",
        (_FOR, Bound("n", "<=", "-tau")),
        _NEGATIVE,
        _THROUGH,
    ),
    Verdict(
        "redundant",
        "redundant",
        "confirmed with {backups}: what it writes is worth {d_n} of the gap, and without it {n} goes, but {joint} once "
        "{backups} can no longer stand in",
        (
            _FOR,
            Bound("n", ">", "-tau"),
            Bound("n", "<", "spared", "d_n"),
            Bound("joint", ">=", "needed", "d_n"),
        ),
        _HIGH_LOW,
        ("is redundant", "are redundant"),
    ),
    Verdict("needed", "needed", _NEEDED_TEXT, (_FOR, Bound("n", ">=", "needed", "d_n")), _HIGH_HIGH, _NEEDED),
    Verdict(
        "partly replaced",
        "partly replaced",
        "what it writes is worth {d_n} of the gap, and without it {n} goes",
        (_FOR, Bound("n", ">=", "spared", "d_n"), Bound("n", "<", "needed", "d_n")),
        "between direct effect high, total effect high and low",
        ("is partly replaced", "are partly replaced"),
    ),
    Verdict(
        "erased",
        "can be spared alone",
        "what it writes is worth {d_n} of the gap, and without it {n} goes: {erasers} erases it, and it is worth "
        "{unerased} once {erasers} cannot",
        (
            _FOR,
            Bound("n", ">", "-tau"),
            Bound("n", "<", "spared", "d_n"),
            Bound("unerased", ">=", "needed", "d_n"),
        ),
        _HIGH_LOW,
        _SPARED,
    ),
    Verdict(
        "spared",
        "can be spared alone",
        "what it writes is worth {d_n} of the gap, and without it alone {n} goes",
        (_FOR, Bound("n", ">", "-tau"), Bound("n", "<", "spared", "d_n")),
        _HIGH_LOW,
        _SPARED,
    ),
    Verdict(
        "turned for",
        LATER,
        "it writes against the answer ({d_n} of the gap), and yet without it {n} of the gap goes",
        (_AGAINST, Bound("n", ">=", "tau")),
        _NEGATIVE,
        _THROUGH,
    ),
    Verdict(
        "suppresses",
        "suppresses",
        "it holds the answer back: without it the gap grows by {-n}; what it writes itself is worth {d_n}",
        (_AGAINST, Bound("n", "<=", "spared", "d_n")),
        _NEGATIVE,
        _SUPPRESSES,
    ),
    Verdict(
        "suppresses, made up",
        "suppresses",
        "it writes against the answer ({d_n} of the gap), but without it the gap changes by {-n}",
        (_AGAINST, Bound("n", ">", "spared", "d_n"), Bound("n", "<", "tau")),
        _NEGATIVE,
        _SUPPRESSES,
    ),
    Verdict("needed a little", "needed", _NEEDED_TEXT, (*_DIRECT, Bound("n", ">=", "tau")), _HIGH_HIGH, _NEEDED),
    Verdict(
        "suppresses a little",
        "suppresses",
        "it holds the answer back: without it the gap grows by {-n}; what it writes itself is worth {d_n}",
        (*_DIRECT, Bound("n", "<=", "-tau")),
        _NEGATIVE,
        _SUPPRESSES,
    ),
    Verdict(
        "counts there",
        "can be spared alone",
        "without it {n} of the gap goes; in the other prompt what it writes is worth {d_s}, and it brings back {s}",
        (*_DIRECT, Bound("|n|", "<", "tau"), Bound("there", ">=", "tau"), Bound("there", ">=", "spared")),
        _HIGH_LOW,
        _SPARED,
    ),
    Verdict(
        "little here",
        LITTLE,
        "without it {n} of the gap goes; in the other prompt what it writes is worth {d_s}, and it brings back {s}",
        (*_DIRECT, Bound("|n|", "<", "tau"), Bound("there", ">=", "tau"), Bound("there", "<", "spared")),
        _LOW_LOW,
    ),
    Verdict(
        "against there",
        "suppresses",
        "without it {n} of the gap goes; put into the other prompt it takes it further away: {s}, directly {d_s}",
        (*_DIRECT, Bound("|n|", "<", "tau"), Bound("against", "<=", "-tau")),
        _NEGATIVE,
        _SUPPRESSES,
    ),
    Verdict(
        "below",
        LITTLE,
        "the largest of the four effects is {most} of the gap: alone it hardly tells the two prompts apart",
        (Bound("most", "<", "tau"), Bound("differs", ">", SAME)),
        _LOW_LOW,
    ),
)

#: What is added to the word, wherever it holds.
REMARKS: tuple[Verdict, ...] = (
    Verdict(
        "more through later",
        "",
        "{n-d_n} of the gap goes through later parts",
        (_FOR, Bound("n-d_n", ">=", "tau")),
    ),
    Verdict(
        "more against through later",
        "",
        "through later parts the gap grows by {d_n-n}",
        (_AGAINST, Bound("d_n-n", ">=", "tau")),
    ),
    Verdict("made up", "", "later parts make up for {d_n-n}", (_FOR, Bound("d_n-n", ">=", "tau"))),
    Verdict(
        "later there",
        "",
        "put into the other prompt it brings back {s} of the gap, {d_s} directly: later parts take part",
        (Bound("|d_n|", ">=", "tau"), Bound("|s-d_s|", ">=", "tau")),
    ),
    Verdict(
        "direct there",
        "",
        "put into the other prompt not through later parts alone: {d_s} of the gap directly",
        (*_MEDIATES[:2], Bound("|d_s|", ">=", "tau")),
    ),
    Verdict(
        "still missed",
        "",
        "spared is meant beside what it writes: {n} of the gap is missed all the same",
        (Bound("n", ">=", "tau"), Bound("n", "<", "spared", "d_n")),
    ),
    Verdict(
        "mean matters",
        "",
        "set to its mean over the words of both prompts, {mean} of the gap goes: it may matter, but for both alike",
        (Bound("most", "<", "tau"), Bound("|mean|", ">=", "tau")),
    ),
    Verdict(
        "mean is little",
        "",
        "set to its mean over the words of both prompts, {mean} of the gap goes",
        (Bound("most", "<", "tau"), Bound("|mean|", "<", "tau")),
    ),
    Verdict("rises", "", "without it more comes from {risers}", (Bound("risen", ">=", "tau"),)),
    Verdict(
        "not confirmed",
        "",
        "once {backups} can no longer stand in, {joint} goes: not confirmed as redundant",
        (_FOR, Bound("n", "<", "spared", "d_n"), Bound("joint", "<", "needed", "d_n")),
    ),
    Verdict(
        "borderline for tau",
        "",
        "borderline: with a tau a little smaller or larger it would be called {words}",
        (Bound("intervals", "<=", 0), Bound("other words", ">=", 1)),
    ),
    Verdict(
        "borderline over pairs",
        "",
        "borderline: the intervals over pairs reach {words}",
        (Bound("intervals", ">", 0), Bound("other words", ">=", 1)),
    ),
)


#: Words that are too long for a chip beside a bar.
SHORT = {
    LATER: "through later parts",
    "carries the changed word": "changed word",
    "can be spared alone": "can be spared",
}

#: The order of the words in a title.
ORDER = ("needed", "redundant", "partly replaced", "can be spared alone", LATER, "suppresses")

#: What is said of several parts, all of which were out at once; ``word`` names them.
TITLES: tuple[Verdict, ...] = (
    Verdict(
        "not together",
        "all that are not missed alone",
        "{others} only together ({set_n} of the gap)",
        (Bound("set_n", ">=", "tau"), Bound("largest", "<", "tau")),
    ),
    Verdict(
        "more together",
        "all that are not missed alone",
        "{others} more together than each ({set_n} of the gap)",
        (Bound("largest", ">=", "tau"), Bound("set_n", ">", 1, "largest")),
    ),
    Verdict(
        "no part alone",
        "all others together",
        "no part alone, all {count} together ({set_n} of the gap)",
        (Bound("set_n", ">=", "tau"), Bound("largest", "<=", 0)),
    ),
    Verdict(
        "outweighed",
        "all others together",
        "all {others} more than any of these ({set_n} of the gap)",
        (Bound("set_n", ">=", "tau"), Bound("largest", ">", 0), Bound("set_n", ">", 1, "largest")),
    ),
    Verdict(
        "together",
        "",
        "without {these} {set_n} of the gap goes; put into the other prompt {set_s} comes back",
        (Bound("set_most", ">=", 0),),
    ),
)

#: What is said of parts that somebody chose and that were out at once: the first row that holds.
CHOSEN: tuple[Verdict, ...] = (
    Verdict(
        "chosen",
        "",
        "without {these}, as in the other prompt: {answer}; {set_n} of the gap goes",
        (Bound("|set_n|", ">=", 0),),
    ),
    Verdict("chosen, zero", "", "with {these} set to zero ({reason}): {answer}; {change}", ()),
    Verdict("chosen, no gap", "", "without {these}, as in the other prompt: {answer}", ()),
)

#: What is said of the gap itself.
GAPS: tuple[Verdict, ...] = (
    Verdict("common", "", OF_GAP[0], (Bound("common", ">=", "tau"),)),
    Verdict("common, turned", "", OF_GAP[1], (Bound("common", "<=", "-tau"),)),
)


def verdict(m: Measured, at: Thresholds | None = None) -> Verdict:
    """The word on a part: the first row that may be said of it.

    Raises:
        ValueError: the four experiments were not all made.
    """
    at = at or Thresholds()
    for row in VERDICTS:
        if row.may_be_said(m, at):
            return row
    raise ValueError(f"Nothing can be said of {dict(m.values)}: the four experiments say something always.")


def gaps(m: Measured, at: Thresholds | None = None) -> list[str]:
    """What may be said of the gap between the two prompts."""
    return [row.said(m) for row in GAPS if row.may_be_said(m, at or Thresholds())]


def chosen(m: Measured, at: Thresholds | None = None) -> str:
    """What is said of chosen parts that were out at once."""
    return next(row.said(m) for row in CHOSEN if row.may_be_said(m, at or Thresholds()))


def titles(m: Measured, at: Thresholds | None = None) -> dict[str, str]:
    """What may be said of several parts together, by the key of its row."""
    return {row.key: row.said(m) for row in TITLES if row.may_be_said(m, at or Thresholds())}


def remarks(m: Measured, at: Thresholds | None = None) -> tuple[Verdict, ...]:
    """Everything else that may be said of it."""
    return tuple(row for row in REMARKS if row.may_be_said(m, at or Thresholds()))
