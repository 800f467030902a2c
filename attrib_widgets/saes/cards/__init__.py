"""What the features of a dictionary fire on, computed from texts: kept beside it, and shown a card a feature."""

from .card import Card as Card
from .card import card_of as card_of
from .kept import FIRINGS as FIRINGS
from .kept import LABELS as LABELS
from .kept import Cards as Cards
from .kept import Firing as Firing
from .kept import Text as Text
from .labels import label_of as label_of
from .written import unembedded as unembedded
from .written import written_direction as written_direction
from .written import written_logits as written_logits
