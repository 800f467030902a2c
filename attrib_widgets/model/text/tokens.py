"""From what people write to token ids and back, with errors that name the nearest thing that works."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias

from torch import Tensor

from ...words.components import whole
from ...words.errors import AttribError, PositionError, TargetError, TokenizerError, warn
from ...words.text import kind_of, spelled, unspelled
from ..identity.belonging import refuse_foreign
from ..run import Run
from .chat import chat_text, is_chat
from .pieces import Pieces

Prompt: TypeAlias = "str | Sequence[int] | Sequence[Mapping[str, Any]] | Tensor | Run"


class Tokens:
    """A tokenizer at a network: what people write, as ids that the network can read, and back.

    It holds a tokenizer and knows how many ids the network reads, tells apart, and has positions for.
    """

    tokenizer: Any
    name: str
    _said_closing = False

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """Number of ids that have a logit."""

    @property
    @abstractmethod
    def n_embeddings(self) -> int:
        """Number of ids that can be read."""

    @property
    @abstractmethod
    def max_positions(self) -> int | None:
        """The longest prompt; None where there is no such length."""

    @cached_property
    def vocabulary(self) -> tuple[Any, ...]:
        """What the tokenizer does, to be compared with another: padding and truncation apart."""
        tok, backend = self.tokenizer, copy.deepcopy(getattr(self.tokenizer, "backend_tokenizer", None))
        if backend is not None:
            backend.no_padding()
            backend.no_truncation()
        rules = sorted(tok.get_vocab().items()) if backend is None else backend.to_str()
        sample = list(tok("The capital of France is", verbose=False).input_ids)
        return type(tok), rules, repr(tok.special_tokens_map), getattr(tok, "chat_template", None), sample

    @cached_property
    def special_ids(self) -> tuple[int, ...]:
        """Ids of special tokens."""
        return tuple(int(i) for i in self.tokenizer.all_special_ids)

    @cached_property
    def pieces(self) -> Pieces:
        """The tokenizer's tokens as bytes."""
        return Pieces(self.tokenizer)

    def token(self, token_id: int) -> str:
        """The exact text of one token, its leading space included; what is no whole character as its bytes, ``<0xF0>``.

        A token without a text is its id, ``<50300>``. Whatever is printed here is read by :meth:`single_token`.
        """
        data = self.pieces.of(token_id)
        if data is None:
            return f"<{token_id}>"
        return f"<0x{data[0]:02X}>" if self.pieces.spare(token_id) else spelled(data)

    def joined(self, ids: Sequence[int]) -> str:
        """The text of several tokens: bytes that make one character between them are that character."""
        data = self.pieces.joined(ids)
        return "".join(self.token(i) for i in ids) if data is None else spelled(data)

    def same_text(self, token_id: int) -> list[int]:
        """The other tokens that print as this one does."""
        data, text = self.pieces.of(token_id), self.token(token_id)
        return [i for i in self.pieces.ids(data) if i != token_id and self.token(i) == text] if data else []

    def written(self, token_id: int) -> str | int:
        """What names a token as a target: its text, or its id where that text is another token."""
        text = self.token(token_id)
        try:
            return text if self.single_token(text) == token_id else int(token_id)
        except TargetError:
            return int(token_id)

    def token_ids(self, text: str) -> list[int]:
        """Ids of ``text`` as a continuation, exactly as typed: no special tokens added, and no space in front.

        Where no tokens are exactly this text (letters that the tokenizer does not know, or writes otherwise), they are
        what it reads in its place: :meth:`reads` tells.

        Raises:
            TargetError: half a character.
        """
        _refuse_halves(text, TargetError)

        def read(typed: str) -> list[int]:
            return [int(i) for i in self.tokenizer(typed, add_special_tokens=False, verbose=False).input_ids]

        ids = read(text)
        if self.reads(ids, text):
            return ids
        # Tokenizers may put a space in front of what they are given: look it up as one token, ...
        if found := self.pieces.ids(text.encode()):
            return found[:1]
        # ... drop the space that they would add, or put something else in front for them to add it to.
        for before in ("", "\n", "a", ".", "1"):
            joined = read(before + text if before else text.removeprefix(" "))
            skip = read(before) if before else []
            if joined[: len(skip)] == skip and self.reads(joined[len(skip) :], text):
                return joined[len(skip) :]
        return ids

    def reads(self, ids: Sequence[int], text: str) -> bool:
        """Whether ``ids`` are exactly ``text``, byte for byte; where tokens hold no spaces, as it is decoded."""
        if len(ids) > 1 and not self.pieces.hold_spaces:
            return bool(self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False) == text)
        return self.pieces.joined(ids) == text.encode()

    def single_token(self, spec: str | int) -> int:
        """The id of a token given as id or as text: what :meth:`token` prints, bytes such as ``<0xF0>`` included.

        Where several tokens have the same text it is the one that the tokenizer writes. A text that it would write in
        several tokens is a token all the same where there is one.

        Raises:
            TargetError: several tokens (named, with the nearest single-token choices), or an id without a logit.
        """
        number = whole(spec)
        if number is not None:
            return self._with_logit(number, f"Token id {number}")
        if not isinstance(spec, str):
            raise TargetError(f"{spec!r} is not a token.", 'Give its text, for example " Paris", or its id.')
        ids = self.token_ids(spec)
        if len(ids) == 1 and self.reads(ids, spec):
            return self._with_logit(ids[0], f"{spec!r} is token {ids[0]}, which")
        # A token that the tokenizer itself never writes (two digits where it takes them one by one), or one by number.
        named = next(iter(self.pieces.ids(spec.encode())), None)
        if (named := self._by_number(spec) if named is None else named) is not None:
            return self._with_logit(named, f"Token {spec!r}")
        if not ids:
            raise TargetError(f"{spec!r} has no tokens.", 'Give the text of one token, for example " Paris".')
        pieces = ", ".join(repr(self.token(i)) for i in ids)
        count = "another token" if len(ids) == 1 else f"{len(ids)} tokens"
        raise TargetError(f"{spec!r} is {count} here: {pieces}.", self._instead(spec, ids))

    def _with_logit(self, token_id: int, said: str) -> int:
        """``token_id``, where it has a logit; ``said`` is how an error begins."""
        if 0 <= token_id < self.vocab_size:
            return token_id
        known = len(self.tokenizer)
        more = f", and its tokenizer has {known} tokens" if known > self.vocab_size else ""
        raise TargetError(
            f"{said} is outside the vocabulary: {self.name} has logits for {self.vocab_size} tokens, "
            f"ids 0 to {self.vocab_size - 1}{more}.",
            "Use the tokenizer that belongs to the model, or enlarge it: hf_model.resize_token_embeddings(...)."
            if more
            else 'Give the text of a token, for example " Paris", or its id.',
        )

    def _by_number(self, spec: str) -> int | None:
        """The token that ``<0xF0 0x9F>`` names by its bytes, or ``<50300>`` by its id."""
        data = unspelled(spec)
        if data is not None:
            return next(iter(reversed(self.pieces.ids(data))), None)
        number = spec[1:-1] if spec.startswith("<") and spec.endswith(">") else ""
        return int(number) if number.isdecimal() and self.pieces.of(int(number)) is None else None

    def _instead(self, text: str, ids: Sequence[int]) -> str:
        """What to give in the place of a text that is no token."""
        if not self.reads(ids, text):
            return "The tokenizer reads it so; give a text that it writes as it is typed, or an id."
        bare = text.strip()
        forms = [form for word in (bare, bare.capitalize(), bare.lower()) for form in (" " + word, word)]
        others = (f for f in dict.fromkeys(forms) if bare and f != text)
        found = [f for f in others if len(one := self.token_ids(f)) == 1 and self.reads(one, f)]
        if found:
            return f"A target is one token: try {' or '.join(map(repr, found[:3]))}."
        return f"A target is one token: try the first, {self.token(ids[0])!r}, or all of it with aw.phrase(...)."

    def encode(self, prompt: Prompt, *, bos: bool | None = None) -> list[int]:
        """Token ids of a prompt: special tokens as the tokenizer adds them, unless ``bos`` says otherwise.

        What a tokenizer puts behind a text (see :attr:`closing`) is left out: what follows the text is asked.

        Chat messages (``[{"role": "user", "content": "..."}]``) go through the tokenizer's template, which writes
        its special tokens itself.

        Raises:
            PositionError: no tokens, or more than the model has positions for.
            ModelError: a Run of another model, or of this one before it changed.
            TokenizerError: ``bos=True`` and the tokenizer has no beginning-of-sequence token, or no chat template.
        """
        ids = self._checked(self._ids(prompt, bos))
        limit = self.max_positions
        if limit is not None and len(ids) > limit:
            raise PositionError(
                f"The prompt has {len(ids)} tokens and {self.name} has {limit} positions.", "Shorten it."
            )
        return ids

    def cut(self, prompt: Prompt, longest: int) -> list[list[int]]:
        """The token ids of a text of any length in pieces of at most ``longest``, each opened like the text: where that
        begins with the beginning-of-sequence token, they all do.

        Raises:
            PositionError: no tokens, or pieces of more than the model has positions for, or of too few.
            TokenizerError: a token id that is outside the vocabulary.
        """
        ids = self._checked(self._ids(prompt, None))
        begin = ids[:1] if ids[0] == self.tokenizer.bos_token_id else []
        step, limit = longest - len(begin), self.max_positions or longest
        if step < 1 or longest > limit:
            raise PositionError(f"Pieces of {longest} tokens do not fit {self.name}.", f"Use 2 to {limit}.")
        rest = ids[len(begin) :]
        return [begin + rest[start : start + step] for start in range(0, max(1, len(rest)), step)]

    def _ids(self, prompt: Prompt, bos: bool | None) -> list[int]:
        """Token ids of a prompt, however many."""
        if isinstance(prompt, Run):
            refuse_foreign(prompt, self)
            prompt.check_fresh()
            return list(prompt.ids)
        if isinstance(prompt, str):
            _refuse_halves(prompt, PositionError)
            ids = self._open([int(i) for i in self.tokenizer(prompt, verbose=False).input_ids])
        elif is_chat(prompt):  # the template writes the special tokens itself
            text = chat_text(self.tokenizer, prompt)
            ids = [int(i) for i in self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids]
        else:
            flat = _listed(prompt)
            if len(flat) == 1 and isinstance(flat[0], list):  # a batch of one, as tokenizers return it
                flat = flat[0]
            if any(isinstance(i, list) for i in flat):
                raise PositionError(f"A batch of {len(flat)} prompts is not one prompt.", "Run them one at a time.")
            wrong = next((i for i in flat if whole(i) is None), None)
            if wrong is not None:
                raise PositionError(f"{wrong!r} is not a token id.", "A prompt is a text or a list of token ids.")
            ids = [int(i) for i in flat]
        begin = self.tokenizer.bos_token_id
        if isinstance(prompt, str) and begin is not None and ids[:2] == [begin, begin]:
            ids = ids[1:]  # the text brought its own
        if bos and begin is None:
            raise TokenizerError("This tokenizer has no beginning-of-sequence token.", "Leave bos out.")
        if bos and ids[:1] != [begin]:
            ids = [int(begin), *ids]
        if bos is False and begin is not None and ids[:1] == [begin]:
            ids = ids[1:]
        return ids

    def _checked(self, ids: list[int]) -> list[int]:
        begin = self.tokenizer.bos_token_id
        if not ids:
            alone = "" if begin is None else f", or give bos=True: {self.token(begin)} alone is then the prompt"
            raise PositionError("The prompt has no tokens.", f"Type at least one word{alone}.")
        count = self.n_embeddings  # once: it is looked up among the modules
        outside = next((i for i in ids if not 0 <= i < count), None)
        if outside is not None:
            raise TokenizerError(
                f"Token id {outside} is outside this model's vocabulary ({count} tokens).",
                "Is this the tokenizer that belongs to the model?",
            )
        return ids

    @cached_property
    def closing(self) -> tuple[int, ...]:
        """Ids that the tokenizer puts behind every text; empty for most."""
        plain, full = (list(self.tokenizer("a", add_special_tokens=add).input_ids) for add in (False, True))
        if not plain:
            return ()
        begin = next((i for i in range(len(full)) if full[i : i + len(plain)] == plain), len(full))
        return tuple(int(i) for i in full[begin + len(plain) :])

    @property
    def closing_note(self) -> str:
        """That texts are left open, and how to have them closed; empty where nothing closes them."""
        if not self.closing:
            return ""
        end, ids = self.joined(self.closing), ", ".join(map(str, self.closing))
        return (
            f"the tokenizer closes every text with \u201c{end}\u201d; a prompt is left open, so that what follows it "
            f"is asked, not what follows its end (closed: model.run([*run.ids, {ids}]))"
        )

    def _open(self, ids: list[int]) -> list[int]:
        """The ids of a text without what the tokenizer puts behind it; the first time it is said."""
        end = list(self.closing)
        if not end or ids[-len(end) :] != end:
            return ids
        if not self._said_closing:
            self._said_closing = True
            warn(f"{self.name}: {self.closing_note}.")
        return ids[: -len(end)]

    def text_of(self, prompt: Prompt, ids: Sequence[int]) -> str:
        """The prompt as typed, messages in their template, token ids decoded."""
        if is_chat(prompt):
            return chat_text(self.tokenizer, prompt)
        typed = prompt if isinstance(prompt, str) else prompt.text if isinstance(prompt, Run) else None
        return self.joined(ids) if typed is None else typed


def _refuse_halves(text: str, kind: type[AttribError]) -> None:
    """A character outside the basic plane is two in some languages; half of one is no text.

    Raises:
        AttribError: of this ``kind``: there is one.
    """
    try:
        text.encode()
    except UnicodeEncodeError as reason:
        half = text[reason.start]
        raise kind(f"{text!r} holds half a character, {half!r}.", "Type the whole character.") from None


def _listed(prompt: Any) -> list[Any]:
    if isinstance(prompt, Mapping) and "input_ids" in prompt:  # what a tokenizer returns
        prompt = prompt["input_ids"]
    found = prompt.tolist() if hasattr(prompt, "tolist") else prompt  # torch and numpy
    if isinstance(found, (Mapping, bytes)) or not hasattr(found, "__iter__"):
        raise PositionError(f"{kind_of(prompt, start=True)} is not a prompt.", "Give a text or a list of token ids.")
    return list(found)
