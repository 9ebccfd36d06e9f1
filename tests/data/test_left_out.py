"""Every reader of a layout counts the images that it does not take."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from medseg.data.catalogue import LAYOUTS
from medseg.data.samples import load_data
from medseg.errors import InputError, MedsegWarning
from tests import data_sets
from tests.data import test_spoiled
from tests.data.test_spoiled import GOOD
from tests.data_sets import SMALL, save, scene

WHITE = SMALL * np.uint8(255)


def pairs(root: Path, *places: str) -> None:
    """An image and its mask at each two of the places."""
    for number, place in enumerate(places):
        save(root / place, WHITE if number % 2 else scene(number))


def annotated(root: Path, write: Callable[..., None]) -> None:
    for stem in "ab":
        save(root / f"{stem}.png", scene(ord(stem)))
    write(root, {"a": GOOD, "b": GOOD})


def montgomery(root: Path) -> None:
    pairs(root, "CXR_png/M_1.png", "ManualMask/leftMask/M_1.png", "CXR_png/M_1.png", "ManualMask/rightMask/M_1.png")


def drive(root: Path, *parts: str) -> None:
    for number, part in enumerate(parts):
        pairs(root, f"{part}/images/{number}_{part}.png", f"{part}/1st_manual/{number}_manual1.png")


def manifest(root: Path) -> None:
    pairs(root, "x/a.png", "y/a.png", "x/b.png", "y/b.png")
    entries = [{"image": f"x/{stem}.png", "mask": f"y/{stem}.png"} for stem in "ab"]
    (root / "m.json").write_text(json.dumps({"labels": ["x"], "samples": entries}))


def medsegbench(root: Path) -> None:
    """An archive of one image, and an array that belongs to no split."""
    arrays = {"train_images": scene()[None], "train_label": SMALL[None].astype(np.uint8), "extra_images": scene()[None]}
    root.mkdir(exist_ok=True)
    np.savez(root / "d_256.npz", **arrays)


MAKERS: dict[str, Callable[[Path], None]] = {
    "pairs": lambda root: pairs(root, "images/a.png", "masks/a.png"),
    "class-folders": data_sets.class_folders,
    "kvasir": data_sets.kvasir,
    "lgg": data_sets.lgg,
    "busi": lambda root: pairs(
        root, "benign/b1.png", "benign/b1_mask.png", "malignant/m1.png", "malignant/m1_mask.png"
    ),
    "isic": lambda root: pairs(root, "ISIC2018_Test_Input/I_1.jpg", "ISIC2018_Test_GroundTruth/I_1_segmentation.png"),
    "drive": lambda root: drive(root, "test", "training"),
    "montgomery": montgomery,
    "shenzhen": lambda root: pairs(root, "CXR_png/CHNCXR_0001_0.png", "mask/CHNCXR_0001_0_mask.png"),
    "decathlon": data_sets.decathlon,
    "voc": lambda root: pairs(root, "JPEGImages/a.jpg", "SegmentationClass/a.png"),
    "chestx-det": data_sets.chestx_det,
    "siim-acr": data_sets.siim,
    "coco": partial(annotated, write=test_spoiled.coco),
    "labelme": partial(annotated, write=test_spoiled.labelme),
    "cvat": partial(annotated, write=test_spoiled.cvat),
    "label-studio": partial(annotated, write=test_spoiled.label_studio),
    "via": partial(annotated, write=test_spoiled.via),
    "yolo": partial(annotated, write=test_spoiled.yolo),
    "medsegbench": medsegbench,
    "manifest": manifest,
}
"""A generated set for each layout."""


@pytest.mark.parametrize("layout", sorted({*LAYOUTS} - {"medsegbench", "busi"}))  # BUSI's reader refuses them
def test_images_in_a_folder_that_the_layout_does_not_use_are_counted(tmp_path: Path, layout: str) -> None:
    MAKERS[layout](tmp_path)
    before = load_data(tmp_path, quiet=True)
    for number in (1, 2):
        save(tmp_path / "spare" / f"extra{number}.png", scene(number))
    after = load_data(tmp_path, quiet=True)
    assert (after.layout, len(after.samples)) == (layout, len(before.samples))
    said = [entry for entry in after.left_out if entry not in before.left_out]
    assert [entry.count for entry in said] == [2]
    assert "extra1" in str(said[0])


def test_images_that_no_row_of_a_manifest_and_no_pattern_names_are_counted(tmp_path: Path) -> None:
    manifest(tmp_path)
    save(tmp_path / "x" / "c.png", scene())
    (entry,) = load_data(tmp_path, quiet=True).left_out
    assert str(entry) == "Left out: images that m.json does not name (1), the first: c.png."
    (entry,) = load_data(tmp_path, images="x/a*.png", masks="y/a*.png", quiet=True).left_out
    assert str(entry) == "Left out: images that the patterns do not name (3), the first: x/b.png, x/c.png, y/b.png."


def test_arrays_of_an_archive_that_belong_to_no_split_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))
    medsegbench(tmp_path / "d")
    assert "(1), the first: extra_images" in str(load_data(tmp_path / "d", quiet=True).left_out[0])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_pipes_beside_the_images_are_not_waited_for_and_long_cells_are_read(tmp_path: Path) -> None:
    pairs(tmp_path, *(f"{kind}/{stem}.png" for stem in "abc" for kind in ("images", "masks")))
    for name in ("a.csv", "b.txt", "c.json", "d.xml", "e.yaml", "f.npz", "images/g.png"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "p.csv").write_text("image,patient,runs\n" + "".join(f"{stem},P,{'1 ' * 99999}\n" for stem in "abc"))
    (tmp_path / "images" / "h.png").symlink_to("nothing")
    with pytest.warns(MedsegWarning, match=r"links to nothing, pipes and devices \(8\)"):
        assert {sample.case for sample in load_data(tmp_path).samples} == {"P"}


def test_json_without_end_of_nesting_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 100_000)
    for place in (tmp_path, tmp_path / "a.json"):
        with pytest.raises(InputError, match="nested too deeply"):
            load_data(place)
