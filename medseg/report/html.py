"""One HTML page that needs no other file, no script and no network.

What goes into a page comes from strangers (names, labels, files): Jinja escapes every text, and the page itself forbids
whatever else might get in.
"""

from __future__ import annotations

import base64
import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import PIL.Image

from medseg.inference.record import NOTICE
from medseg.overlay import Rgb

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: Any) -> str:
    """The page of `templates/<template>.html` with `values`, each of them escaped."""
    return _environment().get_template(f"{template}.html").render(notice=NOTICE, **values).lstrip()


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).with_name("templates"))
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def data_uri(image: Rgb, longest_side: int | None = None) -> str:
    """`image` as a JPEG within the page, scaled down to `longest_side` pixels: for looking only.

    The colours keep the full resolution, without which a thin outline loses its own.
    """
    small = PIL.Image.fromarray(image)
    if longest_side is not None:
        small.thumbnail((longest_side, longest_side))
    stream = io.BytesIO()
    small.save(stream, format="JPEG", quality=85, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
