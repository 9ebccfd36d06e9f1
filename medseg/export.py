"""Results as files, all on the pixel grid of the file that was read (EXIF orientation put back), all lossless."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL.Image
from PIL.PngImagePlugin import PngInfo

from medseg import __version__
from medseg.arrays import Masks, Probabilities
from medseg.image import Image, to_stored
from medseg.overlay import PALETTE
from medseg.postprocess import to_label_map

NOTICE = "Research use only, not for diagnosis."
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def write_mask(masks: Masks, image: Image, path: Path | BinaryIO) -> None:
    """Masks (K, H, W) as an 8-bit PNG: 0 and 255 for one label; for more a label map (0 background, k + 1 label k, the
    later label where they overlap) with the overlay's palette."""
    if len(masks) == 1:
        picture = PIL.Image.fromarray(to_stored(masks[0], image.orientation).astype(np.uint8) * 255)
    else:
        picture = PIL.Image.fromarray(np.ascontiguousarray(to_stored(to_label_map(masks), image.orientation)))
        picture.putpalette([0, 0, 0, *np.asarray(PALETTE, dtype=np.uint8).ravel().tolist()])
    about = PngInfo()
    about.add_text("Description", NOTICE)
    picture.save(path, format="PNG", pnginfo=about)


def write_probabilities(probabilities: Probabilities, labels: tuple[str, ...], image: Image, path: Path) -> None:
    """Probabilities as a compressed .npz: `probabilities` (K, H, W) float16, `labels` (K,) and `notice`."""
    stored = to_stored(probabilities, image.orientation).astype(np.float16)
    np.savez_compressed(path, probabilities=stored, labels=np.array(labels), notice=np.array(NOTICE))


def masks_sha256(masks: Masks) -> str:
    """Hash of shape and content of masks (K, H, W) on the upright grid."""
    digest = hashlib.sha256(repr(masks.shape).encode())
    digest.update(np.packbits(masks).tobytes())
    return digest.hexdigest()


def areas(masks: Masks, labels: tuple[str, ...], image: Image) -> dict[str, dict[str, float]]:
    """Each label's area in pixels (`px`) and, where the spacing is known, square millimetres (`mm2`)."""
    counts = {label: {"px": float(mask.sum())} for label, mask in zip(labels, masks, strict=True)}
    if image.spacing_mm is None:
        return counts
    pixel = image.spacing_mm[0] * image.spacing_mm[1]
    return {label: {**count, "mm2": round(count["px"] * pixel, 3)} for label, count in counts.items()}


def plain_cell(value: Any) -> Any:
    """`value` as a cell of a csv file that no spreadsheet takes for a formula: such a text gets an apostrophe in front.

    Names of files come from strangers, and `=HYPERLINK(…)` is a name. Numbers stay numbers, the negative ones too.
    Source: OWASP, CSV Injection.
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    names = ("torch", "segmentation-models-pytorch", "timm", "numpy", "scipy", "pydicom", "pillow")
    return {"medseg": __version__, **{name: version(name) for name in names}}


def write_report(report: dict[str, Any], path: Path) -> None:
    """A report as indented JSON, the notice first."""
    text = json.dumps({"notice": NOTICE, **report}, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
