"""An error in one sentence for the user; the log gets its place."""

from __future__ import annotations

import html
import logging
import traceback
from pathlib import Path

from medseg.errors import MedsegError

log = logging.getLogger(__name__)


def sentence_of(error: Exception) -> str:
    """The sentence for the user: a refusal in its own words, anything else in one plain sentence.

    The log gets the place of an unexpected error but not its message, which may hold a file name, and so a patient's.
    """
    if isinstance(error, MedsegError):
        return html.escape(str(error), quote=False)  # the page shows messages as HTML
    place = traceback.extract_tb(error.__traceback__)[-1]
    log.error("%s at %s:%s", type(error).__name__, Path(place.filename).name, place.lineno)
    return "Something went wrong on our side; nothing has changed. Please try again."
