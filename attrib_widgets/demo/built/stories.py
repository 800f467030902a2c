"""What each circuit shows, how it works, and what is said of it."""

from __future__ import annotations

from typing import NamedTuple

from ...model.built import Built


class _Question(NamedTuple):
    """A prompt, what the model says after it, what it says after the other prompt, and that prompt."""

    prompt: str
    target: str
    rival: str
    corrupted: str


_COPY = _Question("Say Paris once more", " Paris", " Berlin", "Say Berlin once more")
_SILENT = _Question("Say Paris once more", " Paris", " nothing", "Say nothing once more")
_GATE = _Question("Say Paris once more", " Paris", " nothing", "Say Berlin once more")

STORIES: tuple[Built, ...] = (
    Built(
        "sole-path",
        "one part does it all",
        "L0H0 copies the second word to the output, and nothing else writes there.",
        *_COPY,
        "L0H0 is needed",
        "Damage, recovery and both direct effects are 1: bar and cause agree, as they seldom do.",
    ),
    Built(
        "chain",
        "a part with no bar that everything hangs on",
        'L0H0 only says whether the second word is "Paris"; L0.mlp reads that, and says "Paris" if so, else "nothing".',
        *_GATE,
        "L0.mlp is needed; L0H0 works through later parts",
        "L0H0 writes nothing that the logits read, so its bar and its direct effect are 0, and yet all is lost "
        "without it: L0.mlp reads what it wrote.",
    ),
    Built(
        "induction",
        "two heads in a row: what followed this word before?",
        "L0H0 writes down at every word which word stood before it; L1H0 and L1H1 look for the place where that is the "
        "word they stand on, and copy what is there, while L1H2 writes a little against it.",
        "see Mary Smith and John Jones then Mary",
        " Smith",
        " Jones",
        "see John Smith and Mary Jones then Mary",
        "L1H0 and L1H1 are needed; L0H0 works through later parts",
        "L0H0 has no bar, and the induction heads find nothing without what it wrote.",
    ),
    Built(
        "backup",
        "a part that is not missed, because another stands in",
        "L0H0 copies the second word to the output; L1H0 would copy it just as well, but looks away where the output "
        'holds that word already, and where nobody copies the model says "nothing".',
        *_SILENT,
        "L0H0 is redundant",
        "Without L0H0 nothing is lost, since L1H0 then copies; without both all is. The bar of L1H0 is 0: it has "
        "nothing to do as long as L0H0 is there.",
    ),
    Built(
        "half-backup",
        "a part that is missed half as much as it writes",
        "L0H0 copies the second word to the output; L1H0 copies it half as strongly where L0H0 did not.",
        *_SILENT,
        "L0H0 is partly replaced",
        "What L0H0 writes is worth the whole gap, and without it half of that goes: L1H0 makes up for the other half.",
    ),
    Built(
        "three-way-backup",
        "a backup that has a backup of its own",
        "L0H0 copies the second word to the output, L1H0 where L0H0 did not, and L2H0 where neither did.",
        *_SILENT,
        "L0H0 is redundant",
        "Taking out L0H0 and L1H0 still loses nothing: it is confirmed only once all three are out.",
    ),
    Built(
        "or",
        "either of two parts is enough",
        'L0H0 and L0H1 each say whether the second word is "Paris"; L0.mlp says "Paris" as soon as one of them does, '
        'else "nothing".',
        *_GATE,
        "L0.mlp is needed; 2 others only together (100\u00a0% of the gap)",
        "Taken out one at a time neither head is missed, and put into the other prompt each brings all of it back.",
    ),
    Built(
        "and",
        "both of two parts are needed",
        'L0H0 and L0H1 each say whether the second word is "Paris"; L0.mlp says "Paris" only if both do, else '
        '"nothing".',
        *_GATE,
        "L0.mlp is needed; L0H0 and L0H1 work through later parts",
        "Without either of them all is lost, and put into the other prompt neither brings anything back alone.",
    ),
    Built(
        "suppression",
        "a part that writes against the answer",
        "L0H0 and L0H1 copy the second word to the output with weights 3 and 2, and L1H0 takes 2 of it away.",
        *_COPY,
        "L0H0 and L0H1 are needed; L1H0 suppresses the answer",
        "Without L1H0 the answer is likelier: its damage and its recovery are negative.",
    ),
    Built(
        "erasure",
        "a high bar that hardly arrives",
        "L0H0 copies the second word to the output, L1H0 takes 80 % of whatever is there away again, and L1H1 copies "
        "the word anew, half as strongly.",
        *_COPY,
        "L1H1 is needed; L0H0 can be spared alone",
        "L0H0 has the largest bar, and a fifth of it is left when the answer is read: L1H0 erases the rest, and would "
        "have nothing to erase without L0H0. That is no backup: nobody takes over.",
    ),
    Built(
        "many-hands",
        "no part alone, all of them together",
        "32 heads in 16 layers copy the second word to the output, each a 32nd of it.",
        *_COPY,
        "no part alone, all 48 together (100\u00a0% of the gap)",
        "Each head is worth 3 % of the gap, less than anything is read from, and only all of them out at once show "
        "where the answer comes from.",
    ),
    Built(
        "common-mode",
        "a part that raises every answer alike",
        "L0H0 copies the second word to the output, and L0H1 raises the logits of all words alike where it reads "
        '"Paris".',
        *_COPY,
        "L0H0 is needed",
        "It is asked why Paris rather than Berlin, and L0H1 does nothing to that; of the plain logit of Paris "
        "(`against=()`) it is worth a quarter.",
    ),
    Built(
        "constant",
        "the largest bar, which this comparison cannot test",
        'L0.mlp writes "Paris" whatever it reads and L0H0 copies the second word; where L0H1 reads "Berlin" it writes '
        "something that no logit reads and that makes the norm larger.",
        _COPY.prompt,
        _COPY.target,
        "",
        _COPY.corrupted,
        "L0H0 and L0H1 are needed",
        "L0.mlp writes the same in both prompts, so nothing changes when it is patched: not tested here. Both prompts "
        'are answered "Paris", so there is no rival, and the plain logit falls with the norm, which L0H1 moves.',
    ),
    Built(
        "soft-cap",
        "bars that stop before a soft cap",
        "L0H0 writes the mean of the words to the output, and the logits pass a soft cap, which bends them.",
        *_COPY,
        "L0H0 is needed",
        "The bars add up before the cap and are larger than the gap that is printed behind it; effects are measured "
        "behind it, and L0H0 is worth exactly all of it.",
    ),
)
