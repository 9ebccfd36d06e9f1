"""What the stored values of a mask file mark: one label, the numbers of a label map, or values by name.

A mask file does not say which it is, so what is doubtful is refused with the values that it holds. Masks of one label
come with soft edges (antialiased, resized) and as JPEG; label maps come with any numbers or colours. The difference is
flat areas: a soft edge has no area of one level between dark and bright, a label map has little else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from medseg.arrays import Mask
from medseg.errors import ReadError
from medseg.image import Image, slice_affine
from medseg.reading.stored import Stored

Value: TypeAlias = int | tuple[int, int, int]
"""What a label map holds at a pixel: a number (of a palette file the index), or a colour."""

_WANTED = "For {0} labels a grey image of the integers 0 (background) to {0} is wanted; save the mask as one."
_ONE = (
    "For one label 0 and one other value are wanted. Name all labels in the order of their values, or the values of a "
    'label, as in --labels "NAME=1,2" ("NAME=*": all but 0).'
)
_FEW = 8  # levels: more are soft edges, traces of a JPEG, or the numbers of many instances
_FLAT_SHARE = 10  # flat pixels are a tenth or more of those between dark and bright: areas, not edges
_LEAST_FLAT = 4  # pixels


class ValuesError(ReadError):
    """A mask holds values that do not fit its labels: `held` says which, and the sentence goes on with what to do about
    the masks of a data set."""

    def __init__(self, held: str, advice: str) -> None:
        super().__init__(f"{held} {advice}")
        self.held = held


def to_masks(stored: Stored, count: int) -> list[Mask]:
    """`count` masks on the stored grid, one a label. Raises ReadError for values that do not fit them."""
    values = stored.pixels
    if values.ndim == 3:
        if (values == values[..., :1]).all():
            values = values[..., 0]
        elif values.shape[2] != 3:
            raise ReadError(f"The mask has {values.shape[2]} channels. {_WANTED.format(count)}")
        elif count == 1 and values.dtype == np.uint8:
            return [_one_colour(stored, values)]
        else:
            raise ReadError(f"The mask is a colour image. {_WANTED.format(count)}")
    return [_one_label(stored, values)] if count == 1 else _label_map(stored, values, count)


def select_values(stored: Stored, groups: Sequence[Sequence[Value]], known: Sequence[Value]) -> list[Mask]:
    """For each of `groups` the pixels on the stored grid that hold one of its values, -1 for all but 0."""
    if stored.lossy:
        raise ReadError("The mask is a JPEG, which changes its values: a label map needs a lossless file.")
    colours = any(isinstance(value, tuple) for group in groups for value in group)
    values = _coded(stored) if colours else _numbers(stored)
    strange = sorted({*np.unique(values).tolist()} - {0, *map(_code, known)})
    if known and strange:
        named = ", ".join(_named(value) if colours else f"{value:g}" for value in strange[:8])
        raise ValuesError(
            f"The mask holds {named}, and the data set does not say what that means.", "Mend one of them."
        )
    return [
        np.asarray(values != 0) if -1 in group else np.isin(values, [_code(value) for value in group])
        for group in groups
    ]


def held_values(stored: Stored) -> frozenset[float] | None:
    """The numbers that a label map holds; None for a JPEG and for colours, which hold none."""
    values = stored.pixels
    if values.ndim == 3 and (values == values[..., :1]).all():
        values = values[..., 0]
    return None if stored.lossy or values.ndim == 3 else frozenset(np.unique(values).tolist())


def lie_alike(stored: Stored | Image, like: Image) -> bool:
    """Whether a NIfTI mask or channel lies where `like` does, to half a voxel at the far end of the volume. A mask of
    one slice may have the affine of the volume or that of the slice.

    Files without an affine say nothing about where they lie: two of them agree, one of them does not.
    """
    if stored.affine is None or like.affine is None:
        return (stored.affine is None and like.affine is None) or like.frames == 1
    places = [np.asarray(like.affine)] + ([slice_affine(like)] if stored.frames == 1 < like.frames else [])
    return any(_is_near(np.asarray(stored.affine), place, like) for place in places)


def _is_near(ours: np.ndarray, theirs: np.ndarray, like: Image) -> bool:
    away = np.abs(ours - theirs) @ [*[max(*like.size, like.frames)] * 3, 1.0]
    return bool((away[:3] <= 0.5 * np.abs(theirs[:3, :3]).max(axis=1)).all())


def _one_label(stored: Stored, values: np.ndarray) -> Mask:
    """The pixels of one label: (H, W) numbers or a palette's indices."""
    levels = np.unique(values)
    if stored.lossy:
        return _cut_lossy(values, levels)
    if len(levels) <= 2 and levels[0] in (0, levels[-1]) and levels[-1] >= 0:
        return np.asarray(values > 0)
    if values.dtype == np.uint8 and stored.palette is None and levels[-1] > 127 and not _has_areas(values, levels):
        return _cut(values)
    if values.dtype.kind == "f" and levels[0] >= 0 and levels[-1] <= 1:
        return np.asarray(values > 0.5)
    raise ValuesError(f"The mask holds the values {_some(levels)}.", _ONE)


def _cut_lossy(values: np.ndarray, levels: np.ndarray) -> Mask:
    """The bright half of a JPEG; nothing of one that is evenly dark, as JPEG makes of black."""
    if levels[-1] <= 127:
        if len(levels) == 1 and levels[0] <= 16:
            return np.zeros(values.shape, dtype=bool)
        raise ReadError(
            f"The brightest value of this JPEG mask is {levels[-1]}, so 0 and 1 may have been saved as black and "
            "almost black. Save it as PNG, with 0 and 255."
        )
    middle = (values > 40) & (values < 215)
    if _is_area(_flat(values, 3, tolerance=12) & middle, middle):
        levels = np.unique(values[_flat(values, 3, tolerance=0) & middle])
        raise ValuesError(f"The mask is a JPEG with areas of several levels ({_some(levels)}).", _ONE)
    return _cut(values)


