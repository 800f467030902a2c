"""What the answer is held against where a question names nothing: what the model says after the comparison prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from attrib_widgets import demo

from ...analysis.experiments.measuring.common import common_said, single_logit
from ...analysis.experiments.measuring.pairs import rivals_of
from ...words.targets import AnyTarget, logit_diff
from ...words.text import visible

if TYPE_CHECKING:
    from ...model.run import Run


#: So many prompts of the model's own are tried for one that is answered otherwise.
TRIED = 4
GOOD = "A good comparison changes one word, keeps the number of tokens, and is answered otherwise"


@dataclass(frozen=True)
class Contrast:
    """What a comparison offers to hold against a single logit: ``rival``, its likeliest token other than what is
    explained (None, and why in ``said``), whether it is the comparison's answer, and whether it was ``taken``.

    ``common`` says how much of the gap is common to all tokens where none was. ``matched`` is a prompt like this one
    that is answered otherwise, where the two are answered alike and one is known.
    """

    rival: str | int | None
    leads: bool
    taken: bool
    said: str = ""
    common: str = ""
    matched: str = ""

    @property
    def told(self) -> str:
        """What is to be known of the question, in a sentence."""
        if self.taken:
            which = (
                "the answer to the other prompt" if self.leads else "the likeliest other token after the other prompt"
            )
            return f"Rather than {visible(str(self.rival))}, {which}"
        said = self.said or self.common
        return said[:1].upper() + said[1:]


def contrast_of(
    run: Run, other: Run, target: AnyTarget, position: int, alone: bool
) -> tuple[AnyTarget, Contrast | None]:
    """(what is explained, what the comparison offers): a plain logit is held against its rival, the one of every other
    experiment (:func:`..analysis.experiments.measuring.pairs.rivals_of`), unless it was asked for ``alone``.

    Args:
        position: of ``run``; the comparison is read as far from its end.

    Raises:
        TargetError: the target is several tokens here.
        PositionError: the comparison is too short.
    """
    plain = single_logit(target)
    if plain is None or plain.against:
        return target, None
    model, back = run.model, position - run.n_positions
    own = {model.single_token(t) for t in plain.tokens}
    found, said = rivals_of([(run, other)], back, [own])
    if found is None:
        matched = _matched(run, position)
        return target, Contrast(None, False, False, said if matched else f"{said}. {GOOD}", matched=matched)
    rival = model.written(found[0])
    leads = other.top(1, back)[0].id == found[0]
    if alone:
        return target, Contrast(rival, leads, False, common="".join(common_said([(run, other)], [plain], back)))
    return logit_diff(plain.tokens, rival), Contrast(rival, leads, True)


def _matched(run: Run, position: int) -> str:
    """A prompt that the model suggests, or was taught, with as many tokens, one of them another, and another answer."""
    model = run.model
    known = [text for s in model.suggestions for text in (s.prompt, s.corrupted)]
    if model.folder is not None and model.folder == demo.path():
        known = [*known, *demo.prompts()]
    suggested = [s.corrupted for s in model.suggestions if s.prompt == run.text]
    tried = 0
    for text in dict.fromkeys([*suggested, *known]):
        ids = model.encode(text)
        if len(ids) != run.n_positions or sum(a != b for a, b in zip(ids, run.ids, strict=True)) != 1:
            continue
        tried += 1
        if model.run(text).top(1, position)[0].id != run.top(1, position)[0].id:
            return text
        if tried == TRIED:
            break
    return ""
