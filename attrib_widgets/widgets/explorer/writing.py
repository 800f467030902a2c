"""More than one word: the model goes on behind the prompt, and every word of the text can be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...words.errors import AttribError
from ...words.targets import Target, logit
from ..questions.address import Looking
from ..questions.passage import WRITTEN, Passages, left_out, word_of, written
from ..questions.question import Question, asked
from ..shapes.text import word
from ..transport.requests import from_python
from .filling import Filling

if TYPE_CHECKING:
    from ...analysis.attribution.phrases import PhraseAttribution
    from ...model.running.worker import Job
    from ..questions.passage import Passage


def shown(all: bool, looking: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Where one looks, at all words or not."""
    found = dict(looking or {"tab": "", "mode": "size"})
    found.pop("all", None)
    return {**found, "all": True} if all else found


class Writing(Filling):
    """A view whose prompt can go on, and whose words are questions.

    ``phrase`` is what follows the prompt, if anything does; ``word`` the word that is explained.
    """

    showing = Looking({"tab": "", "mode": "size"}).tag(sync=True)
    checked = (*Filling.checked, "showing")
    _passages: Passages

    @property
    def _passage(self) -> Passage | None:
        return self._passages.of(self._now.question)

    @property
    def phrase(self) -> PhraseAttribution | None:
        """The words that follow the prompt, each with its attribution; None where none do."""
        return None if self._passage is None else self._passage.phrase

    @property
    def _all(self) -> PhraseAttribution | None:
        """The words that follow the prompt, while they are shown together."""
        return self.phrase if self.showing.get("all") else None

    def generate(self, n: int = WRITTEN, *, seed: int | None = None) -> PhraseAttribution:
        """Let the model go on behind the prompt: what *Continue* does. What it wrote before is written anew.

        The text is that of ``model.generate(prompt, n)``, or with a seed of ``model.generate(prompt, n, temperature=1,
        seed=seed)``: the same seed gives the same text.

        Args:
            n: how many tokens, at most: a text may end before.
            seed: samples at temperature 1; None takes the likeliest token each time.

        Returns:
            the words, each with its attribution: ``ex.phrase``. ``ex.word = ex.phrase.start`` asks for the first one.

        Raises:
            AttribError: no such number, or the answer is hidden still.
        """
        if n == 0:  # on the page it takes the words away again
            raise AttribError("0 is not a number of tokens.", "Give 1 or more.")
        self._ask(from_python(), {"write": {"n": n, "seed": seed}})
        assert self.phrase is not None
        return self.phrase

    @property
    def word(self) -> int | None:
        """The position of the word that is explained where it stands in the text; setting it asks for another one.

        None while all words that follow the prompt are shown together (which setting it to None does), and while
        something else is explained: what comes after the text, a token that is not in it.
        """
        told = None if self._all is not None else word(self.attribution)
        return None if told is None else told["at"]

    @word.setter
    def word(self, value: int | None) -> None:
        if value is None:
            if self._passage is None:
                raise AttribError("Nothing follows the prompt.", "Let the model go on: ex.generate(8).")
            self.showing = shown(True, self.showing)
        else:
            self._ask(from_python(), {"word": value})

    def _ask(self, job: Job, args: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def _next(self, job: Job, args: Mapping[str, Any]) -> Question:
        """The question that a person asks next."""
        before = self._now.question
        if args.get("line"):
            return self.asked_line(args["line"])
        if args.get("write") is not None:
            return self._written(job, args["write"])
        if args.get("word") is not None:
            return self._of_word(word_of(self.run, args["word"]))
        if self._passage is not None and args.get("prompt") is not None:  # another prompt has other words behind it
            before = self._passage.origin
        question = asked(self.model, before, args)
        passage = self._passages.of(question)
        if passage is None or args.get("corrupted", args.get("compare")) is None:
            return question
        start, other = passage.phrase.start, question.corrupted
        ids = None if other is None else tuple(self.model.encode(other))
        whole = ids is not None and len(ids) == len(passage.ids) and ids[start:] == passage.ids[start:]
        passage.compared = ids[:start] if ids is not None and whole else ids
        again, said = passage.question(question.position, question.target)
        self._passages.tell(again, said)
        return replace(again, alone=question.alone)

    def _of_word(self, at: int) -> Question:
        """Why this word, where it stands?"""
        now, passage = self._now, self._passage
        rival = isinstance(now.question.target, Target) and now.question.target.against
        moved = at - 1 != now.attribution.position
        said = ["The rival belonged to another word."] if rival and moved else []
        if passage is not None:
            question, told = passage.question(at - 1)
        else:
            token = self.model.written(self.run.ids[at])
            question, told = replace(now.question, target=logit(token), position=at - 1, alone=False), ""
            if now.corrupted is not None and (told := left_out(self.run, now.corrupted.run.ids, at - 1)):
                question = replace(question, corrupted=None)
        self._passages.tell(question, " ".join([*said, *([told] if told else [])]))
        return question

    def _written(self, job: Job, args: Mapping[str, Any]) -> Question:
        """The model writes, and what is explained stays; of a word that it wrote before, the first one is."""
        if "candidates" in self.hidden:
            raise AttribError("What comes next is hidden still.", "Reveal it first: ex.reveal().")
        now, passage = self._now, self._passage
        if args.get("n") == 0 and passage is not None:
            return passage.origin
        question, compared = now.question, None if now.corrupted is None else tuple(now.corrupted.run.ids)
        run, unit = now.run, "nats" if now.attribution.target.kind == "log_prob" else "logits"
        if passage is not None:
            question, compared = passage.origin, passage.compared
            run = self._run_of(passage, job)
        made = written(run, question, args.get("n", WRITTEN), args.get("seed"), unit, job)
        made.compared = compared
        self._passages.keep(made)
        at, target = now.attribution.position, now.question.target
        kept = at < made.phrase.start and isinstance(target, Target)
        asked, said = made.question(at if kept else made.phrase.start - 1, target if kept else None)
        self._passages.tell(asked, said)
        return replace(asked, alone=now.question.alone and kept)

    def _run_of(self, passage: Passage, job: Job) -> Any:
        """The prompt of a passage alone."""
        known = self._memory.runs().get(passage.origin.prompt)
        return known if known is not None and known.fresh else self.model.run(passage.origin.prompt)
