"""Layouts that people have: a tiny generated copy of each gives the right pairs, masks, splits and labels."""

from __future__ import annotations

import base64
import io
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from medseg.data.samples import load_data
from medseg.errors import InputError, MedsegWarning
from tests.data_sets import SIZE, SMALL, TALL, save, scene, write_json

WHITE = SMALL * np.uint8(255)
HEIGHT, WIDTH = SIZE


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))


def images(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        save(root / name, scene(number))


def masks(root: Path, *names: str) -> None:
    for name in names:
        save(root / name, WHITE)


# --- pairs, in all spellings

PAIRS: dict[str, tuple[list[str], list[str], list[str]]] = {
    "numbers after the role": (
        ["train_images/image1.png", "train_images/image2.png", "train_images/image10.png"],
        ["train_masks/mask1.png", "train_masks/mask2.png", "train_masks/mask10.png"],
        ["", "", ""],
    ),
    "parts with train and mask": (
        ["train_data/train/a.png", "train_data/train/b.png", "test_data/test/a.png"],
        ["train_data/mask/a.png", "train_data/mask/b.png", "test_data/mask/a.png"],
        ["", "", "test"],
    ),
    "imgs and labels": (["imgs/a.jpg", "imgs/b.jpg"], ["labels/a.png", "labels/b.png"], ["", ""]),
    "image and ground truth": (["image/a.bmp", "image/b.bmp"], ["ground_truth/a.bmp", "ground_truth/b.bmp"], ["", ""]),
    "suffix in one folder": (["a.jpg", "b.jpg"], ["a_mask.png", "b_mask.png"], ["", ""]),
    "several words": (["a.png", "b.png", "c.png"], ["a_segmentation.png", "b_seg.png", "c-label.png"], [""] * 3),
    "suffix and folders": (["images/a.jpg", "images/b.jpg"], ["masks/a_gt.png", "masks/b_gt.png"], ["", ""]),
    "prefix": (["images/a.jpg", "images/b.jpg"], ["masks/mask_a.png", "masks/mask_b.png"], ["", ""]),
    "splits above": (
        [f"{part}/images/{part}1.png" for part in ("train", "valid", "test")],
        [f"{part}/masks/{part}1.png" for part in ("train", "valid", "test")],
        ["train", "val", "test"],
    ),
    "splits with a year or glued": (
        ["images/train2017/1.png", "images/valset/1.png", "images/Testdaten/1.png", "images/trn2/1.png"],
        ["masks/train2017/1.png", "masks/valset/1.png", "masks/Testdaten/1.png", "masks/trn2/1.png"],
        ["train", "val", "test", "train"],
    ),
    "parts with a number": (
        ["img_part_1/a.png", "img_part_2/b.png", "img_part_2/c.png"],
        ["masks/a.png", "masks/b.png", "masks/c.png"],
        ["", "", ""],
    ),
    "one ü in two spellings": (["images/u\u03081.png", "images/b.png"], ["masks/\u00fc1.png", "masks/b.png"], ["", ""]),
    "splits below, same names": (
        [f"images/{part}/1.png" for part in ("train", "val", "test")],
        [f"masks/{part}/1.png" for part in ("train", "val", "test")],
        ["train", "val", "test"],
    ),
    "splits in the names": (
        [f"{part}_images/{part}.png" for part in ("train", "val", "test")],
        [f"{part}_masks/{part}.png" for part in ("train", "val", "test")],
        ["train", "val", "test"],
    ),
    "patients": (["p1/images/1.png", "p2/images/1.png"], ["p1/masks/1.png", "p2/masks/1.png"], ["", ""]),
    "one folder around all": (
        ["Set/images/a.png", "Set/images/b.png"],
        ["Set/masks/a.png", "Set/masks/b.png"],
        ["", ""],
    ),
    "capitals": (["images/case1.png", "images/case2.png"], ["masks/CASE1.png", "masks/Case2.png"], ["", ""]),
    "leading zeros": (["images/001.png", "images/010.png"], ["masks/1.png", "masks/10.png"], ["", ""]),
    "words and zeros": (
        ["images/img_001.png", "images/img_2.png"],
        ["masks/mask_1.png", "masks/mask_02.png"],
        ["", ""],
    ),
    "a folder for each patient": (["p1/image.png", "p2/image.png"], ["p1/mask.png", "p2/mask.png"], ["", ""]),
    "numbers in one folder": (["image1.png", "image2.png"], ["mask1.png", "mask2.png"], ["", ""]),
    "other name for images": (["scans/a.png", "scans/b.png"], ["masks/a.png", "masks/b.png"], ["", ""]),
}


@pytest.mark.parametrize("layout", PAIRS)
def test_pairs_are_found_in_all_spellings(tmp_path: Path, layout: str) -> None:
    shown, marked, splits = PAIRS[layout]
    root = tmp_path / "data"
    images(root, *shown)
    masks(root, *marked)
    loaded = load_data(root, divide=False)
    pairs = {
        s.image.relative_to(root).as_posix(): (s.mask.relative_to(root).as_posix(), s.split) for s in loaded.samples
    }
    assert pairs == {image: (mask, split) for image, mask, split in zip(shown, marked, splits, strict=True)}
    assert loaded.layout == "pairs"
    assert len({sample.case for sample in loaded.samples}) == len(shown)


def test_patients_folders_are_cases(tmp_path: Path) -> None:
    images(tmp_path / "d", "p1/images/1.png", "p1/images/2.png", "p2/images/1.png")
    masks(tmp_path / "d", "p1/masks/1.png", "p1/masks/2.png", "p2/masks/1.png")
    assert [sample.case for sample in load_data(tmp_path / "d").samples] == ["p1", "p1", "p2"]


def test_folders_of_kinds_are_no_patients(tmp_path: Path) -> None:
    images(tmp_path / "d", "benign/1.png", "benign/2.png", "malignant/1.png", "other.png")
    masks(tmp_path / "d", "benign/1_mask.png", "benign/2_mask.png", "malignant/1_mask.png", "other_mask.png")
    assert len({sample.case for sample in load_data(tmp_path / "d", layout="pairs").samples}) == 4


def test_several_masks_of_one_image_are_united(tmp_path: Path) -> None:
    images(tmp_path / "d", "n1/images/x.png", "n2/images/y.png")
    masks(tmp_path / "d", "n1/masks/1f.png", "n2/masks/3c.png")
    save(tmp_path / "d" / "n1" / "masks" / "2e.png", TALL * np.uint8(255))
    first, second = load_data(tmp_path / "d", labels=["nucleus"]).samples
    np.testing.assert_array_equal(first.read(["nucleus"])[1], [SMALL | TALL])
    np.testing.assert_array_equal(second.read(["nucleus"])[1], [SMALL])


@pytest.mark.parametrize(
    ("shown", "marked", "words"),
    [
        (["images/a.png", "imgs/a.png"], ["masks/a.png"], r"images/ and imgs/ both look like the images"),
        (["images/a.png"], ["masks/a.png", "labels/a.png"], r"labels/ and masks/ both look like the masks"),
        (
            ["images/a.png"],
            ["masks/a_mask.png", "masks/a_seg.png"],
            "a_mask.png and a_seg.png, which would belong to one",
        ),
        (["images/001.png", "images/1.png"], ["masks/1.png"], "001.png and 1.png, which would belong to one image"),
        (["images/a.png", "b.png"], ["masks/a.png", "b_mask.png"], "pairs beside them, as b.png with b_mask.png"),
    ],
)
def test_folders_that_can_be_read_two_ways_are_refused(
    tmp_path: Path, shown: list[str], marked: list[str], words: str
) -> None:
    images(tmp_path, *shown)
    masks(tmp_path, *marked)
    with pytest.raises(InputError, match=words):
        load_data(tmp_path)


def test_two_layouts_in_one_folder_are_refused_with_both_named_and_either_can_be_chosen(tmp_path: Path) -> None:
    images(tmp_path, "images/a.png")
    masks(tmp_path, "masks/a.png")
    content = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [], "categories": [{"id": 1, "name": "x"}]}
    write_json(tmp_path / "instances.json", content)
    with pytest.raises(InputError, match=r"can be read as pairs and as coco: .* --layout"):
        load_data(tmp_path)
    assert load_data(tmp_path, layout="coco", quiet=True).labels == ("x",)
    assert load_data(tmp_path, layout="pairs").labels == ()


