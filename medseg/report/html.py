"""One HTML page that needs no other file, no script and no network.

What goes into a page comes from strangers (names, labels, files), so every text is escaped on its way into it, and the
page itself forbids whatever else might get in.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from html import escape

import PIL.Image

from medseg.overlay import Rgb

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --faint: #5b6470; --line: #d5dae0; --warn: #a33b00;
  --mark: #0b64a8; --band: #f3f6f9; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --paper: #14181c; --faint: #9aa4af;
  --line: #353c44; --warn: #ffab7a; --mark: #6cb8f0; --band: #1d2329; } }
body { margin: 0 auto; max-width: 78rem; padding: 1.5rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.7rem; } h2 { margin: 2.2rem 0 .4rem; font-size: 1.3rem; } h3 { margin: 1.6rem 0 .3rem; }
.notice { color: var(--warn); font-weight: 600; } p, dd { max-width: 60rem; } .faint, small { color: var(--faint); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; } dt { color: var(--faint); }
dd { margin: 0; overflow-wrap: anywhere; } code { font-size: .85em; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
tr { vertical-align: baseline; } th { font-weight: 500; }
thead th { color: var(--faint); white-space: normal; max-width: 9rem; }
th:first-child { text-align: left; } td small { display: block; font-size: .75em; }
figure { margin: 0; break-inside: avoid; } img { width: 100%; display: block; }
figcaption { font-size: .85rem; overflow-wrap: anywhere; }
@media print { body { max-width: none; padding: 0; font-size: 10px; } th, td { padding: .1rem .3rem; }
  .scroll { overflow: visible; } h2, h3 { break-after: avoid; } tr { break-inside: avoid; } }
"""


def document(title: str, body: str, style: str = "") -> str:
    """The page: `title` and `body` are HTML already, `style` is added to what all pages share."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}{style}</style></head><body>\n{body}\n</body></html>\n"
    )


def definitions(lines: Iterable[tuple[str, str]], *, faint: bool = False) -> str:
    """A list of terms and what is said of them, from plain text."""
    entries = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in lines)
    return f'<dl class="faint">{entries}</dl>' if faint else f"<dl>{entries}</dl>"


def data_uri(picture: Rgb, longest_side: int | None = None) -> str:
    """`picture` as a JPEG within the page, scaled down to `longest_side` pixels: for looking only.

    The colours keep the full resolution, without which a thin outline loses its own.
    """
    small = PIL.Image.fromarray(picture)
    if longest_side is not None:
        small.thumbnail((longest_side, longest_side))
    stream = io.BytesIO()
    small.save(stream, format="JPEG", quality=85, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
