"""What the page and its endpoints do with an error: one sentence for the user, nothing else changes."""

from __future__ import annotations

import functools
import html
import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr

from medseg.errors import MedsegError

log = logging.getLogger(__name__)

Handler = TypeVar("Handler", bound=Callable[..., Any])


def sentence_of(error: Exception) -> str:
    """What the user is told of `error`: a refusal in its own words, anything else in one plain sentence.

    The log gets the place of an unexpected error but not its message, which may hold a file name, and so a patient's.
    """
    if isinstance(error, MedsegError):
        return html.escape(str(error), quote=False)  # the page shows messages as HTML
    place = traceback.extract_tb(error.__traceback__)[-1]
    log.error("%s at %s:%s", type(error).__name__, Path(place.filename).name, place.lineno)
    return "Something went wrong on our side; nothing has changed. Please try again."


def told(handler: Handler) -> Handler:
    """For the page: say the sentence and leave everything as it is (an error would blank the picture that is there)."""

    @functools.wraps(handler)
    def guard(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except Exception as error:
            gr.Warning(sentence_of(error), title="Not possible")
            return gr.skip()

    return guard  # type: ignore[return-value]


def refusing(endpoint: Handler) -> Handler:
    """For programs and downloads: raise the sentence as gr.Error; of any other error a client would get null."""

    @functools.wraps(endpoint)
    def guard(*args: Any, **kwargs: Any) -> Any:
        try:
            return endpoint(*args, **kwargs)
        except Exception as error:
            raise gr.Error(sentence_of(error), print_exception=False) from None

    return guard  # type: ignore[return-value]