def test_patterns_are_the_way_out(tmp_path: Path) -> None:
    images(tmp_path, "x/p1/t1.png", "x/p2/t1.png")
    masks(tmp_path, "y/p1/lesion.png", "y/p2/lesion.png")
    loaded = load_data(tmp_path, images="x/*/t1.png", masks="y/*/lesion.png")
    assert [(s.image.parent.name, s.mask.parent.name) for s in loaded.samples] == [("p1", "p1"), ("p2", "p2")]
    assert loaded.layout == "patterns"
    with pytest.raises(InputError, match=r"The pattern 'z/\*' names no file for masks"):
        load_data(tmp_path, images="x/*/t1.png", masks="z/*")
    with pytest.raises(InputError, match="name both"):
        load_data(tmp_path, images="x/*/t1.png")


def test_patterns_tell_masks_beside_their_images_and_several_of_one(tmp_path: Path) -> None:
    images(tmp_path, "a.png", "b.png")
    masks(tmp_path, "a=1=m.png", "a=2=m.png", "b=1=m.png")
    loaded = load_data(tmp_path, images="*.png", masks="*=*=m.png")
    assert [len(sample.parts) for sample in loaded.samples] == [2, 1]


def test_what_is_no_part_of_the_layout_is_counted(tmp_path: Path) -> None:
    images(tmp_path, "images/a.png", "images/b.png", "overlays/a.png", "test_images/z.png")
    masks(tmp_path, "masks/a.png", "masks/b.png")
    (tmp_path / "images" / "c.heic").write_bytes(b"x")
    with pytest.warns(MedsegWarning) as said:
        loaded = load_data(tmp_path)
    assert len(loaded.samples) == 2
    sentences = " ".join(str(warning.message) for warning in said)
    assert "files whose format medseg does not read (1), the first: images/c.heic" in sentences
    assert "images in folders without masks, or called neither images nor masks (2)" in sentences
    assert [entry.count for entry in loaded.left_out] == [1, 2]


def test_the_values_of_masks_without_names_can_be_named(tmp_path: Path) -> None:
    images(tmp_path, "images/a.png")
    levels = np.full(SIZE, 255, np.uint8)
    levels[2:8, 2:8], levels[3:5, 3:5] = 128, 0
    save(tmp_path / "masks" / "a.png", levels)
    loaded = load_data(tmp_path, labels={"disc": ["0", "128"], "cup": ["0"]})
    assert loaded.samples[0].read(["disc", "cup"])[1].sum(axis=(1, 2)).tolist() == [36, 4]
    everything = load_data(tmp_path, labels={"any": ["*"]})
    assert everything.samples[0].read(["any"])[1].sum() == HEIGHT * WIDTH - 4


