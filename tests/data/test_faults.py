"""Faults planted in the files of public layouts: training stops before its first epoch and names the file.

Those of a folder of pairs are in test_verify.py.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import PIL.Image
import pytest

from medseg.data.rle import encode_rle, pack_counts
from medseg.data.samples import load_data
from medseg.data.verify import require_sound
from medseg.errors import InputError
from tests.data_sets import SIZE, SMALL, TALL, chestx_det, decathlon, kvasir, save, scene, siim, write_json


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))


def refusal(place: Path, labels: list[str]) -> str:
    """What training says of the data at `place` before its first epoch, as it asks; "" where nothing is wrong."""
    try:
        require_sound(load_data(place).samples, labels)
    except InputError as error:
        return str(error)
    return ""


def change(path: Path, edit: Callable[[Any], object]) -> None:
    """Edit the JSON file `path` in place."""
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    write_json(path, content)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


# --- COCO


def coco(root: Path) -> None:
    """Two images of 32 × 24: one outlined, one in run lengths."""
    for stem in "ab":
        save(root / "images" / f"{stem}.png", scene(ord(stem)))
    outline = [[10, 4, 19, 4, 19, 8, 10, 8]]
    counts = [int(count) for count in encode_rle(TALL, "counts").split()]
    images = [
        {"id": n, "file_name": f"{s}.png", "height": 24, "width": 32, "split": "train"} for n, s in enumerate("ab")
    ]
    annotations = [
        {"id": 0, "image_id": 0, "category_id": 1, "segmentation": outline, "bbox": [10, 4, 10, 5]},
        {"id": 1, "image_id": 1, "category_id": 1, "segmentation": {"size": list(SIZE), "counts": pack_counts(counts)}},
    ]
    categories = [{"id": 1, "name": "blob"}]
    write_json(root / "coco.json", {"images": images, "annotations": annotations, "categories": categories})


def in_coco(edit: Callable[[Any], object]) -> Callable[[Path], None]:
    return lambda root: change(root / "coco.json", edit)


def in_first(**fields: Any) -> Callable[[Path], None]:
    return in_coco(lambda content: content["annotations"][0].update(fields))


COCO: dict[str, tuple[Callable[[Path], object], str]] = {
    "image missing": (lambda root: (root / "images" / "a.png").unlink(), "a.png: the file is missing"),
    "image replaced": (lambda root: save(root / "images" / "b.png", scene(0, (20, 20))), "images/b.png: The run le"),
    "JSON cut off": (lambda root: cut_off(root / "coco.json"), "coco.json is no JSON file"),
    "one id for two images": (
        in_coco(lambda content: content["images"][1].update(id=0)),
        "coco.json gives two images one id",
    ),
    "outline beyond": (in_first(segmentation=[[10, 4, 90, 4, 19, 8]]), "images/a.png: An annotation reaches x = 90"),
    "box backwards": (in_first(bbox=[10, 4, -10, 5]), "images/a.png: a bounding box ends before it begins"),
    "made for another size": (
        in_coco(lambda content: content["images"][0].update(height=48, width=64)),
        "images/a.png: the annotations are for 64 × 48 pixels (width × height), the image has 32 × 24",
    ),
    "split of no name": (
        in_coco(lambda content: content["images"][1].update(split="training")),
        "coco.json: the entry of b.png does not hold together",
    ),
}


# --- SIIM-ACR


def in_table(before: str, after: str) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        path = root / "train-rle.csv"
        text = path.read_text(encoding="utf-8")
        assert before in text
        path.write_text(text.replace(before, after, 1), encoding="utf-8")

    return edit


FILM = Path("dicom-images-train") / "s1.2.3" / "series" / "1.2.3.dcm"
RUNS = encode_rle(SMALL)
SIIM: dict[str, tuple[Callable[[Path], object], str]] = {
    "film cut off": (lambda root: cut_off(root / FILM), "series/1.2.3.dcm: "),
    "film no DICOM": (lambda root: (root / FILM).write_text("x" * 300), "series/1.2.3.dcm: "),
    "runs without length": (in_table(RUNS, f"{RUNS} 4"), "series/1.2.3.dcm: Run lengths come in pairs"),
    "runs no numbers": (in_table(RUNS, "4 x"), "series/1.2.3.dcm: Run lengths are whole numbers"),
    "runs beyond": (in_table(RUNS, "760 9"), "series/1.2.3.dcm: The run lengths reach"),
    "runs and none": (in_table("1.2.3", "1.2.3, -1\n1.2.3"), "train-rle.csv: 1.2.3 has run lengths and -1"),
    "film twice": (
        lambda root: shutil.copytree(root / "dicom-images-train" / "s1.2.3", root / "dicom-images-test"),
        "Two images are named 1.2.3.dcm",
    ),
}


# --- ChestX-Det

DET = "ChestX_Det_train.json"


def in_film(**fields: Any) -> Callable[[Path], None]:
    return lambda root: change(root / DET, lambda content: content[0].update(fields))


def in_both_parts(root: Path) -> None:
    entry = json.loads((root / DET).read_text(encoding="utf-8"))[0]
    change(root / "ChestX_Det_test.json", lambda content: content.append(entry))


CHESTX_DET: dict[str, tuple[Callable[[Path], object], str]] = {
    "JSON cut off": (lambda root: cut_off(root / DET), f"{DET} is no JSON file"),
    "finding misspelt": (in_film(syms=["Effusion", "Masss"]), f"{DET} is no ChestX-Det annotation file"),
    "finding without outline": (in_film(syms=["Effusion", "Mass", "Nodule"]), f"{DET} is no ChestX-Det"),
    "outline beyond": (in_film(polygons=[[[1, 1], [99, 1], [1, 9]]] * 2), "train_data/1.png: An annotation reaches"),
    "outline elsewhere": (
        in_film(polygons=[[[0, 0], [2, 0], [0, 2]]] * 2),
        "train_data/1.png: nothing is marked inside",
    ),
    "box beyond": (in_film(boxes=[[1, 1, 99, 9]] * 2), "train_data/1.png: An annotation reaches"),
    "in train and test": (in_both_parts, f"{DET}: 1.png stands twice"),
    "patient in train and test": (
        lambda root: (root / "chestxdet_to_nih_names.csv").write_text("file_name,nih_name\n1.png,4_0\n3.png,4_1\n"),
        "The case 4 stands in both",
    ),
}


# --- NIfTI


def volumes(root: Path) -> None:
    """Four volumes of 4 slices, Anterior and Posterior marked in each, and a splits.json."""
    decathlon(root / "one")
    for name in "vwxy":
        for folder in ("imagesTr", "labelsTr"):
            (root / folder).mkdir(exist_ok=True)
            volume = nibabel.load(root / "one" / folder / "v.nii.gz")
            voxels = np.asarray(volume.dataobj) * (1 if folder == "labelsTr" else 1 + ord(name))
            nibabel.save(nibabel.Nifti1Image(voxels, volume.affine), root / folder / f"{name}.nii.gz")
    shutil.move(root / "one" / "dataset.json", root)
    shutil.rmtree(root / "one")
    write_json(root / "splits.json", {"train": ["v", "w"], "val": ["x"], "test": ["y"]})


def with_voxels(folder: str, edit: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        path = root / folder / "v.nii.gz"
        volume = nibabel.load(path)
        nibabel.save(nibabel.Nifti1Image(edit(np.asarray(volume.dataobj)), volume.affine), path)

    return write


def in_splits(edit: Callable[[Any], object]) -> Callable[[Path], None]:
    return lambda root: change(root / "splits.json", edit)


NIFTI: dict[str, tuple[Callable[[Path], object], str]] = {
    "volume cut off": (lambda root: cut_off(root / "imagesTr" / "v.nii.gz"), "imagesTr/v.nii.gz: This gzip archive is"),
    "volume no NIfTI": (
        lambda root: (root / "imagesTr" / "v.nii.gz").write_bytes(gzip.compress(b"x" * 999)),
        "imagesTr/v.nii.gz: This gzip archive holds no NIfTI",
    ),
    "labels cut off": (lambda root: cut_off(root / "labelsTr" / "v.nii.gz"), "labelsTr/v.nii.gz: This gzip archive is"),
    "labels missing": (
        lambda root: (root / "labelsTr" / "v.nii.gz").unlink(),
        "no partner of the same stem, the first: v",
    ),
    "a slice less": (with_voxels("labelsTr", lambda a: a[..., 1:]), "labelsTr/v.nii.gz: The mask file has 3 frames"),
    "labels turned": (
        with_voxels("labelsTr", lambda a: a.swapaxes(0, 1)),
        "labelsTr/v.nii.gz: The mask is 12 × 10 pixels",
    ),
    "value of no label": (
        with_voxels("labelsTr", lambda a: np.where(a == 2, 3, a).astype(np.uint8)),
        "labelsTr/v.nii.gz: The mask holds 3, and the data set does not say what that means",
    ),
    "more modalities": (
        with_voxels("imagesTr", lambda a: np.stack([a] * 4, axis=-1)),
        "imagesTr/v.nii.gz: has 4 channels, most images have 1 or 3",
    ),
    "names damaged": (lambda root: write_json(root / "dataset.json", {"labels": ["a"]}), "dataset.json does not name"),
    # splits.json
    "two splits": (in_splits(lambda content: content["val"].append("v")), "splits.json puts v into two splits"),
    "left out": (
        in_splits(lambda content: content["train"].remove("v")),
        "splits.json leaves out 1 images, the first: v",
    ),
    "not here": (
        in_splits(lambda content: content["val"].append("z")),
        "splits.json names 1 images or cases that are not here",
    ),
    "splits no JSON": (lambda root: cut_off(root / "splits.json"), "splits.json is not of the form"),
    "of other data": (in_splits(lambda content: content.update(sha256="0" * 64)), "splits.json was written for other"),
}


# --- Kvasir, and zips


def kvasir_in_train(root: Path) -> None:
    kvasir(root)
    write_json(root / "splits.json", {"train": ["a", "b"]})


def in_boxes(**fields: Any) -> Callable[[Path], None]:
    return lambda root: change(root / "bounding-boxes.json", lambda content: content["a"].update(fields))


KVASIR: dict[str, tuple[Callable[[Path], object], str]] = {
    "box without side": (in_boxes(bbox=[{"xmin": 1}]), "bounding-boxes.json does not hold Kvasir's bounding boxes"),
    "made for another size": (in_boxes(height=20), "images/a.jpg: the annotations are for 32 × 20 pixels"),
    "image for mask": (
        lambda root: shutil.copy(root / "images" / "a.jpg", root / "masks"),
        "masks/a.jpg: The mask is a",
    ),
    "two masks": (lambda root: save(root / "masks" / "a.png", SMALL), "masks/ holds two files with the stem a"),
}


LAYOUTS: dict[str, tuple[Callable[[Path], None], list[str], dict[str, tuple[Callable[[Path], object], str]]]] = {
    "coco": (coco, ["blob"], COCO),
    "siim": (siim, ["pneumothorax"], SIIM),
    "chestx-det": (chestx_det, ["Mass"], CHESTX_DET),
    "nifti": (volumes, ["Anterior", "Posterior"], NIFTI),
    "kvasir": (kvasir_in_train, ["polyp"], KVASIR),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.filterwarnings("ignore::medseg.errors.MedsegWarning")
def test_the_layout_without_a_fault_is_sound(tmp_path: Path, layout: str) -> None:
    write, labels, _ = LAYOUTS[layout]
    write(tmp_path / "data")
    assert refusal(tmp_path / "data", labels) == ""


@pytest.mark.parametrize(("layout", "fault"), [(layout, fault) for layout in LAYOUTS for fault in LAYOUTS[layout][2]])
@pytest.mark.filterwarnings("ignore::medseg.errors.MedsegWarning")
def test_a_planted_fault_is_named_with_its_file(tmp_path: Path, layout: str, fault: str) -> None:
    write, labels, faults = LAYOUTS[layout]
    plant, words = faults[fault]
    write(tmp_path / "data")
    plant(tmp_path / "data")
    assert words in refusal(tmp_path / "data", labels)


def zipped(folder: Path) -> Path:
    kvasir_in_train(folder / "in")
    return Path(shutil.make_archive(str(folder / "kvasir"), "zip", folder / "in"))


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(b"a.jpg") + 100] ^= 1  # within the first image
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut_off, flip_a_bit, lambda path: path.write_text("x")])
def test_a_damaged_zip_is_named(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    path = zipped(tmp_path)
    assert refusal(path, ["polyp"]) == ""
    damage(path)
    assert "kvasir.zip cannot be unpacked" in refusal(path, ["polyp"])


def test_a_manifests_misspelt_label_is_named(tmp_path: Path) -> None:
    save(tmp_path / "a.png", scene())
    part = {"label": "bolb", "polygon": [[1, 1], [9, 1], [1, 9]]}
    samples = [{"image": "a.png", "mask": [part], "split": "train"}]
    write_json(tmp_path / "m.json", {"labels": ["blob"], "samples": samples})
    assert "m.json is no annotation file that medseg knows (ValueError(\"a.png has a part 'bolb'" in refusal(
        tmp_path / "m.json", ["blob"]
    )


def test_images_and_masks_exchanged_are_named(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / "masks" / f"{number}.png", scene(number))
        save(tmp_path / "images" / f"{number}.png", SMALL)
    assert "masks/0.png: The mask is a photograph" in refusal(tmp_path, ["blob"])


def test_soft_edges_make_no_photograph_of_a_mask(tmp_path: Path) -> None:
    soft = PIL.Image.fromarray(SMALL * np.uint8(255)).resize((320, 240), PIL.Image.Resampling.BILINEAR)
    save(tmp_path / "images" / "soft.png", scene(0, (240, 320)))
    save(tmp_path / "masks" / "soft.png", np.asarray(soft))
    write_json(tmp_path / "splits.json", {"train": ["soft"]})
    assert refusal(tmp_path, ["blob"]) == ""
