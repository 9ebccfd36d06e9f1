"""The sliders, made anew for whatever ensemble is loaded: one for each member, then threshold and opacity."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import gradio as gr

from medseg.app.render import text
from medseg.app.state.session import Session
from medseg.app.state.view_state import Shown, of_label
from medseg.app.tabs import handlers
from medseg.app.tabs.events import NEWEST, told
from medseg.app.tabs.fine_settings import draw_more

THRESHOLD = "Probability from which a pixel belongs to the mask"
PER_LABEL = "For all labels a slider shows the mean of their weights, and moving it weighs them alike."
OPACITY = "Of the tint; the contour stays"
SLIDER: dict[str, Any] = {"interactive": True, "buttons": []}


def draw_mixer(session: Session, state: gr.State, pictures: Sequence[Any], texts: Sequence[Any]) -> None:
    """Draw the controls for the session's ensemble and connect them to `pictures` and `texts`."""
    if session.is_empty:
        return
    shown = session.shown
    gr.Markdown("### Mix the models\nHow much each one counts. The picture follows at once; no network runs again.")
    label = _label_picker(shown)
    weights, buttons = _members(shown)
    blend, threshold, opacity = _blending(shown)
    if label:
        label.input(handlers.choose_label, [state, label], weights, **NEWEST)
        _label_toggles(shown, state, pictures)
    draw_more(shown, state, pictures, texts)

    settings = [state, blend, threshold, opacity]
    mixed = [blend, *pictures]
    sliders = [weight.input for weight in weights]
    others = [blend.input, threshold.input, opacity.input]
    events = [
        gr.on(sliders, handlers.reweigh, [*settings, *weights], mixed, **NEWEST),
        gr.on(others, handlers.remix, [*settings, *weights], mixed, **NEWEST),
    ]
    events += [button.click(partial(_set, to), settings, [*weights, *mixed], **NEWEST) for button, to in buttons]
    for event in events:
        event.then(handlers.follow, state, list(texts), **NEWEST)


def _label_picker(shown: Shown) -> gr.Dropdown | None:
    """Whose weights the sliders show; None where there is one label only."""
    labels = shown.prediction.labels
    if len(labels) == 1:
        return None
    choices = [("All labels", -1), *((label, index) for index, label in enumerate(labels))]
    return gr.Dropdown(
        choices,
        value=-1 if shown.label is None else shown.label,
        label="Weights of",
        info=PER_LABEL,
        interactive=True,
        elem_id="weights-of",
    )


def _label_toggles(shown: Shown, state: gr.State, pictures: Sequence[Any]) -> None:
    labels = list(shown.prediction.labels)
    seen = gr.CheckboxGroup(
        labels,
        value=[label for label in labels if label not in shown.hidden],
        label="Labels to draw",
        info="Results and downloads keep them all",
        interactive=True,
        elem_id="labels",
    )
    seen.input(handlers.draw_labels, [state, seen], list(pictures), **NEWEST)


def _members(shown: Shown) -> tuple[list[gr.Slider], list[tuple[gr.Button, tuple[Any, ...]]]]:
    """A slider for each member; and the buttons that set them, each with the weights it sets."""
    ensemble, sliders = shown.ensemble, []
    buttons: list[tuple[gr.Button, tuple[Any, ...]]] = []
    for index, (name, weight) in enumerate(zip(ensemble.names, shown.sliders, strict=True)):
        with gr.Row(equal_height=True, elem_classes="member"):
            sliders.append(gr.Slider(0, 1, weight, step=0.01, label=name, scale=5, min_width=180, **SLIDER))
            buttons.append((gr.Button("Solo", size="sm", scale=0, min_width=64), ensemble.solo(index)))
    with gr.Row():
        buttons.append((gr.Button("Equal", size="sm", min_width=80), (1 / len(sliders),) * len(sliders)))
        buttons.append((gr.Button("Fitted", size="sm", min_width=80), ensemble.weights))
    return sliders, buttons


def _blending(shown: Shown) -> tuple[gr.Dropdown, gr.Slider, gr.Slider]:
    chosen, threshold = shown.prediction.blend, shown.prediction.threshold
    return (
        gr.Dropdown(
            list(shown.ensemble.blends),
            value=chosen,
            label="Blend",
            info=text.BLENDS[chosen],
            interactive=True,
            filterable=False,
            elem_id="blend",
        ),
        gr.Slider(0.01, 0.99, threshold, step=0.01, label="Threshold", info=THRESHOLD, **SLIDER),
        gr.Slider(0, 1, shown.opacity, step=0.05, label="Opacity", info=OPACITY, **SLIDER),
    )


@told
def _set(values: Sequence[Any], session: Session, blend: Any, threshold: float, opacity: float) -> list[Any]:
    """The sliders at `values`, and the blend and picture that go with them."""
    shown = session.shown
    mixed = handlers.reweighed(session, blend, threshold, opacity, shown.moved(of_label(values, shown.label)))
    return [*session.shown.sliders, *mixed]
