"""The record beside every result: its areas, its hash, the versions that made it, as JSON."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from medseg.arrays import Masks
from medseg.image import Image
from medseg.version import __version__

NOTICE = "Research use only, not for diagnosis."

INSISTED = "The ensemble is not made for such images: the mask was asked for all the same."
"""A note of an image for which the visitor insisted on a mask. It stays in every export."""


def notice(image: Image) -> str:
    """NOTICE, and that the mask was insisted on, where it was."""
    return f"{NOTICE} {INSISTED}" if INSISTED in image.notes else NOTICE


def masks_sha256(masks: Masks) -> str:
    """Hash of shape and content of masks (K, H, W) on the upright grid."""
    digest = hashlib.sha256(repr(masks.shape).encode())
    digest.update(np.packbits(masks).tobytes())
    return digest.hexdigest()


def areas(masks: Masks, labels: tuple[str, ...], image: Image) -> dict[str, dict[str, float]]:
    """Each label's area in pixels (`px`) and, where the spacing is known, square millimetres (`mm2`)."""
    counts = {label: {"px": float(np.count_nonzero(mask))} for label, mask in zip(labels, masks, strict=True)}
    if image.spacing_mm is None:
        return counts
    pixel = image.spacing_mm[0] * image.spacing_mm[1]
    return {label: {**count, "mm2": round(count["px"] * pixel, 3)} for label, count in counts.items()}


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on; what is not installed is left out."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    """Asked once: each version is read from a file."""
    names = ("onnxruntime", "torch", "segmentation-models-pytorch", "timm", "numpy", "scipy", "pydicom", "pillow")
    versions = {"medseg": __version__}
    for name in names:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def write_report(report: dict[str, Any], path: Path) -> None:
    """A report as indented JSON, the notice first."""
    text = json.dumps({"notice": NOTICE, **report}, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
