"""How fields and events of the page are wired: none is an endpoint, most show no progress, errors become sentences."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar

import gradio as gr

from medseg.app.state.refusals import sentence_of
from medseg.app.state.uploaded_files import UploadedFile

PRIVATE: dict[str, Any] = {"api_visibility": "private"}
QUIET: dict[str, Any] = {**PRIVATE, "show_progress": "hidden"}
NEWEST: dict[str, Any] = {**QUIET, "trigger_mode": "always_last"}
"""Of many positions on the way the newest wins."""

TITLE = "Not done"
"""What stands above each refusal; Gradio 6.31 shows “Warning” or “Error” in its place, which shell.js replaces."""

Handler = TypeVar("Handler", bound=Callable[..., Any])


def say(error: Exception) -> None:
    """Show the sentence over the page."""
    gr.Warning(sentence_of(error), title=TITLE)


def warning(handler: Handler) -> Handler:
    """For the page: say the sentence and leave everything as it is (an error would blank the image that is there)."""

    @functools.wraps(handler)
    def guard(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except Exception as error:
            say(error)
            return gr.skip()

    return guard  # type: ignore[return-value]


def refusal(endpoint: Handler) -> Handler:
    """For programs and downloads: raise the sentence as gr.Error; of any other error a client would get null."""

    @functools.wraps(endpoint)
    def guard(*args: Any, **kwargs: Any) -> Any:
        try:
            return endpoint(*args, **kwargs)
        except Exception as error:
            raise gr.Error(sentence_of(error), title=TITLE, print_exception=False) from error

    return guard  # type: ignore[return-value]


def stoppable(
    start: gr.Button, stop: gr.Button, work: Callable[..., Any], inputs: Any, outputs: Any, **how: Any
) -> None:
    """`work` at a click on `start`, which is dead until it is over; `stop` is alive only until then."""
    buttons = [start, stop]
    begun = start.click(lambda: _alive(False, True), None, buttons, **QUIET)
    begun.then(work, inputs, outputs, **how).then(lambda: _alive(True, False), None, buttons, **QUIET)


def _alive(*alive: bool) -> list[Any]:
    return [gr.update(interactive=each) for each in alive]


def named_files(file_count: Literal["single", "multiple"] = "multiple", **settings: Any) -> gr.File:
    """A field for files that hands over a list of each with its visitor's own name for it, which lies on no disk."""
    field = gr.File(file_count=file_count, **settings)
    # in place of the method, not in a subclass: beside the module of one Gradio writes a .pyi file
    setattr(field, "preprocess", lambda payload: [*map(_named, _each(payload))])  # noqa: B010 - mypy refuses to assign to a method
    return field


def _each(payload: Any) -> Iterable[Any]:
    return [payload] if hasattr(payload, "path") else payload or []


def _named(file: Any) -> UploadedFile:
    return UploadedFile(Path(file.path), file.orig_name or "")
