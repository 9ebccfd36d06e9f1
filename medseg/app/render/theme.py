"""How the page looks: system fonts (nothing is fetched from a font server), calm colours, little CSS."""

import gradio as gr

CONTROLS_WIDTH = 340
"""Least width of the column with the sliders, in pixels; on a phone the columns stand below each other."""

THEME = gr.themes.Default(
    primary_hue="teal",
    neutral_hue="slate",
    font=["system-ui", "-apple-system", "Segoe UI", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
).set(  # a contrast of 4.5 : 1 or more in both themes, which Gradio's own colours miss
    button_primary_background_fill="#0f766e",
    button_primary_background_fill_hover="#115e59",
    button_primary_background_fill_dark="#2dd4bf",
    button_primary_background_fill_hover_dark="#5eead4",
    button_primary_text_color="#ffffff",
    button_primary_text_color_dark="#04211e",
    body_text_color_subdued="#4f5d6f",
    body_text_color_subdued_dark="#a3b1c1",
    block_info_text_color="#4f5d6f",
    block_info_text_color_dark="#a3b1c1",
)

CSS = """
#scores, #fit-result { overflow-x: auto; }
:is(#scores, #fit-result) table { font-variant-numeric: tabular-nums; }
:is(#scores, #fit-result) :is(th, td) { white-space: nowrap; padding: 6px 10px;
    border-color: var(--border-color-primary); }
#looking input[type=range]::-webkit-slider-thumb { border: 1px solid var(--slider-color); }
#looking input[type=range]::-moz-range-thumb { border: 1px solid var(--slider-color); }
#archive-previews .grid-container { grid-template-columns: repeat(auto-fill, 130px) !important; padding-top: 28px; }
#archive-previews img { height: 100px; object-fit: contain; }
.evidence { line-height: 1.45; }
.evidence p { max-width: 70ch; margin: 10px 0 0; font-size: 13px; }
.evidence ul { list-style: none; margin: 8px 0 0; padding: 0; display: flex; flex-wrap: wrap; gap: 2px 18px; }
.evidence li, .evidence dd { font-variant-numeric: tabular-nums; }
.bars { display: grid; grid-template-columns: 1fr; gap: 2px; margin: 8px 0 0; }
.bars dt:first-of-type { font-weight: 600; }
.bars dd { display: flex; align-items: center; gap: 8px; margin: 0 0 6px; padding-right: 52px; }
.bars i { height: 16px; background: #8a97a8; border-radius: 2px; flex-shrink: 0; }
.bars dd:first-of-type i { background: var(--acc); }
.bars b { font-weight: 500; }
.errors img { max-width: 100%; max-height: 540px; }
.errors i { display: inline-block; width: 12px; height: 12px; margin-right: 6px; border: 1px solid #101010; }
.curve > svg { width: 100%; max-width: 640px; }
.curve text { font-size: 13px; fill: currentColor; }
.curve .grid { stroke: currentColor; opacity: 0.18; }
.curve .now { stroke: currentColor; stroke-dasharray: 5 4; opacity: 0.7; }
.curve li svg { display: inline-block; width: 34px; height: 8px; margin-right: 6px; }
"""
"""What lies in Gradio's own components; the page itself is in viewer/*.css."""
