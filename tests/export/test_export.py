"""Results as files: lossless, and on the pixel grid of the file that was read."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medseg.export.npz import write_probabilities
from medseg.export.png import write_mask
from medseg.image import Image, to_upright
from medseg.inference.record import NOTICE, areas, masks_sha256, versions, write_report
from medseg.overlay import PALETTE
from medseg.reading.readers import read_image, read_masks
from medseg.report.csv import plain_cell

MASK = np.zeros((1, 20, 30), bool)
MASK[0, 2:9, 3:25] = True
PLAIN = Image(np.zeros((20, 30, 3), np.float32))


def test_one_label_is_written_as_0_and_255(tmp_path: Path) -> None:
    write_mask(MASK, PLAIN, tmp_path / "mask.png")
    with PIL.Image.open(tmp_path / "mask.png") as image:
        assert (image.format, image.mode) == ("PNG", "L")
        assert image.info["Description"] == NOTICE
        assert np.array_equal(np.asarray(image), MASK[0] * np.uint8(255))


def test_several_labels_are_written_as_a_label_map_with_the_overlays_colours(tmp_path: Path) -> None:
    masks = np.zeros((3, 4, 4), bool)
    masks[0, 0], masks[1, 1], masks[2, 1:3] = True, True, True  # the third covers the second
    write_mask(masks, Image(np.zeros((4, 4, 1), np.float32)), tmp_path / "map.png")
    with PIL.Image.open(tmp_path / "map.png") as image:
        assert np.asarray(image).tolist() == [[1] * 4, [3] * 4, [3] * 4, [0] * 4]
        colours = np.asarray(image.convert("RGB"))
    assert colours[3, 0].tolist() == [0, 0, 0]
    assert colours[0, 0].tolist() == list(PALETTE[0])
    assert colours[1, 0].tolist() == list(PALETTE[2])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("labels", [("a",), ("a", "b")])
def test_a_mask_lies_on_the_stored_grid_of_a_turned_image(
    tmp_path: Path, orientation: int, labels: tuple[str, ...]
) -> None:
    stored = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    PIL.Image.fromarray(stored).save(tmp_path / "turned.png", exif=exif)
    image = read_image(tmp_path / "turned.png")
    on_stored_grid = np.stack([stored[..., 0] > 128, stored[..., 0] < 64])[: len(labels)]
    write_mask(to_upright(on_stored_grid, orientation), image, tmp_path / "mask.png")
    with PIL.Image.open(tmp_path / "mask.png") as saved:
        assert saved.size == (30, 20)
        assert np.array_equal(np.asarray(saved) > 0, on_stored_grid.any(axis=0))
    again = read_masks(tmp_path / "mask.png", labels, like=image)
    assert np.array_equal(again, to_upright(on_stored_grid, orientation))


def test_probabilities_are_kept_in_half_precision_with_their_labels(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((2, 30, 20), dtype=np.float32)
    turned = Image(np.zeros((30, 20, 1), np.float32), orientation=6)
    write_probabilities(values, ("a", "b"), turned, tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz", allow_pickle=False) as file:
        assert file["labels"].tolist() == ["a", "b"]
        assert str(file["notice"]) == NOTICE
        assert file["probabilities"].shape == (2, 20, 30)
        np.testing.assert_allclose(to_upright(file["probabilities"], 6), values, atol=5e-4)


def test_areas_in_pixels_and_square_millimetres() -> None:
    spaced = Image(PLAIN.pixels, (0.5, 0.25))
    assert areas(MASK, ("a",), PLAIN) == {"a": {"px": 154}}
    assert areas(MASK, ("a",), spaced) == {"a": {"px": 154, "mm2": 19.25}}


def test_the_hash_of_masks_depends_on_content_and_shape() -> None:
    changed = MASK.copy()
    changed[0, 19, 29] = True
    assert len({masks_sha256(m) for m in (MASK, MASK.copy(), changed, MASK.reshape(1, 30, 20))}) == 3


def test_versions_name_the_library_itself() -> None:
    assert {"medseg", "torch", "numpy", "pillow"} <= versions().keys()
    assert all(versions().values())


def test_the_report_begins_with_the_notice(tmp_path: Path) -> None:
    write_report({"label": "Größe"}, tmp_path / "report.json")
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert list(written.items()) == [("notice", NOTICE), ("label", "Größe")]
    assert NOTICE == "Research use only, not for diagnosis."


def test_a_report_that_is_no_standard_json_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_report({"hd95": float("inf")}, tmp_path / "report.json")
    assert not (tmp_path / "report.json").exists()


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_text_that_a_spreadsheet_would_compute_gets_an_apostrophe(text: str) -> None:
    assert plain_cell(text) == "'" + text


@pytest.mark.parametrize("value", [-1.5, 0, "", "a=b.png", "1-2.png"])
def test_numbers_and_other_texts_are_cells_as_they_are(value: object) -> None:
    assert plain_cell(value) is value
