"""Chat messages as a prompt: the tokenizer's own template, applied and shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...words.errors import TokenizerError


def is_chat(prompt: Any) -> bool:
    """Whether ``prompt`` is a list of messages, ``{"role": ..., "content": ...}`` each."""
    return isinstance(prompt, (list, tuple)) and bool(prompt) and all(isinstance(m, Mapping) for m in prompt)


def chat_text(tokenizer: Any, messages: Any) -> str:
    """The messages in the tokenizer's template, its special tokens written out.

    The text ends where the assistant's answer begins; when the last message is the assistant's own, it ends with
    that message, to be continued.

    Raises:
        TokenizerError: there is no template, or it refuses these messages.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise TokenizerError(
            "This tokenizer has no chat template.", "Give the prompt as text, or set the tokenizer's chat_template."
        )
    for message in messages:
        if not isinstance(message.get("role"), str) or "content" not in message:
            raise TokenizerError(
                f"{dict(message)!r} is not a message.", 'Write {"role": "user", "content": "Where is Paris?"}.'
            )
    begun = messages[-1]["role"] == "assistant"
    try:
        text: str = tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=not begun, continue_final_message=begun
        )
    except Exception as reason:  # templates raise whatever their author chose
        raise TokenizerError(f"The chat template refuses these messages: {reason}.") from reason
    return text
