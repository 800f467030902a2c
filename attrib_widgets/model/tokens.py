"""From what people write to token ids and back, with errors that name the nearest thing that works."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias

from torch import Tensor

from ..words.components import whole
from ..words.errors import PositionError, TargetError, TokenizerError
from .chat import chat_text, is_chat
from .identity.belonging import refuse_foreign
from .run import Run

Prompt: TypeAlias = "str | Sequence[int] | Sequence[Mapping[str, Any]] | Tensor | Run"


class Tokens:
    """A tokenizer at a network: what people write, as ids that the network can read, and back.

    It holds a tokenizer and knows how many ids the network reads, tells apart, and has positions for.
    """

    tokenizer: Any
    name: str

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

    def token(self, token_id: int) -> str:
        """The exact text of one token, its leading space included."""
        piece = self.tokenizer.convert_ids_to_tokens(int(token_id))
        if piece is None:
            return f"<{token_id}>"
        if "\u2581" in piece:  # SentencePiece writes a space so, and decoding would drop it
            return str(piece).replace("\u2581", " ")
        return str(self.tokenizer.decode([int(token_id)], clean_up_tokenization_spaces=False))

    def token_ids(self, text: str) -> list[int]:
        """Ids of ``text`` as a continuation: no special tokens added."""
        ids = [int(i) for i in self.tokenizer(text, add_special_tokens=False).input_ids]
        if "".join(self.token(i) for i in ids) != text:
            # SentencePiece tokenizers put a space in front of what they are given: look the piece up as typed.
            # A byte has a piece of its own there.
            for name in (text.replace(" ", "\u2581"), "".join(f"<0x{byte:02X}>" for byte in text.encode())):
                piece = self.tokenizer.convert_tokens_to_ids(name)
                if piece is not None and self.token(piece) == text:
                    return [int(piece)]
            # Several pieces: drop the space they would add, or put a line break in front for them to add it to.
            for before, rest in ("", text.removeprefix(" ")), ("\n", text):
                joined = self.tokenizer(before + rest, add_special_tokens=False).input_ids
                skip = self.tokenizer(before, add_special_tokens=False).input_ids if before else []
                found = [int(i) for i in joined[len(skip) :]]
                if joined[: len(skip)] == skip and "".join(self.token(i) for i in found) == text:
                    return found
        return ids

    def single_token(self, spec: str | int) -> int:
        """The id of a token given as text or id.

        Raises:
            TargetError: several tokens (named, with the nearest single-token choices), or no such id.
        """
        number = whole(spec)
        if number is not None:
            if not 0 <= number < self.vocab_size:
                raise TargetError(f"Token id {number} is outside the vocabulary (0 to {self.vocab_size - 1}).")
            return number
        if not isinstance(spec, str):
            raise TargetError(f"{spec!r} is not a token.", 'Give its text, for example " Paris", or its id.')
        ids = self.token_ids(spec)
        if len(ids) == 1 and self.token(ids[0]) == spec:
            return ids[0]
        if not ids:
            raise TargetError(f"{spec!r} has no tokens.", 'Give the text of one token, for example " Paris".')
        pieces = ", ".join(repr(self.token(i)) for i in ids)
        choices = " or ".join(repr(c) for c in self._single_choices(spec, ids))
        count = "another token" if len(ids) == 1 else f"{len(ids)} tokens"
        raise TargetError(f"{spec!r} is {count} here: {pieces}.", f"A target is one token: try {choices}.")

    def _single_choices(self, text: str, ids: Sequence[int]) -> list[str]:
        bare = text.strip()
        forms = [" " + bare, bare, " " + bare.capitalize(), bare.capitalize(), " " + bare.lower(), bare.lower()]
        whole = [f for f in dict.fromkeys(forms) if f != text and len(self.token_ids(f)) == 1]
        parts = [self.token(i) for i in ids if self.token(i).strip()]
        return (whole or parts[:1] or [self.token(ids[0])])[:3]

    def encode(self, prompt: Prompt, *, bos: bool | None = None) -> list[int]:
        """Token ids of a prompt: special tokens as the tokenizer adds them, unless ``bos`` says otherwise.

        Chat messages (``[{"role": "user", "content": "..."}]``) go through the tokenizer's template, which writes
        its special tokens itself.

        Raises:
            PositionError: no tokens, or more than the model has positions for.
            ModelError: a Run of another model, or of this one before it changed.
            TokenizerError: ``bos=True`` and the tokenizer has no beginning-of-sequence token, or no chat template.
        """
        if isinstance(prompt, Run):
            refuse_foreign(prompt, self)
            prompt.check_fresh()
            return list(prompt.ids)
        if isinstance(prompt, str):
            ids = [int(i) for i in self.tokenizer(prompt, verbose=False).input_ids]
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
        limit = self.max_positions
        if not ids:
            raise PositionError("The prompt has no tokens.", "Type at least one word.")
        if limit is not None and len(ids) > limit:
            raise PositionError(
                f"The prompt has {len(ids)} tokens and {self.name} has {limit} positions.", "Shorten it."
            )
        outside = next((i for i in ids if not 0 <= i < self.n_embeddings), None)
        if outside is not None:
            raise TokenizerError(
                f"Token id {outside} is outside this model's vocabulary ({self.n_embeddings} tokens).",
                "Is this the tokenizer that belongs to the model?",
            )
        return ids

    def text_of(self, prompt: Prompt, ids: Sequence[int]) -> str:
        """The prompt as typed, messages in their template, token ids decoded."""
        if is_chat(prompt):
            return chat_text(self.tokenizer, prompt)
        typed = prompt if isinstance(prompt, str) else prompt.text if isinstance(prompt, Run) else None
        return "".join(self.token(i) for i in ids) if typed is None else typed


def _listed(prompt: Any) -> list[Any]:
    found = prompt.tolist() if hasattr(prompt, "tolist") else prompt  # torch and numpy
    if isinstance(found, (Mapping, bytes)) or not hasattr(found, "__iter__"):
        raise PositionError(f"A {type(prompt).__name__} is not a prompt.", "Give a text or a list of token ids.")
    return list(found)
