"""A mask by hand: one editor draws a truth, or corrects what the ensemble found and packs it for training."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from medseg.app.render import text
from medseg.app.state.editing import Editing
from medseg.app.state.session import Session
from medseg.app.tabs import handlers
from medseg.app.tabs.downloads import SAVE
from medseg.app.tabs.events import PRIVATE, QUIET, refusal, warning
from medseg.correct import begin, to_grid
from medseg.data.rle import decode_rle
from medseg.errors import InputError
from medseg.overlay import draw_overlay, label_colour

if TYPE_CHECKING:
    pass

ADVICE = (
    "Brush in **blue** what belongs to the mask and is missing, in **red** what does not belong to it; the eraser "
    "takes strokes back. Where there is no stroke the mask stays as it is, to the pixel. A truth that was begun from "
    "the ensemble's mask leans towards it: for fair scores begin with an empty one."
)
BEGINNINGS = ("the ensemble's mask", "an empty mask")

_PAINT = 0.6
"""Opacity of a stroke: the image stays visible under it."""

STROKES = """async (token, editor) => {
    const layer = editor && editor.layers && editor.layers[0];
    if (!layer) return [token, "", ""];
    const bitmap = await createImageBitmap(await (await fetch(layer.url)).blob());
    const { width, height } = bitmap, context = new OffscreenCanvas(width, height).getContext("2d");
    context.drawImage(bitmap, 0, 0);
    const rgba = context.getImageData(0, 0, width, height).data;
    const runs = holds => {
        const counts = [];
        let inside = false, length = 0;
        for (let x = 0; x < width; x++)
            for (let y = 0; y < height; y++, length++) {
                const at = 4 * (y * width + x);
                if ((rgba[at + 3] >= 76 && holds(rgba[at], rgba[at + 2])) === inside) continue;
                counts.push(length);
                inside = !inside;
                length = 0;
            }
        return [...counts, length].join(" ");
    };
    return [token, runs((red, blue) => blue > red), runs((red, blue) => blue <= red)];
}"""
"""The blue and the red strokes as run lengths, worked out in the browser, so that no image from a visitor is decoded
in this process. A pixel that a stroke's edge covers by half or more (76 of 153, the paint's alpha) is under it."""


def draw_correct(session: gr.State, result: Sequence[Any]) -> list[Any]:
    """Draw the panel, whose truth is scored in `result`; returns what `refresh` fills for another image."""
    with gr.Accordion("Draw the truth, or correct the mask", open=False, elem_id="correct") as panel:
        gr.Markdown(ADVICE)
        with gr.Row():
            buttons = [gr.Button(f"Begin with {name}", size="sm", min_width=200) for name in BEGINNINGS]
        label = gr.Dropdown(label="Label", visible=False, elem_id="drawn-label")
        editor = _editor()
        change = gr.Markdown(elem_id="change")
        with gr.Row():
            see = gr.Button("See what changed", size="sm", min_width=160, elem_id="see-change")
            use = gr.Button("Use as truth", size="sm", min_width=160, elem_id="use-as-truth")
            pack = gr.Button("Training pair (zip)", size="sm", min_width=160, elem_id="get-pair")
        file = gr.DownloadButton(visible="hidden")
        token, painted, erased = (gr.Textbox(visible="hidden") for _ in range(3))

    filled = [editor, token, change, label]
    panel.expand(partial(_opened, True), session, filled, **QUIET)
    panel.collapse(partial(_opened, False), session, None, **QUIET)
    for button, name in zip(buttons, BEGINNINGS, strict=True):
        button.click(partial(restart, name), session, filled, **QUIET)
    strokes = [session, token, painted, erased]
    read = {"fn": None, "inputs": [token, editor], "outputs": [token, painted, erased], "js": STROKES, **QUIET}
    # on demand: reading the editor sends it whole, and makes it load anew, which counts as another stroke
    see.click(**read).then(see_change, strokes, change, **PRIVATE)
    label.input(**read).then(turn_to, [*strokes, label], filled, **QUIET)
    use.click(**read).then(use_as_truth, strokes, [change, *result], **PRIVATE)
    written = pack.click(**read).then(write_pair, strokes, file, **PRIVATE)
    written.success(None, file, None, js=SAVE, **PRIVATE)
    return filled


def _editor() -> gr.ImageEditor:
    blue, red = ((f"rgb{label_colour(number)}", _PAINT) for number in (0, 2))
    editor = gr.ImageEditor(
        image_mode="RGBA",
        format="png",
        sources=(),
        transforms=(),
        layers=False,
        brush=gr.Brush(colors=[blue, red], default_color=blue, color_mode="fixed"),
        interactive=True,
        show_label=False,
        height=560,
        buttons=["fullscreen"],
        elem_id="editor",
    )
    editor.accept_blobs = None  # Gradio's way to send strokes keeps whatever anybody sends in memory; here none is used
    return editor


def refresh(session: Session) -> list[Any]:
    """The editor with the ensemble's mask, where the panel is open and shows another image or ensemble."""
    if session.is_empty or not session.correcting:
        return [gr.skip()] * 4
    editing = session.editing
    return [gr.skip()] * 4 if editing and editing.is_of(session.view_state) else restart(BEGINNINGS[0], session)


