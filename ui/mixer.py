"""The sliders, made anew for whatever ensemble is loaded: one for each member, then threshold and opacity."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import gradio as gr

from ui import figures, handlers
from ui.refusals import told
from ui.session import Session

THRESHOLD = "Probability from which a pixel belongs to the mask"
PER_LABEL = "The weights differ from label to label: a slider shows their mean, and moving one weighs all labels alike."
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
    if isinstance(ensemble.weights[0], tuple):
        gr.Markdown(PER_LABEL)
    weights, solos = [], []
    for name, weight in zip(ensemble.names, shown.sliders, strict=True):
        with gr.Row(equal_height=True, elem_classes="member"):
            weights.append(gr.Slider(0, 1, weight, step=0.01, label=name, scale=5, min_width=180, **SLIDER))
            solos.append(gr.Button("Solo", size="sm", scale=0, min_width=64))
    with gr.Row():
        equal = gr.Button("Equal", size="sm", min_width=80)
        fitted = gr.Button("Fitted", size="sm", min_width=80)
    chosen = shown.prediction.blend
    blend = gr.Dropdown(
        list(ensemble.blends),
        value=chosen,
        label="Blend",
        info=figures.BLENDS[chosen],
        interactive=True,
        filterable=False,
        elem_id="blend",
    )
    threshold = gr.Slider(
        0.01, 0.99, shown.prediction.threshold, step=0.01, label="Threshold", info=THRESHOLD, **SLIDER
    )
    opacity = gr.Slider(0, 1, shown.opacity, step=0.05, label="Opacity", info=OPACITY, **SLIDER)

    settings = [threshold, opacity, *weights]
    sliders = [weight.input for weight in weights]
    others = [blend.input, threshold.input, opacity.input]
    for event in (
        gr.on(sliders, handlers.reweigh, [state, *settings], [blend, *pictures], **QUIET),
        gr.on(others, handlers.remix, [state, blend, *settings], [blend, *pictures], **QUIET),
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
def _set(values: Sequence[Any], session: Session, threshold: float, opacity: float) -> list[Any]:
    """The sliders at `values`, and the blend and picture that go with them."""
    shown = handlers.reweighed(session, threshold, opacity, values)
    return [*session.shown.sliders, *shown]
