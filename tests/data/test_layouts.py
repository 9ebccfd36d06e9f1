"""Public layouts → samples: one tiny generated copy of each, and the real sets where they lie beside the checkout."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medseg.data.films import write_dicom
from medseg.data.manifest import Sample, write_manifest
from medseg.data.parts import Box
from medseg.data.samples import load_data, split_hash
from medseg.errors import InputError, MedsegWarning, ReadError
from tests.data_sets import (
    SMALL,
    TALL,
    chestx_det,
    class_folders,
    decathlon,
    kvasir,
    lgg,
    save,
    scene,
    siim,
    write_json,
)


def read_one(samples: list[Sample], name: str, labels: list[str]) -> np.ndarray:
    return next(s for s in samples if s.image.name == name).read(labels)[1]


# --- each layout


def test_class_folders_give_overlapping_masks_and_cases(tmp_path: Path) -> None:
    class_folders(tmp_path)
    with pytest.warns(MedsegWarning, match=r"Taken as empty: .* folder of a class \(2\), the first: Heart/b, Heart/c"):
        found = load_data(tmp_path)
    assert (found.layout, found.labels) == ("class-folders", ("Heart", "Lung"))
    assert [s.case for s in found.samples] == ["7", "7", "9"]
    np.testing.assert_array_equal(read_one(found.samples, "a.jpg", ["Lung", "Heart"]), [SMALL, TALL])
    assert not read_one(found.samples, "b.jpg", ["Heart"]).any()


def test_an_image_without_a_mask_in_any_class_is_refused(tmp_path: Path) -> None:
    class_folders(tmp_path)
    save(tmp_path / "images" / "d.jpg", scene())
    with pytest.raises(InputError, match="1 files have no partner of the same stem, the first: d"):
        load_data(tmp_path)


@pytest.mark.parametrize("boxes", ["bounding-boxes.json", "kavsir_bboxes.json"])
def test_kvasir_has_masks_and_boxes(tmp_path: Path, boxes: str) -> None:
    kvasir(tmp_path, boxes)
    found = load_data(tmp_path)
    assert (found.layout, found.labels) == ("kvasir", ("polyp",))
    assert found.samples[0].boxes == (Box("polyp", 10, 4, 20, 9),)
    np.testing.assert_array_equal(read_one(found.samples, "a.jpg", ["polyp"]), [SMALL])


def test_kvasir_may_be_the_official_zip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))
    kvasir(tmp_path / "in" / "segmented-images")
    shutil.make_archive(str(tmp_path / "hyper-kvasir-segmented-images"), "zip", tmp_path / "in")
    found = load_data(tmp_path / "hyper-kvasir-segmented-images.zip")
    assert (found.layout, len(found.samples)) == ("kvasir", 2)
    assert found.samples[0].read(["polyp"])[1].sum() == SMALL.sum()


def test_boxes_are_the_masks_where_asked(tmp_path: Path) -> None:
    kvasir(tmp_path / "kvasir")
    np.testing.assert_array_equal(load_data(tmp_path / "kvasir", boxes=True).samples[0].read(["polyp"])[1], [SMALL])
    lgg(tmp_path / "lgg")
    with pytest.raises(InputError, match=r"\(lgg\) holds no bounding boxes"):
        load_data(tmp_path / "lgg", boxes=True)


@pytest.mark.parametrize("place", [".", "kaggle_3m"])
def test_lgg_goes_by_patient_and_honours_splits_beside_it(tmp_path: Path, place: str) -> None:
    lgg(tmp_path)
    splits = {"unit": "patient (folder name)", "test": ["TCGA_A"], "val": ["TCGA_B"], "train": ["TCGA_C"]}
    write_json(tmp_path / "splits.json", splits)
    found = load_data(tmp_path / place)
    assert (found.layout, found.labels) == ("lgg", ("tumour",))
    assert [s.image.stem for s in found.samples[:2]] == ["TCGA_A_2", "TCGA_A_10"]
    assert [s.split for s in found.samples] == ["test", "test", "val", "val", "train", "train"]
    np.testing.assert_array_equal(found.samples[0].read(["tumour"])[1], [SMALL])


def test_an_lgg_slice_without_mask_is_refused(tmp_path: Path) -> None:
    lgg(tmp_path)
    (tmp_path / "kaggle_3m" / "TCGA_B" / "TCGA_B_2_mask.tif").unlink()
    with pytest.raises(InputError, match="the first: TCGA_B_2"):
        load_data(tmp_path)


def test_chestx_det_findings_overlap(tmp_path: Path) -> None:
    chestx_det(tmp_path)
    found = load_data(tmp_path)
    assert (found.layout, len(found.labels)) == ("chestx-det", 13)
    assert [s.case for s in found.samples] == ["00000004", "00000004", "3"]
    assert found.samples[2].split == "test"
    np.testing.assert_array_equal(read_one(found.samples, "1.png", ["Mass", "Effusion"]), [TALL, SMALL])
    assert not read_one(found.samples, "2.png", ["Mass", "Effusion"]).any()


def test_classes_are_chosen_or_united(tmp_path: Path) -> None:
    chestx_det(tmp_path)
    chosen = load_data(tmp_path, labels=["Mass"])
    assert chosen.labels == ("Mass",)
    assert [len(s.mask) for s in chosen.samples] == [1, 0, 1]
    for classes in (["Mass", "Effusion"], ["*"]):
        united = load_data(tmp_path, labels={"finding": classes})
        np.testing.assert_array_equal(read_one(united.samples, "1.png", ["finding"]), [TALL | SMALL])
        assert {box.label for s in united.samples for box in s.boxes} == {"finding"}


def test_a_class_that_the_set_does_not_have_is_refused(tmp_path: Path) -> None:
    chestx_det(tmp_path)
    with pytest.raises(InputError, match="There is no class Tumour here; there are Atelectasis"):
        load_data(tmp_path, labels=["Mass", "Tumour"])


def test_masks_without_class_names_can_be_named_but_not_united(tmp_path: Path) -> None:
    lgg(tmp_path)
    assert load_data(tmp_path, labels=["glioma"]).labels == ("glioma",)
    with pytest.raises(InputError, match="do not name their classes"):
        load_data(tmp_path, labels={"any": ["tumour"]})


def test_annotated_images_that_are_not_there_are_left_out_and_counted(tmp_path: Path) -> None:
    chestx_det(tmp_path)
    (tmp_path / "train_data" / "2.png").unlink()
    with pytest.warns(MedsegWarning, match=r"Left out: annotated images that are not here \(1\), the first: 2\.png"):
        assert len(load_data(tmp_path).samples) == 2


def test_one_annotation_file_is_a_data_set_too(tmp_path: Path) -> None:
    chestx_det(tmp_path)
    assert [s.image.name for s in load_data(tmp_path / "ChestX_Det_train.json").samples] == ["1.png", "2.png"]


def test_siim_unites_the_rows_of_a_film(tmp_path: Path) -> None:
    siim(tmp_path)
    found = load_data(tmp_path)
    assert (found.layout, found.labels) == ("siim-acr", ("pneumothorax",))
    np.testing.assert_array_equal(read_one(found.samples, "1.2.3.dcm", ["pneumothorax"]), [SMALL | TALL])
    assert not read_one(found.samples, "1.2.4.dcm", ["pneumothorax"]).any()


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_siim_films_that_were_converted_are_read(tmp_path: Path, suffix: str) -> None:
    siim_converted(tmp_path, suffix, (1024, 1024))
    save(tmp_path / "masks" / f"a{suffix}", scene())
    found = load_data(tmp_path, layout="siim-acr", quiet=True)
    assert [(sample.case, sample.image.name) for sample in found.samples] == [("a", f"a{suffix}"), ("b", f"b{suffix}")]
    assert found.taken.endswith(f"images *{suffix}")
    assert not [entry for entry in found.left_out if "not here" in entry.what]
    assert found.samples[0].read(found.labels)[1].sum() == 5


def test_a_converted_siim_film_of_another_size_is_refused(tmp_path: Path) -> None:
    siim_converted(tmp_path, ".png", (512, 512))
    found = load_data(tmp_path)
    with pytest.raises(
        ReadError, match=r"images/a\.png: The run lengths are for 1024 × 1024 .* the image has 512 × 512"
    ):
        found.samples[0].read(found.labels)


def siim_converted(root: Path, suffix: str, size: tuple[int, int]) -> None:
    for stem in "ab":
        save(root / "images" / f"{stem}{suffix}", np.full(size, 90, np.uint8))
    (root / "train-rle.csv").write_text("ImageId,EncodedPixels\na,10 5\nb,-1\n", encoding="utf-8")


def test_siim_films_keep_their_dicom_before_a_copy(tmp_path: Path) -> None:
    siim(tmp_path)
    save(tmp_path / "png" / "1.2.3.png", scene())
    with pytest.warns(MedsegWarning, match=r"copies of films in another format \(1\), the first: 1\.2\.3\.png"):
        assert [sample.image.suffix for sample in load_data(tmp_path).samples] == [".dcm", ".dcm"]


def test_siim_films_without_row_and_rows_without_film_are_left_out_and_counted(tmp_path: Path) -> None:
    siim(tmp_path)
    write_dicom(tmp_path / "dicom-images-test" / "9.dcm", scene()[..., 0])
    (tmp_path / "dicom-images-train" / "s1.2.4" / "series" / "1.2.4.dcm").unlink()
    with (
        pytest.warns(MedsegWarning, match=r"images without a row in the table \(1\)"),
        pytest.warns(MedsegWarning, match=r"images of the table that are not here \(1\)"),
    ):
        assert [s.case for s in load_data(tmp_path).samples] == ["1.2.3"]


@pytest.mark.parametrize("suffix", ["", "_0000"])
def test_volumes_become_slices_of_one_case(tmp_path: Path, suffix: str) -> None:
    decathlon(tmp_path, suffix)
    found = load_data(tmp_path)
    assert (found.layout, found.labels) == ("decathlon", ("Anterior", "Posterior"))
    assert [(s.case, s.frame) for s in found.samples] == [("v", frame) for frame in range(4)]
    marked = [s.read(found.labels)[1].sum(axis=(1, 2)).tolist() for s in found.samples]
    assert marked == [[0, 0], [12, 0], [0, 8], [0, 0]]


def test_nnunets_channel_files_are_joined_in_their_order(tmp_path: Path) -> None:
    decathlon(tmp_path, "_0000")
    volume = nibabel.load(tmp_path / "imagesTr" / "v_0000.nii.gz")
    turned = nibabel.Nifti1Image(-np.asarray(volume.dataobj), volume.affine)
    nibabel.save(turned, tmp_path / "imagesTr" / "v_0001.nii.gz")
    sample = load_data(tmp_path).samples[1]
    pixels = sample.read(["Anterior"])[0].pixels
    assert pixels.shape[2] == 2
    np.testing.assert_allclose(pixels[..., 0], 1 - pixels[..., 1], atol=1e-6)
    write_manifest([sample], ["Anterior", "Posterior"], tmp_path / "m.json")
    assert load_data(tmp_path / "m.json", divide=False).samples == [sample]


def test_a_channel_that_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    decathlon(tmp_path, "_0000")
    volume = nibabel.load(tmp_path / "imagesTr" / "v_0000.nii.gz")
    affine = volume.affine @ np.diag([-1.0, 1, 1, 1])
    nibabel.save(nibabel.Nifti1Image(np.asarray(volume.dataobj), affine), tmp_path / "imagesTr" / "v_0001.nii.gz")
    with pytest.raises(ReadError, match=r"v_0001\.nii\.gz: This channel's affine is not that of the first"):
        load_data(tmp_path).samples[1].read_image()


def test_a_case_without_a_channel_that_others_have_is_refused(tmp_path: Path) -> None:
    decathlon(tmp_path, "_0000")
    for folder, name in (("imagesTr", "w_0000"), ("imagesTr", "w_0001"), ("labelsTr", "w")):
        source = "v_0000" if folder == "imagesTr" else "v"
        shutil.copy(tmp_path / folder / f"{source}.nii.gz", tmp_path / folder / f"{name}.nii.gz")
    with pytest.raises(InputError, match=r"v has the channels \[0\], others 2"):
        load_data(tmp_path)


def test_pairs_of_volumes_become_slices(tmp_path: Path) -> None:
    decathlon(tmp_path / "d")
    (tmp_path / "d" / "imagesTr").rename(tmp_path / "images")
    (tmp_path / "d" / "labelsTr").rename(tmp_path / "masks")
    assert [s.frame for s in load_data(tmp_path).samples] == [0, 1, 2, 3]


def test_a_layout_may_be_named(tmp_path: Path) -> None:
    kvasir(tmp_path)
    assert load_data(tmp_path, layout="pairs").labels == ()
    with pytest.raises(InputError, match="There is no layout 'coco17'"):
        load_data(tmp_path, layout="coco17")
    with pytest.raises(InputError, match=r"in no layout that medseg knows.*Wanted lgg"):
        load_data(tmp_path, layout="lgg")


# --- the real sets, listed, and a few read


def test_the_real_kvasir_keeps_its_splits(real_data: Path) -> None:
    samples = load_data(real_data / "polyp" / "kvasir-seg").samples
    assert Counter(s.split for s in samples) == {"train": 700, "val": 100, "test": 100}
    assert split_hash(samples) == "59d5a685513d4e75883e16253879766b06bacd41784e3612ce2a13fde9f6146c"
    masks = samples[0].read(["polyp"])[1]
    (box,) = samples[0].boxes
    rows, columns = np.flatnonzero(masks[0].any(axis=1)), np.flatnonzero(masks[0].any(axis=0))
    assert np.abs([columns[0] - box.left, columns[-1] + 1 - box.right, rows[0] - box.top]).max() <= 1


def test_the_real_lgg_is_split_by_patient(real_data: Path) -> None:
    samples = load_data(real_data / "brain" / "lgg-mri-segmentation").samples
    assert (len(samples), len({s.case for s in samples})) == (427, 88)
    patients = Counter({s.case: s.split for s in samples}.values())
    assert patients == {"train": 56, "val": 16, "test": 16}


def test_the_real_chestx_det_outlines_fill_their_boxes(real_data: Path) -> None:
    with pytest.warns(MedsegWarning, match=r"annotated images that are not here \(3512\)"):
        samples = load_data(real_data / "chest" / "chestx-det", fold=2).samples
    assert Counter(s.split for s in samples) == {"train": 40, "val": 12, "test": 14}
    for sample in [s for s in samples if s.boxes][:5]:
        image, _ = sample.read(["Mass"])
        for part, box in zip(sample.mask, sample.boxes, strict=True):
            rows, columns = (np.flatnonzero(part.draw(image.size).any(axis=axis)) for axis in (1, 0))
            edges = [columns[0] - box.left, columns[-1] - box.right, rows[0] - box.top, rows[-1] - box.bottom]
            assert np.abs(edges).max() <= 2


def test_the_real_covid_films_have_overlapping_masks(real_data: Path) -> None:
    found = load_data(real_data / "chest" / "covid-cxr", quiet=True)
    assert (len(found.samples), len({s.case for s in found.samples}), len(found.labels)) == (30, 23, 13)
    masks = found.samples[0].read(["Left_Lung", "Ground_Glass_Opacities"])[1]
    assert masks.all(axis=0).any()


def test_the_real_clinicdb_is_a_folder_of_pairs(real_data: Path) -> None:
    found = load_data(real_data / "polyp" / "cvc-clinicdb")
    assert (found.layout, len(found.samples)) == ("pairs", 136)
