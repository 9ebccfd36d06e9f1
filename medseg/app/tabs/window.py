"""Through which window a grey DICOM or NIfTI is seen, by the visitor and by the networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import gradio as gr

from medseg.app.state.session import Session
from medseg.app.tabs import handlers
from medseg.app.tabs.events import NEWEST, warning
from medseg.image import Image

Window: TypeAlias = tuple[float, float]
"""(centre, width), in the units after the modality step: Hounsfield units for CT."""

CT: dict[str, Window] = {"Lung": (-600, 1500), "Soft tissue": (40, 400), "Bone": (400, 1800), "Brain": (40, 80)}
"""Windows in wide use for CT."""


AS_FILE, FULL, OWN = "As the file says", "Full range", "My own"
WINDOW = "Window, for the networks too"


def windows_of(image: Image) -> dict[str, Window | None]:
    """What the list offers for `image`, by name; nothing where the image takes no window."""
    if image.extent is None:
        return {}
    offered: dict[str, Window | None] = {AS_FILE: None}
    offered |= {f"The file's {centre:g} / {width:g}": (centre, width) for centre, width in image.windows[1:]}
    if _is_ct(image):
        offered |= CT
    return offered | {FULL: _full(image.extent)}


def draw_window(session: Session, state: gr.State, displayed: Sequence[Any]) -> None:
    """Draw the list and two sliders for the session's image, where it takes a window; `displayed` shows the change."""
    offered = windows_of(session.view_state.prediction.image)
    if not offered:
        return
    with gr.Row(equal_height=True, elem_id="window"):
        settings: dict[str, Any] = {"interactive": True, "min_width": 0}
        chosen = gr.Dropdown([*offered, OWN], value=AS_FILE, label=WINDOW, filterable=False, **settings)
        centre, width = (gr.Slider(**place, buttons=[], **settings) for place in _places(session))
    chosen.input(choose, [state, chosen], [centre, width, *displayed], **NEWEST)
    gr.on([centre.input, width.input], move, [state, centre, width], [chosen, *displayed], **NEWEST)


@warning
def choose(session: Session, name: str) -> list[Any]:
    """An entry of the list."""
    view_state = session.view_state
    image = view_state.prediction.image
    session.look_again(image.frame, windows_of(image).get(name, view_state.window))
    return [*(gr.update(**place) for place in _places(session)), *handlers.displayed(session)]


@warning
def move(session: Session, centre: float, width: float) -> list[Any]:
    """One of the two sliders."""
    session.look_again(session.view_state.prediction.image.frame, (centre, width))
    return [OWN, *handlers.displayed(session)]


def _is_ct(image: Image) -> bool:
    """A CT by its header; or a NIfTI, which has none, whose values reach down to air's, as no other modality's do."""
    return image.modality == "CT" or (image.modality is None and image.extent is not None and image.extent[0] < -500)


def _full(extent: tuple[float, float]) -> Window:
    low, high = extent
    whole = 1 if high - low > 50 else 0  # DICOM's LINEAR counts grey levels, of which there is one more than steps
    return (low + high + whole) / 2, (high - low + whole) or 1


def _places(session: Session) -> list[dict[str, Any]]:
    """Label, bounds, value and step of the two sliders, so that every window of the list has its place."""
    image = session.view_state.prediction.image
    extent = image.extent or (0, 1)
    full = _full(extent)
    now = session.view_state.window or image.window or full
    step = 1 if full[1] > 50 else 10.0 ** math.floor(math.log10(full[1] / 100))
    windows = [full, now, *(window for window in windows_of(image).values() if window)]
    centres = [*extent, *(centre for centre, _ in windows)]
    bounds = ((min(centres), max(centres)), (step, max(width for _, width in windows)))
    return [
        {"label": label, "minimum": low, "maximum": high, "value": value, "step": step}
        for label, (low, high), value in zip(("Centre", "Width"), bounds, now, strict=True)
    ]