# --- stacks


def stack(path: Path, pages: list[np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *others = [PIL.Image.fromarray(page) for page in pages]
    first.save(path, save_all=True, append_images=others)


def test_every_page_of_a_tiff_stack_is_a_sample_of_one_case(tmp_path: Path) -> None:
    stack(tmp_path / "images" / "s.tif", [scene(n)[..., 0] for n in range(3)])
    stack(tmp_path / "masks" / "s.tif", [np.zeros(SIZE, np.uint8), WHITE, TALL * np.uint8(255)])
    samples = load_data(tmp_path).samples
    assert [(s.case, s.frame) for s in samples] == [("s", 0), ("s", 1), ("s", 2)]
    assert [int(s.read(["a"])[1].sum()) for s in samples] == [0, SMALL.sum(), TALL.sum()]


def test_a_stack_with_one_mask_is_left_out_and_counted(tmp_path: Path) -> None:
    stack(tmp_path / "images" / "s.tif", [scene(n)[..., 0] for n in range(3)])
    images(tmp_path, "images/a.png")
    masks(tmp_path, "masks/a.png", "masks/s.tif")
    with pytest.warns(
        MedsegWarning, match=r"images of several frames whose masks have one \(1\), the first: s.tif of 3"
    ):
        assert len(load_data(tmp_path).samples) == 1


# --- public sets of files


def test_busi_unites_the_lesions_of_an_image(tmp_path: Path) -> None:
    root = tmp_path / "Dataset_BUSI_with_GT"
    images(root, "benign/benign (1).png", "malignant/malignant (1).png", "normal/normal (1).png")
    masks(root, "benign/benign (1)_mask.png", "malignant/malignant (1)_mask.png")
    save(root / "benign" / "benign (1)_mask_1.png", TALL * np.uint8(255))
    save(root / "normal" / "normal (1)_mask.png", np.zeros(SIZE, np.uint8))
    loaded = load_data(tmp_path)
    assert (loaded.layout, loaded.labels, loaded.source.licence) == ("busi", ("lesion",), "unknown")
    assert [int(s.read(["lesion"])[1].sum()) for s in loaded.samples] == [(SMALL | TALL).sum(), SMALL.sum(), 0]


def test_isic_has_its_parts_as_splits(tmp_path: Path) -> None:
    for part, stem in (("Training", "ISIC_0000001"), ("Validation", "ISIC_0000002"), ("Test", "ISIC_0000003")):
        images(tmp_path, f"ISIC2018_Task1-2_{part}_Input/{stem}.jpg")
        masks(tmp_path, f"ISIC2018_Task1_{part}_GroundTruth/{stem}_segmentation.png")
    (tmp_path / "ISIC2018_Task1-2_Training_Input" / "ATTRIBUTION.txt").write_text("x")
    loaded = load_data(tmp_path)
    assert (loaded.layout, [s.split for s in loaded.samples]) == ("isic", ["test", "train", "val"])
    assert loaded.source.name == "ISIC 2018"
    assert all((s.read(["lesion"])[1][0] == SMALL).all() for s in loaded.samples)


def test_isic_2017_leaves_superpixels_and_images_without_masks_out(tmp_path: Path) -> None:
    images(tmp_path, "ISIC-2017_Training_Data/ISIC_1.jpg", "ISIC-2017_Training_Data/ISIC_2.jpg")
    images(tmp_path, "ISIC-2017_Training_Data/ISIC_1_superpixels.png")
    masks(tmp_path, "ISIC-2017_Training_Part1_GroundTruth/ISIC_1_segmentation.png")
    loaded = load_data(tmp_path, quiet=True)
    assert [s.case for s in loaded.samples] == ["ISIC_1"]
    unmasked, others = map(str, loaded.left_out)
    assert unmasked == "Left out: images without a mask (1), the first: ISIC_2.jpg."
    assert others.endswith("no masks of lesions (1), the first: ISIC_1_superpixels.png.")


def test_drive_reads_the_first_readers_vessels(tmp_path: Path) -> None:
    for part, number, word in (("training", "21", "training"), ("test", "01", "test")):
        images(tmp_path, f"{part}/images/{number}_{word}.tif")
        masks(tmp_path, f"{part}/1st_manual/{number}_manual1.png")
        save(tmp_path / part / "mask" / f"{number}_{word}_mask.png", np.full(SIZE, 255, np.uint8))
    with pytest.warns(MedsegWarning, match=r"folders that the layout has no use for \(2\), the first: test/mask/"):
        loaded = load_data(tmp_path, divide=False)
    assert (loaded.layout, [(s.case, s.split) for s in loaded.samples]) == ("drive", [("21", ""), ("01", "test")])
    np.testing.assert_array_equal(loaded.samples[0].read(["vessel"])[1], [SMALL])


def test_montgomery_has_two_lungs_that_can_be_united(tmp_path: Path) -> None:
    root = tmp_path / "MontgomerySet"
    images(root, "CXR_png/MCUCXR_0001_0.png")
    masks(root, "ManualMask/leftMask/MCUCXR_0001_0.png")
    save(root / "ManualMask" / "rightMask" / "MCUCXR_0001_0.png", TALL)
    loaded = load_data(tmp_path)
    assert (loaded.layout, loaded.labels) == ("montgomery", ("left lung", "right lung"))
    np.testing.assert_array_equal(loaded.samples[0].read(loaded.labels)[1], [SMALL, TALL])
    united = load_data(tmp_path, labels={"lung": ["*"]})
    np.testing.assert_array_equal(united.samples[0].read(["lung"])[1], [SMALL | TALL])


def test_shenzhen_films_without_masks_are_counted(tmp_path: Path) -> None:
    images(tmp_path, "CXR_png/CHNCXR_0001_0.png", "CXR_png/CHNCXR_0025_0.png")
    masks(tmp_path, "mask/CHNCXR_0001_0_mask.png")
    with pytest.warns(MedsegWarning, match=r"films without a mask \(1\), the first: CHNCXR_0025_0"):
        loaded = load_data(tmp_path)
    assert (loaded.layout, len(loaded.samples), loaded.labels) == ("shenzhen", 1, ("lung",))


def voc(root: Path, palette: bool) -> None:
    images(root, "JPEGImages/a.jpg", "JPEGImages/b.jpg", "JPEGImages/c.jpg")
    levels = np.zeros(SIZE, np.uint8)
    levels[SMALL], levels[0] = 2, 255 if palette else 0
    for stem in "ab":
        path = root / "SegmentationClass" / f"{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if palette:
            image = PIL.Image.fromarray(levels, "P")
            image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0] + [224] * 759)
            image.save(path)
        else:
            save(path, np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], np.uint8)[levels])
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    for split, stem in (("train", "a"), ("val", "b")):
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(f"{stem}\n")