@warning
def _opened(is_open: bool, session: Session) -> Any:
    session.correcting = is_open
    return refresh(session) if is_open else None


@warning
def restart(beginning: str, session: Session) -> list[Any]:
    """The editor with the ensemble's masks or with empty ones, whatever was drawn before."""
    view_state = session.view_state
    prediction = view_state.prediction
    masks = prediction.masks if beginning == BEGINNINGS[0] else np.zeros_like(prediction.masks)
    correction = begin(masks, prediction.ensemble.task)
    session.editing = Editing(prediction.image, view_state.ensemble, beginning, correction, correction)
    return _filled(session, session.editing)


@warning
def see_change(session: Session, token: str, painted: str, erased: str) -> str:
    """What the strokes have changed so far."""
    return text.change_table(session.view_state, _taken(session, token, painted, erased))


@warning
def turn_to(session: Session, token: str, painted: str, erased: str, label: str) -> list[Any]:
    """Draw on another label; the strokes so far are kept."""
    editing = _taken(session, token, painted, erased)
    number = session.view_state.prediction.labels.index(label)
    session.editing = dataclasses.replace(editing, base=editing.now, label=number, token=uuid.uuid4().hex)
    return _filled(session, session.editing)


@warning
def use_as_truth(session: Session, token: str, painted: str, erased: str) -> list[Any]:
    """Score the ensemble and every member against what was drawn."""
    editing = _taken(session, token, painted, erased)
    session.set_truth(editing.image, editing.now.masks, f"drawn here, begun with {editing.beginning}")
    return [text.change_table(session.view_state, editing), *handlers.result(session)]


@refusal
def write_pair(session: Session, token: str, painted: str, erased: str) -> str:
    return str(session.write_pair(_taken(session, token, painted, erased).now.masks))


def _taken(session: Session, token: str, painted: str, erased: str) -> Editing:
    """The editing with the strokes; raises InputError where they are of another image."""
    editing, view_state = session.editing, session.view_state
    if editing is None or token != editing.token or not editing.is_of(view_state):
        raise InputError("What was drawn belongs to another image: begin again with this one.")
    size = view_state.view.image.size
    nothing = str(size[0] * size[1])  # before the first stroke there is no layer to read
    strokes = (decode_rle(runs or nothing, size, "counts") for runs in (painted, erased))
    session.editing = dataclasses.replace(editing, now=editing.base.drawn(editing.label, *strokes))
    return session.editing


def _filled(session: Session, editing: Editing) -> list[Any]:
    """Values of editor, token, change and label for what is being edited."""
    view_state = session.view_state
    view, labels = view_state.view.image, view_state.prediction.labels
    mask = to_grid(editing.base.masks[editing.label], view.size)
    background = draw_overlay(view.pixels, mask[np.newaxis])
    names = gr.update(choices=list(labels), value=labels[editing.label], visible=len(labels) > 1)
    # the mask is in the image: a layer that came with it would be placed on the canvas that was there before
    value = {"background": background, "layers": [], "composite": None}
    return [value, editing.token, text.change_table(view_state, editing), names]
