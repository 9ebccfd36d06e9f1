"""A Secondary Capture (PS3.3 A.8.1): the image with outlines and areas burnt in, for archives that show no SEG."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pydicom
from PIL import ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage
from pydicom.valuerep import DSfloat

from medseg.export import derived
from medseg.export.derived import code
from medseg.image import to_stored
from medseg.inference.prediction import Prediction
from medseg.inference.record import areas, notice
from medseg.overlay import Colour, Rgb, draw_overlay, label_colour
from medseg.report.words import threshold_words

_LEAST_SIDE = 512
"""Smaller images are drawn larger, each pixel as a square, or the text below would be wider than they are."""

_OF_SERIES = ("SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "SeriesDate", "SeriesTime")

_PAPER: Colour = (16, 16, 16)
_INK: Colour = (230, 230, 230)


def write_secondary_capture(
    prediction: Prediction, source: derived.Source, path: Path, *, after: Path | None = None
) -> None:
    """Write the frame as RGB with each mask's outline, and below it the notice, the ensemble and each label's area.

    It names the frame of the DICOM file `source` as its source image, and continues the series of the capture `after`,
    where there is one. Raises as `write_dicom_seg` does.
    """
    with derived.refusing(path, "secondary capture"):
        frames = derived.read_frames([prediction], source)
        header = frames[0][1]
        unit = "mm2 at the detector" if "ImagerPixelSpacing" in header else "mm2"
        pixels, factor = draw_capture(prediction, unit)
        about = derived.series_description(frames, "capture")
        capture = derived.begin(header, SecondaryCaptureImageStorage, header.get("Modality") or "OT", about)
        if after:
            _continue(pydicom.dcmread(after, stop_before_pixels=True), capture)
        capture.ImageType, capture.ConversionType = ["DERIVED", "SECONDARY"], "WSD"
        said = f"{notice(prediction.image)} {prediction.describe()}"
        capture.DerivationDescription = derived.fitted(said, derived.ST)
        capture.DerivationCodeSequence = [code("113076", "DCM", "Segmentation")]
        capture.SourceImageSequence = [derived.source_image(header)]
        derived.refer(capture, [header])
        capture.PatientOrientation = header.get("PatientOrientation")
        capture.Laterality = header.get("Laterality") if header.get("Laterality") in ("L", "R") else None
        if header.get("BurnedInAnnotation") in ("YES", "NO"):
            capture.BurnedInAnnotation = header.BurnedInAnnotation
        if "PixelSpacing" in header and "ImagerPixelSpacing" not in header:
            capture.PixelSpacing = [DSfloat(float(value) / factor, auto_format=True) for value in header.PixelSpacing]
        _add_pixels(capture, pixels)
        derived.save(capture, path)


def _continue(before: Dataset, capture: Dataset) -> None:
    for keyword in _OF_SERIES:
        setattr(capture, keyword, before[keyword].value)
    capture.InstanceNumber = before.InstanceNumber + 1


def draw_capture(prediction: Prediction, unit: str = "mm2") -> tuple[Rgb, int]:
    """The drawing (H, W, 3), and how many of its pixels a pixel of the image is wide."""
    factor = max(1, -(-_LEAST_SIDE // max(prediction.image.size)))
    enlarged = (
        np.repeat(np.repeat(line, factor, axis=0), factor, axis=1)
        for line in (
            to_stored(np.moveaxis(prediction.image.pixels, -1, 0), prediction.image.orientation).transpose(1, 2, 0),
            to_stored(prediction.masks, prediction.image.orientation).transpose(1, 2, 0),
        )
    )
    pixels, masks = enlarged
    drawn = draw_overlay(pixels, np.ascontiguousarray(masks.transpose(2, 0, 1)), opacity=0)
    return np.concatenate([drawn, _panel(prediction, drawn.shape[1], unit)]), factor


def _panel(prediction: Prediction, width: int, unit: str) -> Rgb:
    size = max(14, width // 40)
    font = ImageFont.load_default(size)
    lines = [
        (colour, part) for colour, text in _lines(prediction, unit) for part in _wrapped(text, font, width - 2 * size)
    ]
    panel = PIL.Image.new("RGB", (width, (len(lines) + 1) * size * 3 // 2), _PAPER)
    draw = ImageDraw.Draw(panel)
    for number, (colour, text) in enumerate(lines):
        draw.text((size, size * 3 // 4 + number * size * 3 // 2), text, fill=colour, font=font)
    return np.asarray(panel)


def _lines(prediction: Prediction, unit: str) -> Iterator[tuple[Colour, str]]:
    yield _INK, notice(prediction.image)
    yield (
        _INK,
        f"medseg {prediction.ensemble.name}, {time.strftime('%Y-%m-%d %H:%M')}, threshold "
        f"{threshold_words(prediction.threshold)}",
    )
    for index, (label, area) in enumerate(areas(prediction.masks, prediction.labels, prediction.image).items()):
        size = f"{area['px']:,.0f} px" + (f", {area['mm2']:,.1f} {unit}" if "mm2" in area else "")
        yield label_colour(index), f"{label}: {size if area['px'] else 'nothing found'}"


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> Iterator[str]:
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > width:
            yield line
            longer = word
        line = longer
    yield line


def _add_pixels(capture: Dataset, pixels: Rgb) -> None:
    capture.SamplesPerPixel, capture.PhotometricInterpretation, capture.PlanarConfiguration = 3, "RGB", 0
    capture.BitsAllocated = capture.BitsStored = 8
    capture.HighBit, capture.PixelRepresentation = 7, 0
    capture.Rows, capture.Columns = pixels.shape[:2]
    content = pixels.tobytes()
    capture.PixelData = content + b"\0" * (len(content) % 2)
