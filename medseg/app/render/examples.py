"""The images that a visitor can try: synthetic ones with known masks, and a real film where one is installed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

from medseg.app.render.images import plain
from medseg.app.state.registry import standard_sources, stands_alone
from medseg.errors import MedsegError
from medseg.image import Image
from medseg.places import shipped
from medseg.reading.readers import read_file
from medseg.reading.series import Series
from medseg.report.html import data_uri

FOLDER = shipped("assets/examples")
REAL_FILM = "RG1_J2KR.dcm"
SIDE = 160

MOST_KEPT, MOST_BYTES = 8, 2**24
"""So many images of examples stay in memory, of so many bytes each."""

Thumbnail: TypeAlias = tuple[str, str]
"""A small image as a data: address, and its caption."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """An image's file or series, its caption, the file of its known mask, if any, and what a visitor calls it."""

    path: Path | Series
    caption: str
    truth: Path | None = None
    called: str = ""


@cache
def examples() -> tuple[Example, ...]:
    """Where MEDSEG_ONLY=1 lets the owner's ensembles stand alone, the images in their folders' examples/; else, and
    where there are none, the synthetic images, endoscopy first as the first embedded ensemble is made for it, then the
    real film."""
    if stands_alone() and (own := _own()):
        return own
    images = sorted(p for p in FOLDER.glob("*.png") if not p.stem.endswith("_mask"))
    images.sort(key=lambda path: not path.stem.startswith("endoscopy"))  # stable: the rest stays in order
    return tuple(_synthetic(path) for path in images) + _real()


def _own() -> tuple[Example, ...]:
    """The images of examples/ in each folder that MEDSEG_ENSEMBLES names; NAME_mask beside NAME is its truth."""
    folders = [source / "examples" for source in standard_sources() if isinstance(source, Path)]
    paths = [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir()) if path.is_file()]
    truths = {path.stem.removesuffix("_mask"): path for path in paths if path.stem.endswith("_mask")}
    images = [path for path in paths if path not in truths.values()]
    return tuple(Example(path, path.stem.replace("_", " "), truths.get(path.stem), path.name) for path in images)


def thumbnails() -> list[Thumbnail]:
    """Small images with captions, in the order of `examples`."""
    return [(_thumbnail(example.path), example.caption) for example in examples()]


def read(example: Example) -> Image:
    """The image of any example. Those of `examples` are read once: a film takes half a second to decode."""
    return _read(example.path) if example in examples() else read_file(example.path)


_images: dict[Path | Series, Image] = {}


def _read(path: Path | Series) -> Image:
    image = _images.get(path) or read_file(path)
    if len(_images) < MOST_KEPT and image.pixels.nbytes <= MOST_BYTES:
        _images[path] = image
    return image


@cache
def _thumbnail(path: Path) -> str:
    return data_uri(plain(_read(path)), SIDE)


def _synthetic(path: Path) -> Example:
    mask = path.with_name(f"{path.stem}_mask.png")
    kind, _, number = path.stem.partition("-")
    caption = f"Synthetic {kind}" if number == "1" else f"Synthetic {kind} {number}"
    return Example(path, caption, mask if mask.exists() else None, path.name)


def _real() -> tuple[Example, ...]:
    """The chest film of pydicom-data (16 bits, MONOCHROME1), read where it is installed; nothing is fetched. It is
    found without pydicom, which takes longer to import than the first page should wait."""
    package = find_spec("data_store")  # pydicom-data's
    film = Path(package.origin).parent / "data" / REAL_FILM if package and package.origin else Path()
    if not film.is_file():
        return ()
    try:
        _thumbnail(film)
    except MedsegError as error:
        log.info("The example film is not there: %s", type(error).__name__)
        return ()
    return (Example(film, "Real chest film", called="chest-film.dcm"),)
