"""From probabilities to masks: threshold, clean-up, label map."""

from __future__ import annotations

import numpy as np
import scipy
from jaxtyping import Bool, Int, UInt8

from medseg.arrays import Mask, Masks, Probabilities, Threshold
from medseg.config import Cleanup, Task
from medseg.errors import InputError

_EIGHT = np.ones((3, 3), dtype=bool)
_MAX_LABELS = np.iinfo(np.uint8).max


def to_masks(probabilities: Probabilities, threshold: Threshold, task: Task) -> Masks:
    """One mask per label: a pixel whose probability equals `threshold` is inside.

    binary, multilabel: each label by itself, at one threshold for all or at its own, so labels may overlap. multiclass:
    `probabilities` hold the labels without the background, which is what they lack to 1; a pixel is foreground where
    their sum reaches the threshold, and then goes to its most probable label (the first of equals), so that a pixel
    torn between two labels is not lost to the background.
    """
    if task != "multiclass":
        return np.asarray(probabilities >= np.asarray(threshold, probabilities.dtype).reshape(-1, 1, 1))
    foreground = probabilities.sum(axis=0) >= threshold
    labels = np.arange(len(probabilities))[:, None, None]
    return np.asarray((probabilities.argmax(axis=0) == labels) & foreground)


def clean_up(masks: Masks, cleanup: Cleanup, task: Task) -> Masks:
    """`masks` without holes, stray components and specks, as `cleanup` asks, in this order for each label:

    1. `fill_holes`: background enclosed by the mask (4-connected, not touching the image's border) joins it. Under
       multiclass a hole that holds pixels of another label stays as it is, so labels remain exclusive.
    2. `largest_component`: only the component with the most pixels stays (the first from the top among equals).
    3. `min_area_px`: components with fewer pixels go.

    Components are 8-connected. Holes come first, so that a ring counts with the area it encloses. The result is a new
    array, or `masks` itself where nothing is asked.
    """
    if cleanup == Cleanup():
        return masks
    claims = masks.sum(axis=0, dtype=np.uint8) if task == "multiclass" else None
    cleaned = np.empty_like(masks)
    for mask, result in zip(masks, cleaned, strict=True):
        filled = _fill_holes(mask, None if claims is None else claims > mask) if cleanup.fill_holes else mask
        result[:] = _drop_components(filled, cleanup)
    return cleaned


def to_label_map(masks: Masks) -> UInt8[np.ndarray, "H W"]:
    """One number per pixel: 0 background, k + 1 for label k; where labels overlap the later one is seen."""
    if len(masks) > _MAX_LABELS:
        raise InputError(f"A label map holds {_MAX_LABELS} labels at most, got {len(masks)}: save one mask per label.")
    label_map = np.zeros(masks.shape[1:], dtype=np.uint8)
    for value, mask in enumerate(masks, start=1):
        label_map[mask] = value
    return label_map


def _fill_holes(mask: Mask, others: Mask | None) -> Mask:
    """`mask` with its holes, but for those that hold a pixel of `others`.

    Labelling the background once tells holes apart; scipy's binary_fill_holes does not, and takes 3 times as long.
    """
    if not mask.any():
        return mask
    regions, count = scipy.ndimage.label(~mask)
    is_hole = np.ones(count + 1, dtype=bool)
    is_hole[0] = False  # the mask itself
    for border in (regions[0], regions[-1], regions[:, 0], regions[:, -1]):
        is_hole[border] = False
    if others is not None:
        is_hole[regions[others]] = False
    return np.asarray(mask | is_hole[regions])


def _drop_components(mask: Mask, cleanup: Cleanup) -> Mask:
    if not (cleanup.largest_component or cleanup.min_area_px > 1) or not mask.any():
        return mask
    components, count = scipy.ndimage.label(mask, structure=_EIGHT)
    return np.asarray(_kept(components, count, cleanup)[components])


def _kept(components: Int[np.ndarray, "H W"], count: int, cleanup: Cleanup) -> Bool[np.ndarray, "n"]:
    """For each component number, whether its pixels stay; number 0, the background, does not."""
    areas = np.bincount(components.ravel(), minlength=count + 1)
    areas[0] = 0
    keep = areas >= max(cleanup.min_area_px, 1)
    if cleanup.largest_component:
        keep &= np.arange(count + 1) == areas.argmax()
    return np.asarray(keep)