@pytest.mark.parametrize("palette", [True, False])
@pytest.mark.filterwarnings("ignore::medseg.errors.MedsegWarning")
def test_voc_names_palette_indices_or_colours(tmp_path: Path, palette: bool) -> None:
    voc(tmp_path / "d", palette)
    if palette:
        (tmp_path / "d" / "class_names.txt").write_text("__ignore__\n_background_\nliver\nkidney\n")
    else:
        text = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nliver:128,0,0::\nkidney:0,128,0::\n"
        (tmp_path / "d" / "labelmap.txt").write_text(text)
    loaded = load_data(tmp_path / "d")
    assert (loaded.layout, loaded.labels) == ("voc", ("liver", "kidney"))
    assert [(s.case, s.split) for s in loaded.samples] == [("a", "train"), ("b", "val")]
    np.testing.assert_array_equal(loaded.samples[0].read(["liver", "kidney"])[1], [np.zeros(SIZE, bool), SMALL])
    assert [entry.count for entry in loaded.left_out][:1] == [1]  # c has no mask


# --- annotation tools

TRIANGLE = [[10, 4], [20, 4], [20, 9], [10, 9]]
"""SMALL as an outline."""


def encoded(mask: np.ndarray) -> str:
    buffer = io.BytesIO()
    PIL.Image.fromarray(mask).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def labelme(root: Path) -> None:
    images(root, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    rectangle = {"label": "box", "points": [[10, 4], [20, 9]], "shape_type": "rectangle"}
    bitmap = {"label": "bits", "points": [[10, 4], [19, 8]], "shape_type": "mask", "mask": encoded(SMALL[4:9, 10:20])}
    circle = {"label": "disc", "points": [[16, 12], [16, 17]], "shape_type": "circle"}
    line = {"label": "x", "points": [[1, 1], [2, 2]], "shape_type": "line"}
    broken = {"label": "x", "points": [[1, 1], [2, 2]], "shape_type": "polygon"}
    outline = {"label": "outline", "points": TRIANGLE, "shape_type": "polygon"}
    for stem, shapes in (("a", [outline, rectangle, bitmap, circle, line]), ("b", []), ("d", [outline, broken])):
        sides = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
        write_json(root / f"{stem}.json", {"shapes": shapes, "imagePath": f"{stem}.jpg", "imageData": None, **sides})


def test_labelmes_shapes_are_masks(tmp_path: Path) -> None:
    labelme(tmp_path)
    with pytest.warns(MedsegWarning) as said:
        loaded = load_data(tmp_path)
    assert (loaded.layout, loaded.labels) == ("labelme", ("bits", "box", "disc", "outline"))
    bits, box, disc, outline = loaded.samples[0].read(loaded.labels)[1]
    for mask in (bits, box, outline):
        np.testing.assert_array_equal(mask, SMALL)
    assert disc.sum() == pytest.approx(np.pi * 25, abs=4)
    assert not loaded.samples[1].read(loaded.labels)[1].any()
    sentences = " ".join(str(warning.message) for warning in said)
    assert "lines and points, which mark no area (1)" in sentences
    assert "shapes that cannot be drawn (1), the first: shape 1 of d.json" in sentences
    assert "images without a labelme file (1), the first: c.jpg" in sentences


def test_labelmes_coordinates_of_a_turned_photograph_are_upright(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(scene(0, (WIDTH, HEIGHT))).save(tmp_path / "a.jpg", exif=exif)
    shape = {"label": "x", "points": TRIANGLE, "shape_type": "polygon"}
    sides = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    write_json(tmp_path / "a.json", {"shapes": [shape], "imagePath": "a.jpg", **sides})
    np.testing.assert_array_equal(load_data(tmp_path).samples[0].read(["x"])[1], [SMALL])


def test_cvats_shapes_are_masks(tmp_path: Path) -> None:
    images(tmp_path, "images/a.png", "images/b.png", "images/test/c.png", "images/d.png")
    points = ";".join(f"{x},{y}" for x, y in TRIANGLE)
    xml = f"""<?xml version="1.0"?><annotations><version>1.1</version>
    <image id="0" name="a.png" subset="Train" width="{WIDTH}" height="{HEIGHT}">
      <polygon label="outline" points="{points}"/>
      <box label="box" xtl="10" ytl="4" xbr="20" ybr="9"/>
      <mask label="bits" rle="0, 50" left="10" top="4" width="10" height="5"/>
      <ellipse label="disc" cx="16" cy="12" rx="5" ry="5"/>
      <polyline label="x" points="1,1;2,2"/>
    </image>
    <image id="2" name="test/c.png" width="{WIDTH}" height="{HEIGHT}"><polygon label="outline" points="{points}"/>
    </image>
    <image id="3" name="d.png" width="{WIDTH}" height="{HEIGHT}"><polygon label="outline" points="{points}"/>
      <mask label="x" rle="0, 51" left="10" top="4" width="10" height="5"/>
    </image>
    <image id="1" name="b.png" subset="Validation" width="{WIDTH}" height="{HEIGHT}"></image></annotations>"""
    (tmp_path / "annotations.xml").write_text(xml)
    with pytest.warns(MedsegWarning) as said:
        loaded = load_data(tmp_path)
    assert (loaded.layout, [s.split for s in loaded.samples]) == ("cvat", ["train", "test", "val"])
    outline, box, bits, disc = loaded.samples[0].read(["outline", "box", "bits", "disc"])[1]
    for mask in (bits, box, outline):
        np.testing.assert_array_equal(mask, SMALL)
    assert disc.sum() == pytest.approx(np.pi * 25, abs=4)
    sentences = " ".join(str(warning.message) for warning in said)
    assert "shapes that cannot be drawn (1), the first: mask 1 of d.png" in sentences
    assert "polylines, points, tags and skeletons, which mark no area (1)" in sentences


def test_xml_with_entities_is_refused(tmp_path: Path) -> None:
    (tmp_path / "annotations.xml").write_text(
        '<!DOCTYPE x [<!ENTITY a "aa">]><annotations version="1">&a;</annotations>'
    )
    with pytest.raises(InputError, match="declares entities"):
        load_data(tmp_path)


def brush(mask: np.ndarray) -> list[int]:
    """Label Studio's run lengths of `mask`, every value by itself: what its reader must also understand."""
    values = np.repeat(mask.ravel() * np.uint8(255), 4)
    bits = f"{len(values):032b}" + f"{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    at = 0
    while at < len(values):
        end = at
        while end < len(values) and values[end] == values[at] and end - at < 2**16:
            end += 1
        bits += "1" + "11" + f"{end - at - 1:016b}" + f"{values[at]:08b}"
        at = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


def result(kind: str, label: str, **value: object) -> dict[str, object]:
    sides = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    return {"type": kind, **sides, "value": {**value, kind: [label]}}


def percent(points: list[list[int]]) -> list[list[float]]:
    return [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in points]


def test_label_studios_polygons_and_brush_are_masks(tmp_path: Path) -> None:
    images(tmp_path, "images/a.png", "images/b.png")
    (x, y), (right, bottom) = percent([[10, 4], [20, 9]])
    results = [
        result("polygonlabels", "outline", points=percent(TRIANGLE)),
        result("rectanglelabels", "box", x=x, y=y, width=right - x, height=bottom - y, rotation=0),
        result("brushlabels", "bits", format="rle", rle=brush(SMALL)),
        result("keypointlabels", "x", x=1, y=1),
    ]
    tasks = [
        {"data": {"image": "/data/upload/1/1a2b3c4d-a.png"}, "annotations": [{"result": results}, {"result": []}]},
        {"data": {"image": "/data/local-files/?d=set/b.png"}, "annotations": [{"result": []}]},
        {"data": {"image": "/data/upload/1/c.png"}, "annotations": []},
    ]
    write_json(tmp_path / "project-1.json", tasks)
    with pytest.warns(MedsegWarning) as said:
        loaded = load_data(tmp_path)
    assert (loaded.layout, loaded.labels) == ("label-studio", ("bits", "box", "outline"))
    assert [sample.image.name for sample in loaded.samples] == ["a.png", "b.png"]
    for mask in loaded.samples[0].read(loaded.labels)[1]:
        np.testing.assert_array_equal(mask, SMALL)
    sentences = " ".join(str(warning.message) for warning in said)
    for words in (
        "results that mark no area (1)",
        "tasks without annotations (1)",
        "further annotations of a task (1)",
    ):
        assert words in sentences


def test_label_studios_short_export_is_read_too(tmp_path: Path) -> None:
    images(tmp_path, "a.png")
    shape = {"points": percent(TRIANGLE), "polygonlabels": ["x"], "original_width": WIDTH, "original_height": HEIGHT}
    write_json(tmp_path / "min.json", [{"image": "/data/upload/1/a.png", "id": 1, "tag": [shape]}])
    np.testing.assert_array_equal(load_data(tmp_path).samples[0].read(["x"])[1], [SMALL])


@pytest.mark.parametrize("project", [True, False])
def test_vias_regions_are_masks(tmp_path: Path, project: bool) -> None:
    images(tmp_path, "a.png")
    xs, ys = zip(*TRIANGLE, strict=True)
    shapes = [
        {"name": "polygon", "all_points_x": list(xs), "all_points_y": list(ys)},
        {"name": "rect", "x": 10, "y": 4, "width": 10, "height": 5},
        {"name": "point", "cx": 1, "cy": 1},
    ]
    names = [{"label": "outline"}, {"label": {"box": True, "other": False}}, {}]
    regions = [{"shape_attributes": s, "region_attributes": n} for s, n in zip(shapes, names, strict=True)]
    entries = {"a.png123": {"filename": "a.png", "size": 123, "regions": regions, "file_attributes": {}}}
    write_json(tmp_path / "via.json", {"_via_settings": {}, "_via_img_metadata": entries} if project else entries)
    with pytest.warns(MedsegWarning, match=r"polylines and points, which mark no area \(1\)"):
        loaded = load_data(tmp_path)
    assert (loaded.layout, loaded.labels) == ("via", ("box", "outline"))
    for mask in loaded.samples[0].read(loaded.labels)[1]:
        np.testing.assert_array_equal(mask, SMALL)


@pytest.mark.parametrize("order", ["images/{}/{}.png", "{}/images/{}.png"])
def test_yolos_polygons_are_masks_in_their_splits(tmp_path: Path, order: str) -> None:
    line = "1 " + " ".join(f"{x / WIDTH:.6f} {y / HEIGHT:.6f}" for x, y in TRIANGLE)
    for split in ("train", "val"):
        images(tmp_path, order.format(split, "a"))
        path = tmp_path / order.format(split, "a").replace("images", "labels").replace(".png", ".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{line}\n0 0.5 0.5 0.1 0.1\n")
    images(tmp_path, order.format("train", "background"))
    (tmp_path / "data.yaml").write_text("path: .\ntrain: images/train\nnames:\n  0: vein\n  1: polyp\n")
    with pytest.warns(MedsegWarning) as said:
        loaded = load_data(tmp_path)
    assert (loaded.layout, loaded.labels) == ("yolo", ("vein", "polyp"))
    assert sorted(s.split for s in loaded.samples) == ["train", "train", "val"]
    sample = next(s for s in loaded.samples if s.split == "val")
    np.testing.assert_array_equal(sample.read(["polyp"])[1], [SMALL])
    sentences = " ".join(str(warning.message) for warning in said)
    for words in ("boxes without an outline, which mark nothing (2)", "are missing: "):
        assert words in sentences


@pytest.mark.parametrize(
    ("names", "line", "said"),
    [
        ("[polyp]", "5 0.1 0.1 0.3 0.1 0.3 0.3", "class 5 is none of data.yaml's"),
        ("[polyp]", "-1 0.1 0.1 0.3 0.1 0.3 0.3", "class -1 is none"),
        ("[polyp]", "0.5 0.1 0.1 0.3 0.1 0.3 0.3", "class 0.5 is none"),
        ("[polyp", "0 0.1 0.1 0.3 0.1 0.3 0.3", r"YAML files that cannot be read .*data\.yaml"),
        ("[[a, b]]", "0 0.1 0.1 0.3 0.1 0.3 0.3", r"YAML files that cannot be read .*data\.yaml"),
    ],
)
def test_faults_of_yolos_classes_are_said(tmp_path: Path, names: str, line: str, said: str) -> None:
    images(tmp_path, "images/a.png", "images/b.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "data.yaml").write_text(f"names: {names}\n")
    for stem, text in (("a", line), ("b", "0 0.1 0.1 0.3 0.1 0.3 0.3")):
        (tmp_path / "labels" / f"{stem}.txt").write_text(text)
    loaded = load_data(tmp_path, quiet=True)
    assert re.search(said, " ".join(map(str, loaded.left_out)))
    assert loaded.labels == (("polyp",) if names == "[polyp]" else ("0",))


def test_a_labelme_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    images(tmp_path, "a.png", "b.png")
    write_json(tmp_path / "a.json", {"shapes": [], "imagePath": "a.png", "imageHeight": HEIGHT, "imageWidth": WIDTH})
    (tmp_path / "b.json").write_text('{"shapes": [')
    assert "JSON files that cannot be read (1), the first: b.json." in str(load_data(tmp_path, quiet=True).left_out[0])


def test_medsegbench_archives_are_written_as_files_once(tmp_path: Path) -> None:
    arrays = {}
    for split, count in (("train", 3), ("val", 1), ("test", 2)):
        arrays[f"{split}_images"] = np.stack([scene(n) for n in range(count)])
        arrays[f"{split}_label"] = np.stack([SMALL.astype(np.uint8)] * count)
    (tmp_path / "d").mkdir()
    np.savez_compressed(tmp_path / "d" / "busi_256.npz", **arrays)
    for place in (tmp_path / "d", tmp_path / "d" / "busi_256.npz"):
        loaded = load_data(place)
        assert [s.split for s in loaded.samples] == ["train"] * 3 + ["val"] + ["test"] * 2
        image, mask = loaded.samples[0].read(["lesion"])
        np.testing.assert_array_equal((image.pixels * 255).round(), scene(0))
        np.testing.assert_array_equal(mask, [SMALL])


@pytest.mark.filterwarnings("ignore::medseg.errors.MedsegWarning")
def test_nnunets_regions_gaps_and_ignored_values(tmp_path: Path) -> None:
    levels = np.zeros(SIZE, np.uint8)
    levels[TALL], levels[SMALL], levels[0] = 1, 4, 9
    images(tmp_path, "imagesTr/c_0000.png", "imagesTs/t_0000.png")
    save(tmp_path / "labelsTr" / "c.png", levels)
    names = {"background": 0, "whole": [1, 4], "core": 4, "ignore": 9}
    write_json(tmp_path / "dataset.json", {"channel_names": {"0": "R"}, "labels": names, "file_ending": ".png"})
    loaded = load_data(tmp_path)
    assert loaded.labels == ("whole", "core")
    np.testing.assert_array_equal(loaded.samples[0].read(loaded.labels)[1], [SMALL | TALL, SMALL])
    assert [str(entry).split(":")[1].strip() for entry in loaded.left_out] == [
        "labels that nnU-Net ignores",
        "images in folders without labels, or that nnU-Net has no use for (1), the first",
    ]


def test_nnunets_validation_part_is_one_and_its_own_divisions_are_doubtful(tmp_path: Path) -> None:
    for part, stem in (("Tr", "a"), ("Tr", "b"), ("Val", "c"), ("Ts", "d"), ("Old", "e")):
        images(tmp_path, f"images{part}/{stem}_0000.png")
        masks(tmp_path, f"labels{part}/{stem}.png")
    write_json(tmp_path / "dataset.json", {"labels": {"background": 0, "x": 255}})
    write_json(tmp_path / "splits_final.json", [{"train": ["a"], "val": ["b"]}, {"train": ["b"], "val": ["a"]}])
    with pytest.warns(MedsegWarning):
        loaded = load_data(tmp_path)
    assert {s.case: s.split for s in loaded.samples} == {"a": "train", "b": "train", "c": "val", "d": "test"}
    aside, lists = map(str, loaded.left_out)
    assert aside.endswith("no use for (2), the first: imagesOld/e_0000.png, labelsOld/e.png.")
    assert lists.endswith("divided otherwise here (a splits.json is followed) (1), the first: splits_final.json.")
    write_json(tmp_path / "splits_final.json", [{"train": ["a", "b"], "val": ["c"]}])
    assert len(load_data(tmp_path, quiet=True).left_out) == 1


_REGION = {
    "shape_attributes": {"name": "rect", "x": 1, "y": 1, "width": 5, "height": 5},
    "region_attributes": {"label": "x"},
}
_BOX = '<box label="x" xtl="1" ytl="1" xbr="6" ybr="6"/>'
_TASK = {
    **{"type": "rectanglelabels", "original_width": WIDTH, "original_height": HEIGHT},
    "value": {"x": 1, "y": 1, "width": 5, "height": 5, "rectanglelabels": ["x"]},
}
NAMING: dict[str, tuple[str, Any]] = {
    "coco": (
        "c.json",
        {
            "images": [{"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 6, 1, 6, 6]]}],
            "categories": [{"id": 1, "name": "x"}],
        },
    ),
    "via": ("v.json", {"a": {"filename": "a.png", "regions": [_REGION]}}),
    "cvat": (
        "annotations.xml",
        f'<annotations><image name="a.png" width="{WIDTH}" height="{HEIGHT}">{_BOX}</image></annotations>',
    ),
    "label-studio": ("l.json", [{"data": {"image": "a.png"}, "annotations": [{"result": [_TASK]}]}]),
}


@pytest.mark.parametrize("layout", NAMING)
def test_images_that_an_annotation_file_does_not_name_are_counted(tmp_path: Path, layout: str) -> None:
    images(tmp_path, "images/a.png", "images/b.png", "images/c.png")
    name, content = NAMING[layout]
    (tmp_path / name).write_text(content) if isinstance(content, str) else write_json(tmp_path / name, content)
    with pytest.warns(MedsegWarning, match=r"annotation file does not name \(2\), the first: b\.png, c\.png\.$"):
        loaded = load_data(tmp_path)
    assert (loaded.layout, [s.image.name for s in loaded.samples]) == (layout, ["a.png"])


# --- cases


def named(separator: str, header: list[str], rows: list[list[str]], encoding: str) -> bytes:
    return "\n".join(separator.join(row) for row in [header, *rows]).encode(encoding)


CASES: dict[str, tuple[str, list[str], Callable[[str], str], str]] = {
    "file names": (",", ["file_name", "patient"], lambda stem: f"{stem}.png", "utf-8"),
    "stems": (",", ["image", "patient"], lambda stem: stem, "utf-8"),
    "semicolons": (";", ["Bild", "Patient ID"], lambda stem: stem, "cp1252"),
    "tabs, UTF-16": ("\t", ["id", "subject"], lambda stem: f"{stem}.png", "utf-16"),
    "a mark of order": (",", ["Filename", "PatientID"], lambda stem: f"{stem}.png", "utf-8-sig"),
    "paths": (",", ["path", "case_id"], lambda stem: f"./images/{stem}.png", "utf-8"),
    "Windows' paths": (",", ["path", "patient_id"], lambda stem: f"images\\{stem}.png", "utf-8"),
    "masks": (",", ["mask", "Patient-Nr", "patient number"], lambda stem: f"masks/{stem}.png", "utf-8"),
    "capitals": (",", ["IMAGE", "PATIENT"], lambda stem: f"{stem}.PNG", "utf-8"),
}


@pytest.mark.parametrize("kind", CASES)
def test_cases_are_read_from_tables_of_any_spelling(tmp_path: Path, kind: str) -> None:
    separator, header, spelling, encoding = CASES[kind]
    stems = ["p1_a", "p1_b", "p2_a"]
    images(tmp_path, *(f"images/{stem}.png" for stem in stems))
    masks(tmp_path, *(f"masks/{stem}.png" for stem in stems))
    rows = [[spelling(stem), *["Müller" if stem[1] == "1" else "Öz"] * (len(header) - 1)] for stem in stems]
    (tmp_path / "patients.csv").write_bytes(named(separator, header, rows, encoding))
    assert [sample.case for sample in load_data(tmp_path).samples] == ["Müller", "Müller", "Öz"]


def test_rows_and_images_without_the_other_are_counted(tmp_path: Path) -> None:
    images(tmp_path, "images/a.png", "images/b.png", "images/c.png")
    masks(tmp_path, "masks/a.png", "masks/b.png", "masks/c.png")
    (tmp_path / "p.csv").write_text("image,patient\na,1\nz,2\nb,\n")
    with pytest.warns(MedsegWarning) as said:
        assert [s.case for s in load_data(tmp_path).samples] == ["1", "b", "c"]
    sentences = " ".join(str(warning.message) for warning in said)
    assert "rows of p.csv that name no image here, or no patient (2)" in sentences
    assert "images without a patient in the csv file: each is taken for a case of its own (2)" in sentences


def test_a_table_that_gives_an_image_two_patients_is_refused(tmp_path: Path) -> None:
    images(tmp_path, "images/a.png")
    masks(tmp_path, "masks/a.png")
    (tmp_path / "p.csv").write_text("image,patient\na,1\na.png,2\n")
    with pytest.raises(InputError, match=r"p\.csv gives a\.png two patients"):
        load_data(tmp_path)


def test_a_table_of_other_things_says_nothing_of_cases(tmp_path: Path) -> None:
    images(tmp_path, "images/a.png")
    masks(tmp_path, "masks/a.png")
    (tmp_path / "sizes.csv").write_text("image,width\na,3\n")
    assert [s.case for s in load_data(tmp_path).samples] == ["a"]


def test_a_table_that_may_name_patients_in_other_words_is_doubtful(tmp_path: Path) -> None:
    stems = [f"{patient}{number}" for patient in "abc" for number in "12"]
    images(tmp_path, *(f"images/{stem}.png" for stem in stems))
    masks(tmp_path, *(f"masks/{stem}.png" for stem in stems))
    (tmp_path / "people.csv").write_text("file,who\n" + "".join(f"{stem}.png,{stem[0]}\n" for stem in stems))
    with pytest.warns(MedsegWarning, match=r"Doubtful: tables that name images and have no column .*people\.csv"):
        assert len({sample.case for sample in load_data(tmp_path).samples}) == 6


def test_brush_strokes_that_do_not_fit_are_refused() -> None:
    from medseg.data.layouts.label_studio import _brush

    with pytest.raises(ValueError, match="a brush stroke of 768 pixels"):
        _brush(brush(SMALL), (10, 10))
    assert zlib.crc32(json.dumps(brush(SMALL)).encode())  # the writer above writes whole bytes


@pytest.mark.parametrize(
    "text", ["sep=;\nDatei;Patienten-ID\na;7\nb;7\nc;8\n", "file,MRN\nA.png,p7\nb.png,P7\nc.png,8\n"]
)
@pytest.mark.parametrize("place", ["patients.csv", "tables/patients.csv", "patients.txt"])
def test_tables_of_patients_are_followed_where_they_lie(tmp_path: Path, text: str, place: str) -> None:
    images(tmp_path, "images/a.png", "images/b.png", "images/c.png")
    masks(tmp_path, "masks/a.png", "masks/b.png", "masks/c.png")
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text(text, encoding="utf-8")
    first, second, third = load_data(tmp_path).samples
    assert first.case == second.case != third.case


def test_annotated_images_have_patients_by_tables_and_by_folders_too(tmp_path: Path) -> None:
    sides = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    for root, names in (("f", ("p1/1", "p1/2", "p2/1")), ("t", ("1", "2", "3"))):
        for name in names:
            images(tmp_path / root, f"{name}.png")
            shape = {"label": "x", "points": TRIANGLE, "shape_type": "polygon"}
            write_json(
                tmp_path / root / f"{name}.json", {"shapes": [shape], "imagePath": f"{Path(name).name}.png", **sides}
            )
    (tmp_path / "t" / "patients.csv").write_text("image,patient\n1.png,p1\n2.png,p1\n3.png,p2\n")
    for root in "ft":
        assert [sample.case for sample in load_data(tmp_path / root).samples] == ["p1", "p1", "p2"]


@pytest.mark.parametrize(
    ("names", "lists", "words"),
    [
        ("abcdef", {"train.txt": "a\nb\nc\nd\n", "test.txt": "images/e.png\nf\n"}, "lists that divide .* test.txt"),
        ("abcdef", {"all.csv": "image;split\na;test\nb;test\nc;test\nd;test\n"}, "lists that divide .* all.csv"),
        (
            ["train_1", "train_2", "train_3", "test_1", "test_2"],
            {},
            r"called for val or test .* \(2\), the first: test_1",
        ),
    ],
)
def test_a_division_by_lists_or_names_of_images_is_said(
    tmp_path: Path, names: list[str], lists: dict[str, str], words: str
) -> None:
    images(tmp_path, *(f"images/{name}.png" for name in names))
    masks(tmp_path, *(f"masks/{name}.png" for name in names))
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
    with pytest.warns(MedsegWarning, match=f"Doubtful: .*{words}"):
        load_data(tmp_path)


def test_copies_in_another_format_are_left_out_and_counted(tmp_path: Path) -> None:
    for kind in ("PNG", "TIF"):
        images(tmp_path, f"{kind}/Original/1.{kind.lower()}", f"{kind}/Original/2.{kind.lower()}")
        masks(tmp_path, f"{kind}/Ground Truth/1.{kind.lower()}", f"{kind}/Ground Truth/2.{kind.lower()}")
    with pytest.warns(MedsegWarning, match=r"copies in another format \(2\), the first: TIF/Original/1.tif"):
        assert [sample.image.suffix for sample in load_data(tmp_path).samples] == [".png", ".png"]
