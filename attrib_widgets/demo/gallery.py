"""Eight screens of the embedded model to open without Python: ``attrib-widgets gallery`` writes each as a page.

A screen is a line as ``ex.state`` gives it (``aw.explore(state=line)`` opens it in a notebook): no numbers stand here.
The prompts are short, because a page grows with its words, and none may have more than :data:`LARGEST` bytes.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import NamedTuple

INDEX = "index.html"
LARGEST = 300_000


class Screen(NamedTuple):
    """One page of the gallery.

    Attributes:
        name: of its file, without the ending.
        question: what it answers, as a heading.
        state: the screen as a line.
        tested: whether the largest parts are put to the test before it is saved; they stand beside the bars.
        shows: what to look at, in a sentence.
    """

    name: str
    question: str
    state: str
    tested: bool
    shows: str


_NAMES = (
    "model=demo&prompt=Mary+and+John+met.+John+gave+to&answer=+Mary&rival=+John"
    "&compared=Mary+and+John+met.+Mary+gave+to"
)

SCREENS = (
    Screen(
        "paris",
        "Why Paris, and not Berlin?",
        "model=demo&prompt=The+capital+of+France+is&answer=+Paris&rival=+Berlin&compared=The+capital+of+Germany+is"
        "&part=L3H1&tab=pattern",
        False,
        "Every part has a share, and the shares add up to the difference of the two scores; one head is open, with the "
        "word that it reads.",
    ),
    Screen(
        "names",
        "To whom did John give it?",
        _NAMES,
        False,
        "Heads with large bars read one of the two names. Do they decide? Guess, then open the next page.",
    ),
    Screen(
        "names-tested",
        "To whom did John give it, after the test?",
        _NAMES,
        True,
        "The same bars, and what happened when a part was replaced: some large bars do little, and some parts with "
        "hardly any bar do much.",
    ),
    Screen(
        "keys",
        "Why “are”, after the table?",
        "model=demo&prompt=Today+the+keys+near+the+table&answer=+are&rival=+is&compared=Today+the+key+near+the+table"
        "&mode=heads",
        False,
        "A map of all heads and MLPs: which of them know that several keys are meant, with a table in between?",
    ),
    Screen(
        "repeats",
        "What comes after a word that was said before?",
        "model=demo&prompt=apple+river+horse+apple+river&answer=+horse&rival=+piano"
        "&compared=apple+river+piano+apple+river&part=L3H5&tab=pattern",
        False,
        "Words are said again; the open head reads the word that followed the first time.",
    ),
    Screen(
        "tower-bridge",
        "Why not “pound”, at the Tower Bridge?",
        "model=demo&prompt=People+at+the+Tower+Bridge+pay+with+the&answer=+pound&rival=+dollar&mode=concepts",
        False,
        "A wrong answer, by concepts: some are about England and speak for the pound, and others outweigh them.",
    ),
    Screen(
        "togo",
        "Who wrote it, and who only passed it on?",
        "model=demo&prompt=The+capital+of+Togo+is&answer=+Lom%C3%A9&rival=+Islamabad&compared=The+capital+of+Pakistan+is"
        "&mode=trace",
        False,
        "The trace follows the answer back from the part that wrote it to the words that it came from.",
    ),
    Screen(
        "kathmandu",
        "What is written, and then erased?",
        "model=demo&prompt=Kathmandu+is+the+capital+of&answer=+Nepal&part=L0.mlp&mode=order",
        False,
        "The open part has a bar, and most of what it wrote is taken back by later parts: "
        "aw.erasure(ex.attribution, 'L0.mlp') shows it.",
    ),
)


def index(sizes: Mapping[str, int]) -> str:
    """The page that links to all others, which lie beside it.

    Args:
        sizes: of each page by its name, in bytes.
    """
    rows = "\n".join(
        f'<li><a href="{screen.name}.html">{html.escape(screen.question)}</a> '
        f"<small>{sizes[screen.name] / 1000:.0f} kB</small><br>{html.escape(screen.shows)}<br>"
        f"<code>aw.explore(state={html.escape(repr(screen.state))})</code></li>"
        for screen in SCREENS
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>attrib_widgets: gallery</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem }}
li {{ margin: 0 0 1.2rem }}
code {{ font-size: 0.75rem; overflow-wrap: anywhere }}
</style>
</head>
<body>
<h1>Why did the language model say that?</h1>
<p>Eight screens of the small model that comes with attrib_widgets. Each is one file: no network, no Python.</p>
<ol>
{rows}
</ol>
</body>
</html>
"""
