"""Views of results. Importing this package tells every result type which view shows it."""

from . import display  # noqa: F401  (fills the registry)
from .explore import explore
from .explorer.explorer import Explorer
from .transport.view import View

__all__ = ["Explorer", "View", "explore"]
