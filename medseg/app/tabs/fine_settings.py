"""The settings that are seldom touched: flips, the least area of a piece, and the bounds of the calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from medseg.app.state.session import Session
from medseg.app.state.view_state import ViewState
from medseg.app.tabs import handlers
from medseg.app.tabs.events import NEWEST, PRIVATE
from medseg.calibration import judgement

FLIPS = "Each model runs on the image and its three mirror images"
LEAST = "Smaller pieces of a mask are dropped"
RATE = "Thin lines: “possibly” misses at most this share of the truth, of “surely” at most this share is false"


def draw_fine_settings(view_state: ViewState, state: gr.State, views: Sequence[Any], texts: Sequence[Any]) -> None:
    """Draw the settings in a fold, and connect them to `views` and `texts`."""
    cleanup, several = view_state.prediction.cleanup, list(views)
    with gr.Accordion("Fine settings", open=False, elem_id="fine-settings"):
        flips = gr.Checkbox(bool(view_state.prediction.tta), label="Average over flips", info=FLIPS, interactive=True)
        least = gr.Number(
            cleanup.min_area_px, label="Least area, px", info=LEAST, precision=0, minimum=0, interactive=True
        )
        rate = _rates(view_state)
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


def _is_calibrated(view_state: ViewState) -> bool:
    return judgement.is_calibrated(view_state.calibration, view_state.prediction)


def _offered(session: Session) -> Any:
    return gr.update(visible=_is_calibrated(session.view_state))


def _rates(view_state: ViewState) -> gr.Dropdown | None:
    """The rates that the calibration has bounds for; None where it has none."""
    if view_state.calibration is None or not view_state.calibration.bounds:
        return None
    rates = [(f"{bounds.alpha:.0%}", bounds.alpha) for bounds in view_state.calibration.bounds]
    return gr.Dropdown(
        [("Off", 0), *rates],
        value=view_state.rate or 0,
        label="Draw surely and possibly, wrong at most in",
        info=RATE,
        interactive=True,
        filterable=False,
        visible=_is_calibrated(view_state),
        elem_id="rate",
    )