def _cut(values: np.ndarray) -> Mask:
    """More than 127 is marked; soft edges and JPEG leave few greys between, photographs many on many pixels."""
    greys = np.bincount(values.ravel(), minlength=256)[64:192]
    if greys.sum() * 4 > values.size and np.count_nonzero(greys) > 32:
        raise ReadError(
            "The mask is a photograph: a quarter of it or more is neither dark nor bright. Choose its mask."
        )
    return np.asarray(values > 127)


def _has_areas(values: np.ndarray, levels: np.ndarray) -> bool:
    """Whether there are areas of a level between dark and bright, as label maps and numbered instances have."""
    if len(levels) <= _FEW:
        middle = (values > levels[0]) & (values < levels[-1])
        dark = middle & (values <= 32)
        if dark.sum() * _FLAT_SHARE < (values == levels[-1]).sum():
            middle &= ~dark  # traces of editing, as in some masks of CVC-ClinicDB: too few pixels for a class
        return bool(levels[0] > 0) or _is_area(_flat(values, 2) & middle, middle)
    middle = (values > 16) & (values < 239)  # a mask that was a JPEG once has flat blocks of 1 and 254
    return _is_area(_flat(values, 3) & middle, middle)


def _one_colour(stored: Stored, values: np.ndarray) -> Mask:
    """The pixels that are not black, where they have one colour. (H, W, 3) of 8 bits."""
    brightest = values.max(axis=-1)
    if stored.lossy:
        return _cut_lossy(brightest, np.unique(brightest))
    codes = _fold(values)
    areas, counts = np.unique(codes[_flat(codes, 2)], return_counts=True)
    colours = _apart([_unfold(code) for code in areas[counts >= _LEAST_FLAT].tolist()])
    if len(colours) > 1:
        named = ", ".join(map(str, colours[:8]))
        raise ReadError(f"The mask holds the colours {named}. For one label black and one other colour are wanted.")
    top = int(brightest.max())
    if 0 < top < 255 and len(np.unique(brightest)) > 2:
        brightest = np.minimum(brightest.astype(np.uint16) * 255 // top, 255).astype(np.uint8)
    return _one_label(stored, brightest)


def _apart(colours: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Those that are not black and differ from each other by more than a JPEG's traces do."""
    kinds: list[tuple[int, int, int]] = []
    for colour in sorted(colours, key=max, reverse=True):
        if all(max(abs(a - b) for a, b in zip(colour, other, strict=True)) > 32 for other in [(0, 0, 0), *kinds]):
            kinds.append(colour)
    return kinds


def _label_map(stored: Stored, values: np.ndarray, count: int) -> list[Mask]:
    levels = np.unique(values)
    if stored.lossy:
        raise ReadError(f"The mask is a JPEG, which changes its values. {_WANTED.format(count)}")
    if not np.isin(levels, np.arange(count + 1)).all():
        raise ValuesError(f"The mask holds the values {_some(levels)}.", _WANTED.format(count))
    return [np.asarray(values == label) for label in range(1, count + 1)]


def _flat(values: np.ndarray, side: int, tolerance: int = 0) -> Mask:
    """The pixels of `side` × `side` blocks whose values differ by no more than `tolerance`."""
    height, width = (length - side + 1 for length in values.shape)
    flat = np.zeros(values.shape, dtype=bool)
    if min(height, width) < 1:
        return flat
    shifted = [values[y : y + height, x : x + width] for y in range(side) for x in range(side)]
    spread = np.maximum.reduce(shifted) - np.minimum.reduce(shifted)
    for y in range(side):
        for x in range(side):
            flat[y : y + height, x : x + width] |= spread <= tolerance
    return flat


def _is_area(flat: Mask, middle: Mask) -> bool:
    return bool(flat.sum() >= _LEAST_FLAT and flat.sum() * _FLAT_SHARE >= middle.sum())


def _numbers(stored: Stored) -> np.ndarray:
    values = stored.pixels
    if values.ndim == 3 and (values == values[..., :1]).all():
        values = values[..., 0]
    if values.ndim == 3:
        raise ReadError("The mask is a colour image, and its labels are numbers. Save it as a grey label map.")
    return values


def _coded(stored: Stored) -> np.ndarray:
    """(H, W) of 0xRRGGBB."""
    values = stored.pixels
    if stored.palette is not None:
        values = np.asarray(stored.palette, dtype=np.uint8)[values]
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=-1)
    if values.dtype != np.uint8 or values.shape[2] != 3:
        raise ReadError("The mask is no image of 8-bit colours, and its labels are colours. Save it as 8-bit RGB.")
    return _fold(values)


def _fold(values: np.ndarray) -> np.ndarray:
    wide = values.astype(np.int32)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def _unfold(code: int) -> tuple[int, int, int]:
    return code >> 16, code >> 8 & 255, code & 255


def _code(value: Value) -> int:
    return value if isinstance(value, int) else value[0] << 16 | value[1] << 8 | value[2]


def _named(code: int) -> str:
    return f"the colour {_unfold(code)}"


def _some(values: np.ndarray) -> str:
    """The first few of `values`, as a sentence names them."""
    names = ", ".join(f"{value:g}" for value in values[:8])
    return names if len(values) <= 8 else f"{names} and {len(values) - 8} more"
