"""Run lengths and COCO instances of one image: read back by the readers of whole data sets."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medseg.data.layouts.siim import read_siim_table
from medseg.data.rle import decode_rle
from medseg.data.samples import load_data
from medseg.export.tables import write_instances, write_rle
from medseg.image import Image, to_stored
from medseg.inference.record import NOTICE
from medseg.reading.readers import read_image
from tests.export.test_export_nifti import LABELS, predict


@pytest.fixture(params=[1, 8])
def image(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A PNG of 20 × 30 pixels, also one that is stored turned."""
    exif = PIL.Image.Exif()
    exif[0x0112] = request.param
    pixels = np.random.default_rng(0).integers(0, 2, (20, 30), dtype=np.uint8) * 255
    PIL.Image.fromarray(pixels).save(tmp_path / "image.png", exif=exif)
    return tmp_path / "image.png"


def test_the_csv_is_one_that_siim_acrs_reader_reads(tmp_path: Path, image: Path) -> None:
    prediction = predict(read_image(image))
    write_rle(prediction, "image", tmp_path / "rle.csv")
    ((name, (runs,)),) = read_siim_table(tmp_path / "rle.csv").items()
    assert name == "image"
    stored = to_stored(prediction.masks[0], prediction.image.orientation)
    assert np.array_equal(decode_rle(runs.text, (20, 30)), stored)


def test_the_csv_has_a_row_for_each_label_also_for_those_not_found(tmp_path: Path) -> None:
    write_rle(predict(Image(np.zeros((20, 30, 1), np.float32)), LABELS), "dark", tmp_path / "rle.csv")
    with (tmp_path / "rle.csv").open(newline="") as stream:
        bright, left = csv.DictReader(stream)
    assert bright == {
        **{"ImageId": "dark", "EncodedPixels": "-1", "Label": "bright", "Height": "20", "Width": "30"},
        "Notice": NOTICE,
    }
    assert (left["Label"], left["EncodedPixels"]) == ("left", "0 200")  # the ten columns on the left, one run


def test_the_instances_read_back_to_the_same_masks(tmp_path: Path, image: Path) -> None:
    prediction = predict(read_image(image), LABELS)
    write_instances(prediction, image.name, tmp_path / "coco.json")
    (sample,) = load_data(tmp_path / "coco.json").samples
    assert np.array_equal(sample.read(LABELS)[1], prediction.masks)


def test_a_label_that_is_not_found_is_a_category_without_an_annotation(tmp_path: Path) -> None:
    write_instances(predict(Image(np.zeros((20, 30, 1), np.float32)), LABELS), "dark.png", tmp_path / "coco.json")
    content = json.loads((tmp_path / "coco.json").read_text())
    assert [category["name"] for category in content["categories"]] == list(LABELS)
    (annotation,) = content["annotations"]
    assert (annotation["category_id"], annotation["bbox"], annotation["area"]) == (2, [0, 0, 10, 20], 200)
    assert content["info"]["description"] == NOTICE
    assert "one: weighted mean of m × 1" in content["info"]["contributor"]
