"""Label maps of others are read by the data's values, or it is said how they are read."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import PIL.Image
import pytest

from medseg.__main__ import main
from medseg.config import EnsembleConfig, MemberReference
from medseg.data.coco import write_coco
from medseg.data.label_maps import own_report
from medseg.data.samples import Sample, load_data
from medseg.image import Image
from medseg.inference.batch import Settings, predict_jobs
from medseg.inference.ensemble import Ensemble
from medseg.inference.jobs import find_jobs
from medseg.reading.readers import read_image
from tests.conftest import fake_member
from tests.segmented import drawing_ensemble

SIZE = (24, 32)


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(values.astype(np.uint8)).save(path)


def drawn(number: int, values: Sequence[int] = (1, 2)) -> np.ndarray:
    """A label map with a rectangle of each value, none of them like another's; every third lacks the second value."""
    label_map = np.zeros(SIZE)
    for place, value in enumerate(values):
        if place != 1 or number % 3:
            label_map[2 + 7 * place : 5 + 7 * place + number % 2, 3 : 12 + 5 * place + number] = value
    return label_map


def pairs(root: Path, values: Sequence[int] = (1, 2)) -> Path:
    """Twelve images with label maps of `values`."""
    for number in range(12):
        save(root / "images" / f"{number:02d}.png", np.full(SIZE, 40 + number))
        save(root / "masks" / f"{number:02d}.png", drawn(number, values))
    return root


def scores(tmp_path: Path, predictions: Path, data: Path, *labels: str) -> dict[str, float]:
    """The mean Dice of each label, by images."""
    words = ["--labels", *labels] if labels else []
    main(["evaluate", "--predictions", f"p={predictions}", str(data), *words, "--output", str(tmp_path / "out")])
    report: dict[str, Any] = json.loads((tmp_path / "out" / "scores.json").read_text())
    return {label: next(iter(kinds.values()))["dice"]["mean"] for label, kinds in report["rows"]["p"].items()}


def notes(tmp_path: Path) -> str:
    """The doubts of that report."""
    return " ".join(json.loads((tmp_path / "out" / "scores.json").read_text())["doubts"])


@pytest.mark.parametrize(
    ("values", "labels", "said"),
    [
        ((1, 2), ["second=2", "first=1"], "second = 2, first = 1"),
        ((1, 2), ["first=1", "second=2"], ""),
        ((1, 2), ["second=2"], "second = 2"),
        ((1, 2), ["first=1"], ""),
        ((1, 2), ["any=*"], "any = all but 0"),
        ((1, 3, 7), ["any=*"], "any = all but 0"),
        ((1, 3, 7), ["a=1", "b=3", "c=7"], "a = 1, b = 3, c = 7"),
        ((1, 2), ["b", "a"], ""),
        ((128, 255), ["cup=255", "disc=128,255"], "cup = 255, disc = 128 or 255"),
        ((128, 255), ["dark=0", "bright=255"], "dark = 0, bright = 255"),
    ],
)
def test_copies_of_the_data_s_label_maps_are_right(
    values: Sequence[int], labels: Sequence[str], said: str, tmp_path: Path
) -> None:
    data = pairs(tmp_path / "data", values)
    shutil.copytree(data / "masks", tmp_path / "p")
    assert {*scores(tmp_path, tmp_path / "p", data, *labels).values()} == {1.0}
    wanted = f"p: label maps are read by the data's values: {said}"
    assert (wanted in notes(tmp_path)) if said else ("are read" not in notes(tmp_path))


def nnunet(root: Path, labels: dict[str, Any], values: Sequence[int]) -> Path:
    for number in range(12):
        for folder, array in (("imagesTr", np.full(SIZE, 9 * number)), ("labelsTr", drawn(number, values))):
            name = f"c{number:02d}{'_0000' if folder == 'imagesTr' else ''}.png"
            save(root / folder / name, array)
    (root / "dataset.json").write_text(json.dumps({"labels": {"background": 0, **labels}}))
    return root


def test_regions_of_nnunet_are_read_by_their_values(tmp_path: Path) -> None:
    data = nnunet(tmp_path / "data", {"edema": 1, "whole": [1, 2]}, (1, 2))
    shutil.copytree(data / "labelsTr", tmp_path / "p")
    assert scores(tmp_path, tmp_path / "p", data) == {"edema": 1.0, "whole": 1.0}
    assert "label maps are read by the data's values: edema = 1, whole = 1 or 2" in notes(tmp_path)
    assert scores(tmp_path, tmp_path / "p", data, "whole") == {"whole": 1.0}
    assert scores(tmp_path, tmp_path / "p", data, "all=edema,whole") == {"all": 1.0}


