"""What is known of the truth, and the scores against it."""

from __future__ import annotations

import gradio as gr

from ui.theme import CONTROLS_WIDTH


def draw_truth() -> tuple[gr.File, gr.Markdown]:
    """Draw the field for the true mask, and the place of the scores."""
    with gr.Row():
        with gr.Column(scale=3, min_width=CONTROLS_WIDTH):
            truth = gr.File(label="Score it: drop the true mask of this picture", height=160, elem_id="truth")
        with gr.Column(scale=6, min_width=340):
            scores = gr.Markdown(elem_id="scores")
    return truth, scores
