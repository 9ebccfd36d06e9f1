"""Results as files, each written when it is asked for."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ui import handlers

SAVE = "file => Object.assign(document.createElement('a'), {href: file.url, download: file.orig_name}).click()"


def draw_downloads(session: gr.State) -> None:
    """A row of buttons, one for each file."""
    with gr.Row():
        _add("Mask (PNG)", handlers.write_mask, session, "mask")
        _add("Probabilities (npz)", handlers.write_probabilities, session, "probabilities")
        _add("Report (JSON)", handlers.write_report, session, "report")


def _add(label: str, write: Any, session: gr.State, name: str) -> None:
    """A button that writes the file when asked and then saves it: never one that was written before."""
    asked = gr.Button(label, size="sm", min_width=120, elem_id=f"get-{name}")
    file = gr.DownloadButton(visible="hidden")
    written = asked.click(write, session, file, api_visibility="private")
    written.success(None, file, None, js=SAVE, api_visibility="private")
