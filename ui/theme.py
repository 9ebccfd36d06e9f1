"""How the page looks: system fonts (nothing is fetched from a font server), calm colours, little CSS."""

import gradio as gr

PICTURE_HEIGHT = 540
"""Of the views, in pixels: with the sliders beside them they fit on one screen of a laptop."""
CONTROLS_WIDTH = 340
"""Least width of the column with the sliders, in pixels; on a phone the columns stand below each other."""

THEME = gr.themes.Default(
    primary_hue="sky",
    neutral_hue="slate",
    font=["system-ui", "-apple-system", "Segoe UI", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
)

CSS = """
.gradio-container { max-width: 1500px !important; overflow: clip !important; } /* under "hidden" nothing is sticky */
#head p { margin: 0; }
#scores { overflow-x: auto; }
#scores table { font-variant-numeric: tabular-nums; }
#scores th, #scores td { white-space: nowrap; padding: 6px 10px; border-color: var(--border-color-primary); }
#mixer input[type=range]::-webkit-slider-thumb { border: 1px solid var(--slider-color); }
#mixer input[type=range]::-moz-range-thumb { border: 1px solid var(--slider-color); }
.member { align-items: center; }
.captioned .caption-label { position: static; max-width: 100%; white-space: normal; text-align: left; font-size: 12px;
    line-height: 1.25; padding: 2px 4px; border: 0; background: none; }
#examples .grid-wrap { min-height: 0; }
#examples .grid-container { gap: 8px; padding-top: 24px; align-items: start; }
.captioned .gallery-item button { height: auto; aspect-ratio: auto; }
#examples img { height: 84px; }
#views img { object-fit: contain; } /* small pictures fill the place too */
@media (max-width: 768px) {
    /* the picture first; it stays in sight while its sliders below are moved */
    #work { flex-direction: column; flex-wrap: nowrap; }
    #picture { display: contents; }
    #views { position: sticky; top: 0; z-index: var(--layer-5); background: var(--body-background-fill); }
    #looking { order: 1; }
    #controls { order: 2; }
    #notes, #picture > .row { order: 3; }
    #overlay, #probability, #disagreement, #entropy, #members, #before-after { height: min(380px, 42vh) !important; }
    #members .grid-container { grid-template-columns: repeat(2, 1fr) !important; }
    #examples .grid-container { grid-template-columns: repeat(5, 84px) !important; overflow-x: auto; }
}
"""
