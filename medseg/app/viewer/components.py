"""The page's own components: each is a gr.HTML of a file of HTML and files of JavaScript beside this one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

HERE = Path(__file__).parent
VIEWER = ("blend", "glass", "draw", "viewer", "views", "legend", "events", "tools", "paper")
"""The viewer's scripts, in the order in which they stand as one."""

WAITS = "(...values) => { document.dispatchEvent(new Event('medseg:waiting')); return values; }"
"""For `js=` of an event that takes its time: what is shown is of before, and looks so."""

SETTLED = "async (...inputs) => { await window.medseg?.settled?.(); return inputs; }"
"""Before what Python makes of the settings: it waits until Python has those that are seen."""

DONE = "value => { document.dispatchEvent(new CustomEvent('medseg:done', { detail: value })); }"
"""For `js=` of what follows it, whether it went well or not; its input is the viewer, which may not show it all yet."""

SAVE = "(file, name) => window.medseg.save(file.url, name || file.orig_name)"
"""For `js=` of an event whose inputs are a file and what the browser is to call it; the visitor's own names are put in
the place of those under which the files were uploaded."""

SAVE_ZIP = "file => window.medseg.saveZip(file.url, file.orig_name)"

WRITTEN = "() => { document.dispatchEvent(new Event('medseg:written')); }"
"""For `js=` of what follows the writing of a file, whether it went well or not."""


def read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def draw_viewer() -> Any:
    """The canvas. Its value is what `medseg.app.render.planes` makes; it triggers `again` where it lost its image, and
    `begin`, `strokes`, `discard` and `pair` while a mask is drawn by hand."""
    return _component("viewer", "viewer.html", *(f"{name}.js" for name in VIEWER))


def draw_sliders() -> Any:
    """The mixer. Its value is `medseg.app.render.offer`'s; it triggers `settle` with all settings, as data."""
    return _component("mixer", "mixer.html", "mixer.js")


def draw_head() -> Any:
    """The bar over the page: name, notice, the button that opens an image; and what concerns the whole window."""
    return _component("head", "head.html", "names.js", "shell.js")


def draw_formats() -> Any:
    """The button that saves the mask, with a list of other formats. Its value is `medseg.app.tabs.downloads.offered`'s;
    it triggers `save` with the `kind` that is wanted."""
    return _component("download", "formats.html", "formats.js")


def draw_rows() -> Any:
    """The batch's table. Its value is a run with rows of `medseg.app.render.batch_table.page_row`; it triggers `open`
    with the index of a row."""
    return _component("batch-table", "batch.html", "batch.js")


def _component(name: str, html: str, *scripts: str) -> gr.HTML:
    return gr.HTML(
        html_template=read(html),
        js_on_load="\n".join(map(read, scripts)),
        apply_default_css=False,
        elem_id=name,
    )