def test_one_label_of_many_is_no_probability(tmp_path: Path) -> None:
    """Of more than 16 values, in a file of 8 bits, grey probabilities were taken."""
    data = nnunet(tmp_path / "data", {f"organ{n}": n for n in range(1, 21)}, (1,))
    for path in (data / "labelsTr").glob("*.png"):
        label_map = np.asarray(PIL.Image.open(path)).copy()
        label_map[20:23, :20] = np.arange(1, 21)
        save(path, label_map)
    shutil.copytree(data / "labelsTr", tmp_path / "p")
    assert scores(tmp_path, tmp_path / "p", data, "organ1") == {"organ1": 1.0}


def masks_of_one(root: Path, data: Path, value: int, mark: int) -> Path:
    for path in (data / ("labelsTr" if (data / "labelsTr").is_dir() else "masks")).glob("*.png"):
        save(root / path.name, (np.asarray(PIL.Image.open(path)) == value) * mark)
    return root


def test_a_mask_of_one_label_is_no_label_map(tmp_path: Path) -> None:
    """0 and 255 are said where the data may hold 255; 0 and 1 are refused where 1 is another label's."""
    data = nnunet(tmp_path / "data", {"kidney": 1, "tumour": 2}, (1, 2))
    white, other = (masks_of_one(tmp_path / f"p{mark}", data, 2, mark) for mark in (255, 1))
    assert scores(tmp_path, white, data, "tumour") == {"tumour": 1.0}
    with pytest.raises(SystemExit, match=r"hold 0, 1 alone, .* tumour = 2: nothing says .* or masks of 0 and 255\."):
        scores(tmp_path, other, data, "tumour")
    unnamed = pairs(tmp_path / "unnamed")
    white = masks_of_one(tmp_path / "q", unnamed, 2, 255)
    assert scores(tmp_path, white, unnamed, "second=2") == {"second": 1.0}
    assert "masks of 0 and 255 are read as second, though label maps of the data have second = 2" in notes(tmp_path)
    three = pairs(tmp_path / "three", (0, 128, 255))
    with pytest.raises(SystemExit, match=r"hold 0, 255 alone, .* disc = 0 or 128: .* or \.npy arrays of 0 and 1\."):
        scores(tmp_path, masks_of_one(tmp_path / "r", three, 128, 255), three, "disc=0,128")


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (["second=2", "first=1"], "hold 128, 255 and none of the data's values, second = 2, first = 1. Save them with"),
        (["b", "a"], r"No image .* The mask holds the values 0, 128, 255\. Label maps are read as 1 = b, 2 = a: save"),
        (["b"], r"p/00.png: The mask holds the values 0, 128, 255\. Masks of b hold 0 and 1, or 0 and 255: save it so"),
    ],
)
def test_values_that_are_none_of_the_data_s_are_refused(labels: Sequence[str], sentence: str, tmp_path: Path) -> None:
    data = pairs(tmp_path / "data", (1, 2) if len(labels) > 1 else (1,))
    for number in range(12):
        save(tmp_path / "p" / f"{number:02d}.png", drawn(number + 1 - number % 3, (128, 255)))
    with pytest.raises(SystemExit, match=sentence):
        scores(tmp_path, tmp_path / "p", data, *labels)


def test_a_value_that_the_data_do_not_know_is_refused(tmp_path: Path) -> None:
    data = nnunet(tmp_path / "data", {"kidney": 1, "tumour": 2}, (1, 2))
    shutil.copytree(data / "labelsTr", tmp_path / "p")
    save(tmp_path / "p" / "c01.png", drawn(1, (1, 5)))
    assert {*scores(tmp_path, tmp_path / "p", data).values()} == {1.0}
    assert "does not say what that means. Save it with the data's values, kidney = 1, tumour = 2." in notes(tmp_path)


