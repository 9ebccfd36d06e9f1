"""The docs site: `python -m sphinx -W docs build/docs` writes it, notebooks run and outputs included.

`-D nb_execution_mode=off` leaves the notebooks as they lie here. The reference is written anew at each build: a page
for each package of medseg, from its docstrings, which are plain sentences.
"""

from __future__ import annotations

import pkgutil
import re
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))  # of a checkout that is not installed

import medseg

project, author, release = "medseg", "the medseg authors", medseg.__version__
copyright = "the medseg authors, Apache-2.0"
extensions = ["myst_nb", "sphinx.ext.autodoc"]
exclude_patterns = ["build", "**/.ipynb_checkpoints"]

html_theme = "furo"
html_title = f"medseg {release}"
html_static_path: list[str] = []

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_output_stderr = "remove"  # progress bars
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_type_aliases = {
    name: name for name in ("Pixels", "Mask", "Masks", "Probabilities", "Stack", "Weight", "Blend", "Task")
}

GROUND = "ground"
ABOVE = {"app", "commands", "training"}
"""Packages without a page: they are programs, not an interface (`--help` and programs.md describe them)."""


def write_reference(_: Any) -> None:
    """Write reference/NAME.rst: the modules of each package, and those beside the packages together."""
    found = [(module.name, module.ispkg) for module in pkgutil.iter_modules(medseg.__path__) if module.name[0] != "_"]
    rooms = {name: _modules(name) for name, is_package in found if is_package and name not in ABOVE}
    rooms = {GROUND: [f"medseg.{name}" for name, is_package in found if not is_package], **rooms}
    folder = DOCS / "reference"
    folder.mkdir(exist_ok=True)
    for page in folder.glob("*.rst"):
        if page.stem not in rooms:
            page.unlink()
    for name, modules in rooms.items():
        text = _page("Words of all packages" if name == GROUND else f"medseg.{name}", name, modules)
        path = folder / f"{name}.rst"
        if not path.exists() or path.read_text(encoding="utf-8") != text:  # an unchanged page is not built again
            path.write_text(text, encoding="utf-8")


def _modules(package: str) -> list[str]:
    folder = Path(medseg.__path__[0]) / package
    return [f"medseg.{package}.{module.name}" for module in pkgutil.iter_modules([str(folder)]) if not module.ispkg]


def _page(title: str, name: str, modules: list[str]) -> str:
    lead = "Words that all packages use." if name == GROUND else f".. automodule:: medseg.{name}"
    parts = [f"{title}\n{'=' * len(title)}\n\n{lead}\n"]
    parts += [f"{module}\n{'-' * len(module)}\n\n.. automodule:: {module}\n   :members:\n" for module in modules]
    return "\n".join(parts)


def plain_sentences(*event: Any) -> None:
    """Docstrings are plain text: code stands in backticks, an indented paragraph is shown as it stands."""
    lines: list[str] = event[-1]
    paragraphs = "\n".join(lines).split("\n\n")
    lines[:] = "\n\n".join(_paragraph(paragraph) for paragraph in paragraphs).split("\n")


def _paragraph(text: str) -> str:
    if re.match(r"(\n*)( {2,}|>>>)", text):
        return "::\n\n" + re.sub(r"^", "    ", text.strip("\n"), flags=re.MULTILINE)
    pieces = re.split(r"(`[^`\n]+`)", text)
    text = "".join(f"`{piece}`" if index % 2 else _escaped(piece) for index, piece in enumerate(pieces))
    if re.search(r"^ ", text, re.MULTILINE) and not text.lstrip().startswith("- "):  # entries with hanging lines
        text = re.sub(r"^(?=\S)", "| ", text, flags=re.MULTILINE)
    return text


def _escaped(text: str) -> str:
    """`text` with what reStructuredText would take for markup, but for bullets at the beginning of a line."""
    return re.sub(r"(?<!^)(?<!\n)([*|`]|(?<=\w)_(?!\w))", r"\\\1", text)


def setup(app: Any) -> None:
    app.connect("builder-inited", write_reference)
    app.connect("autodoc-process-docstring", plain_sentences)
