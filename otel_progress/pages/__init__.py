"""Pages to look at: one HTML document that holds all that it shows, styles and scripts among it.

What a page shows is a JSON document, made here from the model and the figures, which are the report's own: scripts draw
and sort, and compute none. Here is no server and no command.
"""

from .document import run_document
from .html import page

__all__ = ["page", "run_document"]
