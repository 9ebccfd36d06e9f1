"""The settings that are seldom touched: flips, the least area of a piece, and the bounds of the calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from medseg.app.state import trust
from medseg.app.state.session import Session
from medseg.app.state.view_state import Shown
from medseg.app.tabs import handlers
from medseg.app.tabs.events import NEWEST, PRIVATE

FLIPS = "Each model answers for the picture and its three mirror images: the models run again"
LEAST = "Smaller pieces of a mask are dropped"
RATE = "Thin lines: an outer mask that misses at most so much, an inner one of which at most so much is false"


def draw_more(shown: Shown, state: gr.State, pictures: Sequence[Any], texts: Sequence[Any]) -> None:
    """Draw the settings in a fold, and connect them to `pictures` and `texts`."""
    cleanup, several = shown.prediction.cleanup, list(pictures)
    with gr.Accordion("More", open=False, elem_id="more"):
        flips = gr.Checkbox(bool(shown.prediction.tta), label="Average over flips", info=FLIPS, interactive=True)
        least = gr.Number(
            cleanup.min_area_px, label="Least area, px", info=LEAST, precision=0, minimum=0, interactive=True
        )
        rate = _rates(shown)
    events = [
        flips.input(handlers.average_over, [state, flips], several, show_progress_on=several, **PRIVATE),
        least.input(handlers.drop_pieces, [state, least], several, **NEWEST),
    ]
    if rate:
        events.append(rate.input(handlers.draw_bounds, [state, rate], several, **NEWEST))
        verdict = next(text for text in texts if text.elem_id == "trust")
        verdict.change(_offered, state, rate, **NEWEST)  # it says when settings leave what was calibrated
    for event in events:
        event.then(handlers.follow, state, list(texts), **NEWEST)


def _is_calibrated(shown: Shown) -> bool:
    return trust.is_calibrated(shown.calibration, shown.prediction)


def _offered(session: Session) -> Any:
    return gr.update(visible=_is_calibrated(session.shown))


def _rates(shown: Shown) -> gr.Dropdown | None:
    """The rates that the calibration has bounds for; None where it has none."""
    if shown.calibration is None or not shown.calibration.bounds:
        return None
    rates = [(f"{bounds.alpha:.0%}", bounds.alpha) for bounds in shown.calibration.bounds]
    return gr.Dropdown(
        [("Off", 0), *rates],
        value=shown.rate or 0,
        label="Inner and outer mask at a rate of",
        info=RATE,
        interactive=True,
        filterable=False,
        visible=_is_calibrated(shown),
        elem_id="rate",
    )
