"""How the page looks: system fonts (nothing is fetched from a font server), calm colours, little CSS."""

import gradio as gr

IMAGE_HEIGHT = 540
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
#scores, #change, #fit-result { overflow-x: auto; }
:is(#scores, #change, #fit-result) table { font-variant-numeric: tabular-nums; }
:is(#scores, #change, #fit-result) :is(th, td) { white-space: nowrap; padding: 6px 10px;
    border-color: var(--border-color-primary); }
#mixer input[type=range]::-webkit-slider-thumb { border: 1px solid var(--slider-color); }
#mixer input[type=range]::-moz-range-thumb { border: 1px solid var(--slider-color); }
li[aria-label$="not of this image"] { opacity: 0.55; font-style: italic; }
.member, .downloads { align-items: center; }
.captioned .caption-label { position: static; max-width: 100%; white-space: normal; text-align: left; font-size: 12px;
    line-height: 1.25; padding: 2px 4px; border: 0; background: none; }
#examples .grid-wrap { min-height: 0; }
#examples .grid-container { gap: 8px; padding-top: 24px; align-items: start; }
.captioned .gallery-item button { height: auto; aspect-ratio: auto; }
#examples img { height: 84px; }
#batch-table table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
#batch-table th, #batch-table td { text-align: left; padding: 6px 10px; overflow-wrap: anywhere;
    border: solid var(--border-color-primary); border-width: 0 0 1px; }
#batch-table table, #batch-table tr { border: 0; }
#batch-table td:first-child { width: 1px; }
#batch-table button { padding: 0; border: 0; background: none; cursor: pointer; }
#batch-table button:focus-visible { outline: 3px solid var(--slider-color); }
#batch-table img { max-width: none; margin: 0; }
#views img { object-fit: contain; } /* small images fill the place too */
#editor [aria-label="Clear canvas"] { display: none; } /* it would clear the image too */
.evidence { line-height: 1.45; }
.evidence p { max-width: 70ch; margin: 10px 0 0; font-size: 13px; }
.evidence ul { list-style: none; margin: 8px 0 0; padding: 0; display: flex; flex-wrap: wrap; gap: 2px 18px; }
.evidence li, .evidence dd { font-variant-numeric: tabular-nums; }
.bars { display: grid; grid-template-columns: max-content minmax(120px, 420px); gap: 6px 12px; margin: 8px 0 0; }
.bars dt:first-of-type { font-weight: 600; }
.bars dd { display: flex; align-items: center; gap: 8px; margin: 0; padding-right: 52px; }
.bars i { height: 16px; background: #8a97a8; border-radius: 2px; flex-shrink: 0; }
.bars dd:first-of-type i { background: #0072b2; }
.bars b { font-weight: 500; }
.errors img { max-width: 100%; max-height: 540px; }
.errors i { display: inline-block; width: 12px; height: 12px; margin-right: 6px; border: 1px solid #101010; }
.curve > svg { width: 100%; max-width: 640px; }
.curve text { font-size: 13px; fill: currentColor; }
.curve .grid { stroke: currentColor; opacity: 0.18; }
.curve .now { stroke: currentColor; stroke-dasharray: 5 4; opacity: 0.7; }
.curve li svg { display: inline-block; width: 34px; height: 8px; margin-right: 6px; }
@media (max-width: 768px) {
    /* the image first; it stays in sight while its sliders below are moved */
    #work { flex-direction: column; flex-wrap: nowrap; }
    #image { display: contents; }
    #views { position: sticky; top: 0; z-index: var(--layer-5); background: var(--body-background-fill); }
    #looking { order: 1; }
    #controls { order: 2; }
    #notes, #image > .row { order: 3; }
    #overlay, #probability, #disagreement, #uncertainty, #members, #compare { height: min(380px, 42vh) !important; }
    .bars { grid-template-columns: 1fr; gap: 2px; }
    .bars dd { margin-bottom: 6px; }
    #members .grid-container { grid-template-columns: repeat(2, 1fr) !important; }
    #examples .grid-container { grid-template-columns: repeat(5, 84px) !important; overflow-x: auto; }
    #batch-table thead { display: none; } /* a row becomes a card: the image, beside it the rest */
    #batch-table tr { display: grid; grid-template-columns: 140px 1fr; padding: 8px 0; }
    #batch-table td { border: 0; padding: 2px 6px; }
    #batch-table td:first-child { grid-row: span 3; }
    #batch-table td[data-head]::before { content: attr(data-head) ": "; }
}
"""
