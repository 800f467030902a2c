"""Text files that people keep beside their weights, read as UTF-8."""

from __future__ import annotations

from pathlib import Path

from .errors import AttribError


def read_text(file: Path, remedy: str = "Check that it is there and may be read.") -> str:
    """The text of a file; a byte-order mark in front of it is none of it. ``remedy``: where it cannot be opened.

    Raises:
        AttribError: it cannot be opened, or is no text in UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as reason:
        raise AttribError(
            f"{file} is no text in UTF-8: byte {reason.start} is 0x{reason.object[reason.start]:02X}.",
            "Save it as UTF-8 (in an editor: Save with encoding), or take it out of the folder.",
        ) from reason
    except OSError as reason:
        raise AttribError(f"{file} cannot be read: {reason.strerror or reason}.", remedy) from reason
