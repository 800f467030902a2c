"""The bytes of every token. Texts are compared as bytes: several tokens may make one character between them.

A byte-level tokenizer writes a byte as a letter of its own table; SentencePiece writes a space as ``▁`` and a byte that
it has no piece for as ``<0xF0>``; of any other tokenizer a token is what it decodes to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

SPACE = "\u2581"
_MARKS = (b"Metaspace", SPACE.encode(), b"\\u2581")
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def _letters() -> dict[str, int]:
    """The table of byte-level tokenizers: printable bytes are themselves, the others come after 255, in order."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    rest = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(rest)}


_VALUE = _letters()
_LETTER = {byte: letter for letter, byte in _VALUE.items()}


class Pieces:
    """The pieces of one tokenizer, as bytes."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.special = frozenset(tokenizer.all_special_ids)
        #: Tokens that are found in the text as it is, before it is cut up.
        self.whole = {int(i): str(token) for i, token in getattr(tokenizer, "added_tokens_decoder", {}).items()}

    @cached_property
    def byte_level(self) -> bool:
        """Whether pieces are written in the table of byte-level tokenizers."""
        return hasattr(self.tokenizer, "byte_decoder") or b"ByteLevel" in self._rules

    @cached_property
    def byte_fallback(self) -> bool:
        """Whether there is a piece for every byte: ``<0x00>`` to ``<0xFF>``."""
        return not self.byte_level and all(self._named(f"<0x{b:02X}>") is not None for b in range(0x80, 0x100))

    @cached_property
    def hold_spaces(self) -> bool:
        """Whether the spaces of a text are part of its tokens."""
        return self.byte_level or self._named(SPACE) is not None or any(m in self._rules for m in _MARKS)

    @cached_property
    def _rules(self) -> bytes:
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        parts = [getattr(backend, part, None) for part in ("decoder", "pre_tokenizer")]
        return b"".join(p.__getstate__() for p in parts if p is not None)

    def _named(self, piece: str) -> int | None:
        """The id of a piece, by its name."""
        found = self.tokenizer.convert_tokens_to_ids(piece)
        if found is None or self.tokenizer.convert_ids_to_tokens(int(found)) != piece:
            return None  # an unknown piece is answered with the id of the unknown token
        return int(found)

    def of(self, token_id: int) -> bytes | None:
        """The bytes of a token; None where the tokenizer has no such token."""
        piece = self.tokenizer.convert_ids_to_tokens(int(token_id))
        if piece is None:
            return None
        if isinstance(piece, bytes):
            return piece
        if token_id in self.whole and (self.byte_level or token_id in self.special):
            return self.whole[token_id].encode()
        if self.byte_level:
            known = all(letter in _VALUE for letter in piece)
            return bytes(_VALUE[letter] for letter in piece) if known else str(piece).encode()
        if (byte := self._byte(piece)) is not None:
            return bytes([byte])
        if SPACE in piece:  # decoding would drop the space at the beginning
            return str(piece).replace(SPACE, " ").encode()
        return str(self.tokenizer.decode([int(token_id)], clean_up_tokenization_spaces=False)).encode()

    def _byte(self, piece: str) -> int | None:
        """The byte that a piece stands for by its number."""
        found = _BYTE.fullmatch(piece)
        return int(found[1], 16) if found and self.byte_fallback else None

    def spare(self, token_id: int) -> bool:
        """Whether it is a byte by its number, and another token is the character of that byte."""
        byte = self._byte(str(self.tokenizer.convert_ids_to_tokens(int(token_id))))
        return byte is not None and len(self.ids(bytes([byte]))) > 1

    def ids(self, data: bytes) -> list[int]:
        """The tokens that are these bytes, the one with a name of its own first."""
        found = (self._named(piece) for piece in self._names(data))
        return list(dict.fromkeys(i for i in found if i is not None and self.of(i) == data))

    def _names(self, data: bytes) -> Iterator[str]:
        """What the piece of these bytes may be called."""
        if self.byte_level:
            yield "".join(_LETTER[b] for b in data)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = None
        if text is not None:
            yield text.replace(" ", SPACE)
            yield text
        if len(data) == 1:
            yield f"<0x{data[0]:02X}>"

    def joined(self, ids: Sequence[int]) -> bytes | None:
        """The bytes of several tokens; None where the tokenizer lacks one of them."""
        found = [self.of(i) for i in ids]
        return None if None in found else b"".join(found)  # type: ignore[arg-type]
