"""A data set at a glance: counts, sizes and faults as text, and a contact sheet to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
from PIL import ImageDraw, ImageFont
from scipy import ndimage

from medseg.arrays import Mask, Masks
from medseg.data.left_out import DOUBTFUL, counted
from medseg.data.manifest import SPLITS, DataSet, Sample
from medseg.data.parts import relative_to
from medseg.data.splits import split_hash
from medseg.data.verify import Examined, Finding, grouped
from medseg.image import Image
from medseg.overlay import Rgb, draw_overlay, label_colour

_THUMBNAIL = 256
_COLUMNS = 6
_CAPTION = 30
_GROUND = (24, 24, 24)
_TEXT = (235, 235, 235)


def describe(
    loaded: DataSet, labels: Sequence[str], examined: Sequence[Examined], root: Path, all_findings: Sequence[Finding]
) -> str:
    """The report of `medseg inspect`: layout and what is taken as what, counts by split and case, sizes, marked shares,
    empties, what is left out, faults, doubts."""
    readable = [entry for entry in examined if entry.size]
    lines = [f"{loaded.layout}: {len(examined)} samples of {len({entry.sample.case for entry in examined})} cases"]
    lines += [f"taken   {loaded.taken}"] if loaded.taken else []
    lines += [_first(loaded.samples[0], root)]
    lines += [f"source  {loaded.source.name}; licence: {loaded.source.licence}"] if loaded.source else []
    lines += [f"splits  sha256 {split_hash(loaded.samples)}", *_sizes(readable), "", *_table(examined, labels), ""]
    doubtful = [str(entry) for entry in loaded.left_out if entry.lead == DOUBTFUL]
    absent = [str(entry) for entry in loaded.left_out if entry.lead != DOUBTFUL]
    lines += [*absent, ""] if absent else []
    faults = [finding for finding in all_findings if finding.kind != "doubt"]
    doubts = [finding for finding in all_findings if finding.kind == "doubt"]
    count = len(doubtful) + len(doubts)
    lines += [counted(count, "doubt"), *(f"  {doubt}" for doubt in (*doubtful, *grouped(doubts)))] if count else []
    lines += [counted(len(faults), "finding"), *(f"  {fault}" for fault in grouped(faults))] if faults else []
    lines += [] if faults else ["no faults" if count else "no findings"]
    return "\n".join(lines)


def _first(sample: Sample, root: Path) -> str:
    """One sample as it is taken, so that a wrong reading shows before anything is trained."""
    image, *masks = (relative_to(path, root) for path in sample.files)
    parts = 0 if isinstance(sample.mask, Path) else len(sample.mask)
    mask = " + ".join(masks[:3]) if masks else f"{parts} annotations"
    return f"first   image {image}, mask {mask}, case {sample.case}, split {sample.split or '-'}"


def draw_sheet(samples: Sequence[Sample], labels: Sequence[str]) -> Rgb:
    """A contact sheet: each image with its masks as tint and contour, and bounding boxes, under its name.

    Boxes are those that the data set gives; where it gives none, those of each connected part of the masks. Raises
    ReadError for a sample that cannot be read: give those that `examine` could read.
    """
    tiles = [_tile(sample, labels) for sample in samples]
    columns = min(_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    height, width = _THUMBNAIL + _CAPTION, _THUMBNAIL
    legend = 24
    sheet = PIL.Image.new("RGB", (columns * width, legend + rows * height), _GROUND)
    _write_legend(ImageDraw.Draw(sheet), labels)
    for index, tile in enumerate(tiles):
        sheet.paste(tile, (index % columns * width, legend + index // columns * height))
    return np.asarray(sheet)


def choose(examined: Sequence[Examined], count: int = 24) -> list[Sample]:
    """Up to `count` readable samples, evenly over the data set, three quarters of them with something marked."""
    readable = [entry for entry in examined if entry.size]
    marked = [entry for entry in readable if any(entry.marked)]
    empty = [entry for entry in readable if not any(entry.marked)]
    empties = min(len(empty), max(count // 4, count - len(marked)))
    chosen = [*_evenly(marked, count - empties), *_evenly(empty, empties)]
    return [entry.sample for entry in chosen]


def _evenly(items: Sequence[Examined], count: int) -> list[Examined]:
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[place] for place in places]


def _sizes(readable: Sequence[Examined]) -> list[str]:
    sizes = [entry.size for entry in readable if entry.size]
    if not sizes:
        return []
    least, most = min(sizes, key=lambda size: size[0] * size[1]), max(sizes, key=lambda size: size[0] * size[1])
    if least == most:
        return [f"sizes   all {least[1]} × {least[0]} (width × height)"]
    return [f"sizes   {least[1]} × {least[0]} to {most[1]} × {most[0]} (width × height), {len(set(sizes))} different"]


def _table(examined: Sequence[Examined], labels: Sequence[str]) -> list[str]:
    """One line for each split that has samples: counts, then for each label on how many it is marked, and its share."""
    width = max((len(label) for label in labels), default=0)
    lines = []
    for split in SPLITS:
        inside = [entry for entry in examined if entry.sample.split == split]
        if not inside:
            continue
        readable = [entry for entry in inside if entry.size]
        empty = sum(not any(entry.marked) for entry in readable)
        cases = len({entry.sample.case for entry in inside})
        lines.append(f"{split:5} {len(inside):6} samples {cases:6} cases {empty:6} empty")
        lines += [f"      {label:{width}}  {_share(readable, index)}" for index, label in enumerate(labels)]
    return lines


def _share(readable: Sequence[Examined], index: int) -> str:
    marked = [entry.marked[index] for entry in readable]
    pixels = sum(entry.size[0] * entry.size[1] for entry in readable if entry.size)
    share = sum(marked) / pixels if pixels else 0.0
    return f"marked on {sum(count > 0 for count in marked):6}, {share:.3%} of the pixels"


def _tile(sample: Sample, labels: Sequence[str]) -> PIL.Image.Image:
    image, masks = sample.read(labels)
    pixels, small, scale = _shrunk(image, masks)
    drawn = PIL.Image.fromarray(draw_overlay(pixels, small))
    draw = ImageDraw.Draw(drawn)
    for label, (left, top, right, bottom) in _boxes(sample, image, masks, labels):
        corners = (left * scale, top * scale, max(left, right - 1) * scale, max(top, bottom - 1) * scale)
        draw.rectangle(corners, outline=label_colour(labels.index(label)), width=1)
    tile = PIL.Image.new("RGB", (_THUMBNAIL, _THUMBNAIL + _CAPTION), _GROUND)
    tile.paste(drawn, (0, 0))
    name = sample.image.name + (f" [{sample.frame}]" if sample.frame else "")
    font = ImageFont.load_default(10)
    for line, text in enumerate((name, f"{sample.split}  {sample.case}")):
        ImageDraw.Draw(tile).text((2, _THUMBNAIL + 1 + 13 * line), text[:44], fill=_TEXT, font=font)
    return tile


def _shrunk(image: Image, masks: Masks) -> tuple[np.ndarray, Masks, float]:
    """Image and masks with a long side of a thumbnail, and the scale."""
    scale = _THUMBNAIL / max(image.size)
    height, width = (max(1, round(side * scale)) for side in image.size)
    planes = [PIL.Image.fromarray(plane).resize((width, height), PIL.Image.Resampling.BOX) for plane in _planes(image)]
    nearest = [PIL.Image.fromarray(mask).resize((width, height), PIL.Image.Resampling.NEAREST) for mask in masks]
    small = np.stack([np.asarray(mask) for mask in nearest]) if nearest else np.zeros((0, height, width), dtype=bool)
    return np.stack([np.asarray(plane) for plane in planes], axis=-1), small, scale


def _planes(image: Image) -> list[np.ndarray]:
    return [np.ascontiguousarray(plane) for plane in np.moveaxis(image.pixels, -1, 0)]


def _boxes(
    sample: Sample, image: Image, masks: Masks, labels: Sequence[str]
) -> list[tuple[str, tuple[float, float, float, float]]]:
    """(label, (left, top, right, bottom)) upright: the data set's boxes, or else those of the masks' parts."""
    if sample.boxes:
        return [(box.label, _extent(sample.draw(box, image))) for box in sample.boxes if box.label in labels]
    boxes = []
    for label, mask in zip(labels, masks, strict=True):
        parts, _ = ndimage.label(mask)
        for rows, columns in ndimage.find_objects(parts):
            boxes.append((label, (columns.start, rows.start, columns.stop, rows.stop)))
    return boxes


def _extent(mask: Mask) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _write_legend(draw: ImageDraw.ImageDraw, labels: Sequence[str]) -> None:
    font, left = ImageFont.load_default(12), 6.0
    for index, label in enumerate(labels):
        draw.rectangle((left, 7, left + 10, 17), fill=label_colour(index))
        draw.text((left + 15, 4), label, fill=_TEXT, font=font)
        left += 27 + draw.textlength(label, font=font)
