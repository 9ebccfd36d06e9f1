"""Masks as run lengths, and back: the competition forms of Kaggle and the counts of COCO. All are column-major.

- "relative" (SIIM-ACR 2019): pairs `gap length`, the gap counted from the end of the run before, from 0; `-1` is empty.
- "absolute" (most other Kaggle sets): pairs `start length`, the start counted from 1; the empty text is empty.
- "counts" (COCO, uncompressed): the lengths of background and foreground in turn, background first, covering the grid.

`pack_counts` and `unpack_counts` are COCO's compressed text of the third form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Int64

from medseg.arrays import Mask
from medseg.errors import ReadError

RleForm: TypeAlias = Literal["relative", "absolute", "counts"]
Numbers: TypeAlias = Int64[np.ndarray, "n"]


def encode_rle(mask: Mask, form: RleForm = "relative") -> str:
    """The run lengths of `mask` (H, W) as numbers with a space between. Inverse of `decode_rle`."""
    flat = np.concatenate([[False], mask.T.ravel(), [False]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    starts, ends = changes[::2], changes[1::2]
    if form == "counts":
        last = [] if mask[-1, -1] else [mask.size]  # the end of a foreground that touches the end is a change already
        return _text(np.diff(np.concatenate([[0], changes, last])).astype(np.int64))
    before = np.concatenate([[0], ends])[: len(starts)].astype(np.int64)  # where the run before each run ended
    first = starts + 1 if form == "absolute" else starts - before
    pairs = _text(np.stack([first, ends - starts], axis=1).ravel())
    return "-1" if form == "relative" and not pairs else pairs


def decode_rle(text: str, size: tuple[int, int], form: RleForm = "relative") -> Mask:
    """The mask (H, W) of `size` (height, width) that `text` encodes. Inverse of `encode_rle`.

    Runs that overlap are one. Raises ReadError for what is no run lengths, or runs beyond the grid.
    """
    numbers = _numbers(text, size[0] * size[1])
    starts, ends = _counted(numbers, size) if form == "counts" else _paired(numbers, form)
    if len(ends) and (starts.min() < 0 or ends.max() > size[0] * size[1]):
        raise ReadError(
            f"The run lengths reach pixel {ends.max()} of an image of {size[1]} × {size[0]} pixels (width × height). "
            f"They belong to an image of another size, or are of another form than {form!r}."
        )
    flat = np.zeros(size[0] * size[1], dtype=bool)
    for start, end in zip(starts, ends, strict=True):
        flat[start:end] = True
    return np.ascontiguousarray(flat.reshape(size[1], size[0]).T)


def pack_counts(counts: Sequence[int]) -> str:
    """COCO's compressed text of `counts`: five bits a letter, from the fourth number on as differences to the number
    two before. Inverse of `unpack_counts`. Source: cocoapi, common/maskApi.c, rleToString."""
    letters = []
    for index, count in enumerate(counts):
        rest = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            bits, rest = rest & 31, rest >> 5
            more = rest != (-1 if bits & 16 else 0)
            letters.append(chr((bits | 32 if more else bits) + 48))
    return "".join(letters)


def unpack_counts(text: str) -> list[int]:
    """The counts in COCO's compressed `text`. Raises ReadError for what `pack_counts` cannot have written."""
    counts: list[int] = []
    number = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 40:  # 40 bits are more pixels than any image has
            raise ReadError(f"COCO run lengths hold {letter!r} where it cannot stand: the file is damaged.")
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        number -= (bits & 16) and 1 << shift  # the sign
        counts.append(number + counts[-2] if len(counts) > 2 else number)
        number = shift = 0
    if shift:
        raise ReadError("COCO run lengths end amid a number: the file is damaged.")
    return counts


def _text(numbers: Numbers) -> str:
    return " ".join(map(str, numbers.tolist()))


def _numbers(text: str, largest: int) -> Numbers:
    """The numbers in `text`, none for `-1`."""
    words = text.split()
    if words == ["-1"]:
        words = []
    try:
        numbers = np.array([int(word) for word in words], dtype=np.int64)
    except (ValueError, OverflowError):
        raise ReadError(f"Run lengths are whole numbers, and this is none: {text[:40]!r}.") from None
    if len(numbers) and (numbers.min() < 0 or numbers.max() > largest):  # beyond it sums could overflow
        raise ReadError(f"Run lengths of 0 to {largest} are wanted, found {numbers.min()} to {numbers.max()}.")
    return numbers


def _paired(numbers: Numbers, form: RleForm) -> tuple[Numbers, Numbers]:
    if len(numbers) % 2:
        raise ReadError(f"Run lengths come in pairs, and these are {len(numbers)} numbers.")
    first, lengths = numbers[::2], numbers[1::2]
    if form == "absolute":
        return first - 1, first - 1 + lengths
    ends = np.cumsum(first + lengths)
    return ends - lengths, ends


def _counted(numbers: Numbers, size: tuple[int, int]) -> tuple[Numbers, Numbers]:
    ends = np.cumsum(numbers)
    if len(numbers) == 0 or ends[-1] != size[0] * size[1]:
        raise ReadError(
            f"The run lengths cover {numbers.sum()} pixels, the image has {size[1]} × {size[0]} (width × height). "
            "They belong to an image of another size."
        )
    return ends[::2][: len(ends) // 2], ends[1::2]