def coco(tmp_path: Path, labels: Sequence[str]) -> Path:
    samples = [
        Sample(path, tmp_path / "drawn" / "masks" / path.name, path.stem, "")
        for path in sorted((pairs(tmp_path / "drawn") / "images").glob("*.png"))
    ]
    shutil.copytree(tmp_path / "drawn" / "images", tmp_path / "data")
    moved = [Sample(tmp_path / "data" / one.image.name, one.mask, one.case, "") for one in samples]
    write_coco(moved, labels, tmp_path / "data" / "truth.json")
    return tmp_path / "data"


def test_data_without_values_take_the_order_of_the_labels_and_say_so(tmp_path: Path) -> None:
    data = coco(tmp_path, ["first", "second"])
    maps = tmp_path / "drawn" / "masks"
    assert {*scores(tmp_path, maps, data, "first", "second").values()} == {1.0}
    assert notes(tmp_path).count("p: label maps are read as 1 = first, 2 = second") == 1
    scores(tmp_path, maps, data, "second", "first")
    assert "p: label maps are read as 1 = second, 2 = first" in notes(tmp_path)


def test_a_number_of_another_program_is_no_mask_of_one_label(tmp_path: Path) -> None:
    """7 may be the number of the category that is not asked for."""
    data = coco(tmp_path, ["tumour", "cyst"])
    with pytest.raises(SystemExit, match=r"The mask holds the value 7\. Masks of cyst hold 0 and 1, or 0 and 255"):
        scores(tmp_path, masks_of_one(tmp_path / "p7", tmp_path / "drawn", 1, 7), data, "cyst")
    assert scores(tmp_path, masks_of_one(tmp_path / "p1", tmp_path / "drawn", 2, 1), data, "cyst") == {"cyst": 1.0}
    assert "label maps are read as 1 = cyst" in notes(tmp_path)
    assert scores(tmp_path, masks_of_one(tmp_path / "p255", tmp_path / "drawn", 2, 255), data, "cyst") == {"cyst": 1.0}
    assert "label maps" not in notes(tmp_path)


def voc(root: Path) -> Path:
    """Colours by labelmap.txt, as CVAT writes them."""
    colours = np.array([[0, 0, 0], [200, 0, 0], [0, 90, 90]])
    for number in range(12):
        save(root / "JPEGImages" / f"{number:02d}.png", np.full(SIZE, 40 + number))
        save(root / "SegmentationClass" / f"{number:02d}.png", colours[drawn(number).astype(int)])
    (root / "labelmap.txt").write_text("background:0,0,0::\ncat:200,0,0::\ndog:0,90,90::\n")
    return root


@pytest.mark.parametrize("labels", [["cat", "dog"], ["dog", "cat"], ["dog"], ["cat"]])
def test_label_maps_of_colours_are_read_by_the_data_s_colours(labels: Sequence[str], tmp_path: Path) -> None:
    data = voc(tmp_path / "data")
    shutil.copytree(data / "SegmentationClass", tmp_path / "p")
    assert {*scores(tmp_path, tmp_path / "p", data, *labels).values()} == {1.0}


def test_numbers_beside_data_of_colours_take_the_order_of_the_labels(tmp_path: Path) -> None:
    data, maps = voc(tmp_path / "data"), pairs(tmp_path / "drawn") / "masks"
    assert {*scores(tmp_path, maps, data, "cat", "dog").values()} == {1.0}
    assert "label maps are read as 1 = cat, 2 = dog, those of colours by the data's colours" in notes(tmp_path)


def predicted(data: Path, labels: tuple[str, ...], output: Path) -> Path:
    """What `medseg predict` leaves of an ensemble that draws the same rectangles into every image."""
    predict_jobs(drawing_ensemble(labels), find_jobs([str(data / "images")], output), output, Settings())
    return output


def drawn_data(root: Path, order: Sequence[str]) -> Path:
    """Images with label maps of what `drawing_ensemble` draws, in which `order` are the labels of 1, 2, …"""
    answer = drawing_ensemble(("polyp", "lung"))
    for number in range(12):
        save(root / "images" / f"{number:02d}.png", np.full((100, 128), 40 + number))
        prediction = answer.predict(read_image(root / "images" / f"{number:02d}.png"))
        label_map = np.zeros((100, 128))
        for label, mask in zip(prediction.labels, prediction.masks, strict=True):
            label_map[mask] = 1 + list(order).index(label)
        save(root / "masks" / f"{number:02d}.png", label_map)
    return root


