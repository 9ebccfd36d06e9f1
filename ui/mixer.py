"""The sliders, made anew for whatever ensemble is loaded: one for each member, then threshold and opacity."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import gradio as gr

from ui import handlers
from ui.refusals import told
from ui.session import Session

THRESHOLD = "Probability from which a pixel belongs to the mask"
BLEND = "The weights below count in the weighted mean; in stacking a further network decides"
OPACITY = "Of the tint; the contour stays"
SLIDER: dict[str, Any] = {"interactive": True, "buttons": []}
QUIET: dict[str, Any] = {
    "trigger_mode": "always_last",  # of many positions on the way the newest wins
    "show_progress": "hidden",
    "api_visibility": "private",
}


def draw_mixer(session: Session, state: gr.State, pictures: Sequence[Any], texts: Sequence[Any]) -> None:
    """Draw the sliders for the session's ensemble and connect them to `pictures` and `texts`."""
    if session.is_empty:
        return
    shown = session.shown
    ensemble = shown.ensemble
    gr.Markdown("### Mix the models\nHow much each one counts. The picture follows at once; no network runs again.")
    weights, solos = [], []
    for name, weight in zip(ensemble.names, shown.weights, strict=True):
        with gr.Row(equal_height=True, elem_classes="member"):
            weights.append(gr.Slider(0, 1, round(weight, 2), step=0.01, label=name, scale=5, min_width=180, **SLIDER))
            solos.append(gr.Button("Solo", size="sm", scale=0, min_width=64))
    stacked = ensemble.stacker is not None
    blend = gr.Radio(list(ensemble.blends), value=shown.prediction.blend, label="Blend", info=BLEND, visible=stacked)
    with gr.Row():
        equal = gr.Button("Equal", size="sm", min_width=80)
        fitted = gr.Button("Fitted", size="sm", min_width=80)
    threshold = gr.Slider(
        0.01, 0.99, shown.prediction.threshold, step=0.01, label="Threshold", info=THRESHOLD, **SLIDER
    )
    opacity = gr.Slider(0, 1, shown.opacity, step=0.05, label="Opacity", info=OPACITY, **SLIDER)

    settings = [threshold, opacity, *weights]
    sliders = [weight.input for weight in weights]
    others = [blend.input, threshold.input, opacity.input]
    for event in (
        gr.on(sliders, handlers.reweigh, [state, *settings], [blend, *pictures], **QUIET),
        gr.on(others, handlers.remix, [state, blend, *settings], list(pictures), **QUIET),
    ):
        event.then(handlers.follow, state, list(texts), **QUIET)

    members = len(weights)
    choices = [(equal, (1 / members,) * members), (fitted, ensemble.weights)]
    choices += [(solo, ensemble.solo(index)) for index, solo in enumerate(solos)]
    for button, values in choices:
        pressed = button.click(
            partial(_set, values), [state, threshold, opacity], [*weights, blend, *pictures], **QUIET
        )
        pressed.then(handlers.follow, state, list(texts), **QUIET)


@told
def _set(values: tuple[float, ...], session: Session, threshold: float, opacity: float) -> list[Any]:
    """The sliders at `values`, and the picture that goes with them."""
    return [*(round(value, 2) for value in values), *handlers.reweighed(session, threshold, opacity, values)]
