"""Dictionaries of the Hugging Face hub, fetched when that is asked for and never else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from ..words.errors import AttribError

_ADDRESS = re.compile(r"(?:hf://)?([\w.-]+/[\w.-]+?)((?:/[^/@]+)*)(?:@([\w./-]+))?/?")


class Address(NamedTuple):
    """A repository of the hub, a folder or file in it ("" is all that lies at its top), and a revision."""

    repository: str
    inside: str
    revision: str | None


def address_of(text: str) -> Address:
    """Read ``owner/name``, ``owner/name/folder/of/it`` or ``hf://owner/name/folder@revision``.

    Raises:
        AttribError: it is none of these.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or ".." in text.split("/"):
        raise AttribError(
            f"{text!r} is no address of the hub.", 'Write "owner/name/folder", for example '
            '"google/gemma-scope-2b-pt-res/layer_3/width_16k/average_l0_59".',
        )  # fmt: skip
    return Address(match[1], match[2].strip("/"), match[3])


def fetched(text: str) -> Path:
    """Download a folder or a file of the hub, and the settings beside it; what was downloaded before stays.

    Of a repository without a folder only what lies at its top is fetched: they hold terabytes.

    Raises:
        AttribError: no address, no such repository or folder, or no way to reach it.
    """
    from huggingface_hub import snapshot_download

    where = address_of(text)
    allowed, ignored = None, ["*/*"]
    if where.inside:
        above = where.inside.rpartition("/")[0]
        beside = f"{above}/" if above else ""
        allowed, ignored = [where.inside, f"{where.inside}/*"], []
        allowed += [f"{beside}{name}" for name in ("config.yaml", "config.json", "cfg.json")]
        if where.inside.endswith(".pt"):
            allowed.append(where.inside.removesuffix(".pt") + "_cfg.json")
    try:
        root = Path(
            snapshot_download(
                where.repository, revision=where.revision, allow_patterns=allowed, ignore_patterns=ignored
            )
        )
    except Exception as reason:  # networks, permissions and names end in many kinds
        said = (str(reason).splitlines() or [type(reason).__name__])[0]
        raise AttribError(
            f"{where.repository} cannot be fetched from the hub: {said[:200]}",
            "Look at its name and at the connection; a gated one asks for huggingface-cli login.",
        ) from reason
    found = root / where.inside
    if not found.exists():
        raise AttribError(
            f"{where.repository} has no {where.inside!r}.", "Look at the names of its folders on the hub."
        )
    return found