@pytest.mark.parametrize("order", [("polyp", "lung"), ("lung", "polyp")])
@pytest.mark.parametrize("labels", [("polyp", "lung"), ("lung", "polyp"), ("polyp",), ("lung",)])
def test_medseg_s_own_label_maps_are_read_by_their_report(
    order: Sequence[str], labels: Sequence[str], tmp_path: Path
) -> None:
    """1 is the ensemble's first label there, whatever the data call 1 and in whatever order labels are asked for."""
    data = drawn_data(tmp_path / "data", order)
    own = predicted(data, ("polyp", "lung"), tmp_path / "own")
    named = [f"{label}={1 + list(order).index(label)}" for label in labels]
    assert {*scores(tmp_path, own, data, *named).values()} == {1.0}
    assert "are read" not in notes(tmp_path)


@pytest.mark.parametrize(
    "report", ['{"masks_sha256": "0", "areas": {"A": {"px": 1e999}}, "image": {"frame": 1e999}}', ""]
)
def test_a_report_of_nonsense_beside_a_mask_is_none(tmp_path: Path, report: str) -> None:
    save(tmp_path / "a.png", drawn(0))
    place = tmp_path / "a.json"
    if report:
        place.write_text(report)
    else:
        os.mkfifo(place)
    assert own_report(tmp_path / "a.png") is None


def test_a_grey_map_for_two_labels_of_unknown_values_is_refused(tmp_path: Path) -> None:
    data = pairs(tmp_path / "data")
    for number in range(12):
        save(tmp_path / "p" / f"{number:02d}.png", np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) % 240)
    with pytest.raises(SystemExit, match="The mask holds 0, 1, 2"):
        scores(tmp_path, tmp_path / "p", data, "B=2", "A=1")


def test_medseg_s_own_label_maps_of_other_names_are_refused(tmp_path: Path) -> None:
    data = drawn_data(tmp_path / "data", ("polyp", "lung"))
    own = predicted(data, ("polyp", "lung"), tmp_path / "own")
    with pytest.raises(SystemExit, match=r"report beside it names the labels .polyp, lung., and b is wanted"):
        scores(tmp_path, own, data, "polyp=1", "b=2")
    for path in own.glob("*.json"):
        path.unlink()
    assert {*scores(tmp_path, own, data, "polyp=1", "b=2").values()} == {1.0}
    assert "medseg wrote label maps whose reports are not beside them: the ensemble may order" in notes(tmp_path)


def test_labels_that_overlap_in_medseg_s_own_label_map_are_refused(tmp_path: Path) -> None:
    """A PNG holds one label a pixel: the whole lies over its part."""

    def answer(image: Image) -> np.ndarray:
        part, whole = np.zeros((2, *image.size))
        part[5:9, 5:9] = whole[2:20, 2:20] = 1
        return np.stack([part, whole])

    data = pairs(tmp_path / "data")
    member = fake_member("a", answer, labels=("part", "whole"), task="multilabel")
    reference = MemberReference("a", member.sha256, 1.0)
    ensemble = Ensemble(EnsembleConfig("a", "multilabel", ("part", "whole"), (reference,)), [member])
    predict_jobs(ensemble, find_jobs([str(data / "images")], tmp_path / "own"), tmp_path / "own", Settings())
    with pytest.raises(SystemExit, match=r"0 pixels of part where medseg's report beside it counts 16: .* overlap"):
        scores(tmp_path, tmp_path / "own", data, "part=1", "whole=1,2")


def test_label_maps_of_volumes_are_read_by_the_data_s_values(tmp_path: Path) -> None:
    """Full predictions of nnU-Net, of which one label is asked for; slices may hold the other alone."""
    for number in range(3):
        label_map = np.stack([drawn(number + step).T for step in range(4)], axis=2).astype(np.uint8)
        for folder, array in (("imagesTr", label_map * 9.5), ("labelsTr", label_map), ("p", label_map)):
            place = (tmp_path if folder == "p" else tmp_path / "data") / folder
            place.mkdir(parents=True, exist_ok=True)
            name = f"v{number}{'_0000' if folder == 'imagesTr' else ''}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(array, np.diag([-1.0, 1, 2, 1])), place / name)
    (tmp_path / "data" / "dataset.json").write_text(json.dumps({"labels": {"kidney": 1, "tumour": 2}}))
    assert load_data(tmp_path / "data").labels == ("kidney", "tumour")
    assert scores(tmp_path, tmp_path / "p", tmp_path / "data", "tumour") == {"tumour": 1.0}
