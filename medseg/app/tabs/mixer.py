"""The sliders, made anew for whatever ensemble is loaded: one for each member, then cut-off and opacity."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import gradio as gr

from medseg.app.render import text
from medseg.app.state.session import Session
from medseg.app.state.view_state import ViewState, of_label
from medseg.app.tabs import handlers
from medseg.app.tabs.events import NEWEST, warning
from medseg.app.tabs.fine_settings import draw_fine_settings

CUT_OFF = "Probability from which a pixel belongs to the mask"
PER_LABEL = "For all labels a slider shows the mean of their weights, and moving it weighs them alike."
OPACITY = "Of the tint; the contour stays"
SLIDER: dict[str, Any] = {"interactive": True, "buttons": []}


def draw_mixer(session: Session, state: gr.State, views: Sequence[Any], texts: Sequence[Any]) -> None:
    """Draw the controls for the session's ensemble and connect them to `views` and `texts`."""
    if session.is_empty:
        return
    view_state = session.view_state
    gr.Markdown("### Mix the models\nHow much each one counts. The image follows at once; no network runs again.")
    label = _label_picker(view_state)
    weights, buttons = _members(view_state)
    blend, threshold, opacity = _blending(view_state)
    if label:
        label.input(handlers.choose_label, [state, label], weights, **NEWEST)
        _label_toggles(view_state, state, views)
    draw_fine_settings(view_state, state, views, texts)

    settings = [state, blend, threshold, opacity]
    mixed = [blend, *views]
    sliders = [weight.input for weight in weights]
    others = [blend.input, threshold.input, opacity.input]
    events = [
        gr.on(sliders, handlers.reweigh, [*settings, *weights], mixed, **NEWEST),
        gr.on(others, handlers.remix, [*settings, *weights], mixed, **NEWEST),
    ]
    events += [button.click(partial(_set, to), settings, [*weights, *mixed], **NEWEST) for button, to in buttons]
    for event in events:
        event.then(handlers.follow, state, list(texts), **NEWEST)


def _label_picker(view_state: ViewState) -> gr.Dropdown | None:
    """Whose weights the sliders show; None where there is one label only."""
    labels = view_state.prediction.labels
    if len(labels) == 1:
        return None
    choices = [("All labels", -1), *((label, index) for index, label in enumerate(labels))]
    return gr.Dropdown(
        choices,
        value=-1 if view_state.label is None else view_state.label,
        label="Weights of",
        info=PER_LABEL,
        interactive=True,
        elem_id="weights-of",
    )


def _label_toggles(view_state: ViewState, state: gr.State, views: Sequence[Any]) -> None:
    labels = list(view_state.prediction.labels)
    visible = gr.CheckboxGroup(
        labels,
        value=[label for label in labels if label not in view_state.hidden],
        label="Labels to draw",
        info="Results and downloads keep them all",
        interactive=True,
        elem_id="labels",
    )
    visible.input(handlers.draw_labels, [state, visible], list(views), **NEWEST)


def _members(view_state: ViewState) -> tuple[list[gr.Slider], list[tuple[gr.Button, tuple[Any, ...]]]]:
    """A slider for each member; and the buttons that set them, each with the weights it sets."""
    ensemble, sliders = view_state.ensemble, []
    buttons: list[tuple[gr.Button, tuple[Any, ...]]] = []
    for index, (name, weight) in enumerate(zip(ensemble.names, view_state.sliders, strict=True)):
        with gr.Row(equal_height=True, elem_classes="member"):
            sliders.append(gr.Slider(0, 1, weight, step=0.01, label=name, scale=5, min_width=180, **SLIDER))
            buttons.append((gr.Button("Only this model", size="sm", scale=0, min_width=120), ensemble.solo(index)))
    with gr.Row():
        buttons.append((gr.Button("All equal", size="sm", min_width=80), (1 / len(sliders),) * len(sliders)))
        buttons.append((gr.Button("Recommended", size="sm", min_width=80), ensemble.weights))
    return sliders, buttons


def _blending(view_state: ViewState) -> tuple[gr.Dropdown, gr.Slider, gr.Slider]:
    chosen, threshold = view_state.prediction.blend, view_state.prediction.threshold
    return (
        gr.Dropdown(
            list(view_state.ensemble.blends),
            value=chosen,
            label="Blend",
            info=text.BLENDS[chosen],
            interactive=True,
            filterable=False,
            elem_id="blend",
        ),
        gr.Slider(0.01, 0.99, threshold, step=0.01, label="Cut-off", info=CUT_OFF, **SLIDER),
        gr.Slider(0, 1, view_state.opacity, step=0.05, label="Opacity", info=OPACITY, **SLIDER),
    )


@warning
def _set(values: Sequence[Any], session: Session, blend: Any, threshold: float, opacity: float) -> list[Any]:
    """The sliders at `values`, and the blend and image that go with them."""
    view_state = session.view_state
    mixed = handlers.reweighed(session, blend, threshold, opacity, view_state.moved(of_label(values, view_state.label)))
    return [*session.view_state.sliders, *mixed]
