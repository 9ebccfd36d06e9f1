"""Samples of every kind survive the manifest. Manifests written by hand are in test_samples.py."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from medseg.data.manifest import Sample, read_manifest, write_manifest
from medseg.data.samples import load_data
from medseg.errors import InputError
from tests.data_sets import chestx_det, class_folders, decathlon, kvasir, lgg, siim


@pytest.mark.parametrize("make", [class_folders, kvasir, lgg, chestx_det, siim, decathlon])
def test_every_layout_comes_back_from_a_manifest(tmp_path: Path, make) -> None:
    make(tmp_path / "data")
    found = load_data(tmp_path / "data", quiet=True)
    write_manifest(found.samples, found.labels, tmp_path / "data.json")
    again = load_data(tmp_path / "data.json")
    assert (again.samples, again.labels) == (found.samples, found.labels)


def test_a_manifest_moves_with_its_folder(tmp_path: Path) -> None:
    class_folders(tmp_path / "a" / "data")
    found = load_data(tmp_path / "a" / "data", quiet=True)
    write_manifest(found.samples, found.labels, tmp_path / "a" / "data.json")
    shutil.move(tmp_path / "a", tmp_path / "b")
    moved = read_manifest(tmp_path / "b" / "data.json").samples[0]
    assert moved.image == tmp_path / "b" / "data" / "images" / "a.jpg"
    assert moved.read(["Lung"])[1].any()


def test_an_image_on_which_nothing_is_marked_has_no_parts(disc_pairs: Path) -> None:
    image = next((disc_pairs / "images").iterdir())
    _, masks = Sample(image, (), "a", "train").read(["x", "y"])
    np.testing.assert_array_equal(masks, np.zeros((2, 48, 64), dtype=bool))


@pytest.mark.parametrize(
    "entry",
    [
        '{"image": "a", "mask": [{"label": "x"}]}',
        '{"image": "a", "mask": ["b"]}',
        '{"image": "a", "mask": "m", "frame": "first"}',
        '{"image": "a", "mask": "m", "boxes": [{"label": "x", "rle": "1 2"}]}',
    ],
)
def test_entries_of_another_form_are_refused(tmp_path: Path, entry: str) -> None:
    (tmp_path / "data.json").write_text(f'{{"samples": [{entry}]}}', encoding="utf-8")
    with pytest.raises(InputError, match=r"data\.json is no annotation file"):
        read_manifest(tmp_path / "data.json")
