"""What every result shares: its table as text, static HTML and rows of a DataFrame, and where its view comes from."""

from .drawing import render_svg
from .glossary import Glossary, glossary
from .results import Result, Slots, Sum, shown, slots, strongest, studied, tabled, view_of, with_others
from .table import MAX_STATIC_BYTES, Table, render_html, render_text

__all__ = [
    "MAX_STATIC_BYTES",
    "Glossary",
    "Result",
    "Slots",
    "Sum",
    "Table",
    "glossary",
    "render_html",
    "render_svg",
    "render_text",
    "shown",
    "slots",
    "strongest",
    "studied",
    "tabled",
    "view_of",
    "with_others",
]
