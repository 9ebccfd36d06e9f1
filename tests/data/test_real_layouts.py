"""Real images and masks carried into layouts that no real set beside this checkout has, and read back."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import PIL.Image
import pytest

from medseg.data.coco import read_coco, write_coco
from medseg.data.films import write_dicom
from medseg.data.manifest import Sample
from medseg.data.rle import encode_rle
from medseg.data.samples import load_data
from medseg.metrics import confusion
from medseg.reading.readers import read_image


def test_lgg_slices_come_back_from_nifti_volumes_of_three_modalities(real_data: Path, tmp_path: Path) -> None:
    """RGB is pre-contrast, FLAIR and post-contrast: three channels of a 4-D file, as the Decathlon has them."""
    samples = load_data(real_data / "brain" / "lgg-mri-segmentation").samples
    for patient in sorted({s.case for s in samples})[:3]:
        slices = [s for s in samples if s.case == patient]
        images = np.stack([np.asarray(PIL.Image.open(s.image)) for s in slices], axis=2)
        masks = np.stack([s.read(["tumour"])[1][0] for s in slices], axis=2)
        for folder, voxels in (("imagesTr", images), ("labelsTr", masks.astype(np.uint8))):
            (tmp_path / folder).mkdir(exist_ok=True)
            turned = np.ascontiguousarray(voxels.swapaxes(0, 1)[::-1, ::-1])  # row and column → right and front
            nibabel.save(nibabel.Nifti1Image(turned, np.eye(4)), tmp_path / folder / f"{patient}.nii.gz")
    (tmp_path / "dataset.json").write_text('{"labels": {"0": "background", "1": "tumour"}}', encoding="utf-8")
    found = load_data(tmp_path)
    assert (found.layout, found.labels) == ("decathlon", ("tumour",))
    patients = {s.case for s in found.samples}
    originals = [s for s in samples if s.case in patients]
    assert len(originals) == len(found.samples) >= 12
    volumes = {
        patient: np.stack([s.read(["tumour"])[0].pixels for s in originals if s.case == patient])
        for patient in patients
    }
    for before, after in zip(originals, found.samples, strict=True):
        (image, masks), (again, same) = before.read(["tumour"]), after.read(["tumour"])
        np.testing.assert_array_equal(masks, same)
        low, high = (f(volumes[before.case], axis=(0, 1, 2)) for f in (np.min, np.max))  # a window for each modality
        np.testing.assert_allclose(again.pixels, (image.pixels - low) / (high - low), atol=1e-5)
    assert any(s.read(["tumour"])[1].any() for s in found.samples)


@pytest.mark.filterwarnings("ignore::medseg.errors.MedsegWarning")  # most annotated films are not here
@pytest.mark.parametrize("union", [False, True], ids=["each class", "their union"])
def test_chestx_det_outlines_come_back_from_coco(real_data: Path, tmp_path: Path, union: bool) -> None:
    labels = {"finding": ["*"]} if union else None
    found = load_data(real_data / "chest" / "chestx-det", labels=labels)
    samples = [s for s in found.samples if s.mask][:12]
    write_coco(samples, found.labels, tmp_path / "coco.json")
    again = read_coco(tmp_path / "coco.json").samples
    assert [s.image.name for s in again] == [s.image.name for s in samples]
    for before, after in zip(samples, again, strict=True):
        masks, same = before.read(found.labels)[1], after.read(found.labels)[1]
        assert masks.any()
        assert [confusion(a, b).dice for a, b in zip(masks, same, strict=True)] == [1.0] * len(found.labels)


def test_kvasir_images_come_back_from_a_zip(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))
    home = real_data / "polyp" / "kvasir-seg"
    samples = load_data(home).samples[:6]
    with zipfile.ZipFile(tmp_path / "hyper-kvasir-segmented-images.zip", "w") as archive:
        archive.write(home / "bounding-boxes.json", "segmented-images/bounding-boxes.json")
        for path in (path for sample in samples for path in sample.files):
            archive.write(path, f"segmented-images/{path.parent.name}/{path.name}")
    found = load_data(tmp_path / "hyper-kvasir-segmented-images.zip")
    assert (found.layout, [s.image.name for s in found.samples]) == ("kvasir", [s.image.name for s in samples])
    for before, after in zip(samples, found.samples, strict=True):
        assert (before.boxes, before.size) == (after.boxes, after.size)
        (image, masks), (again, same) = before.read(["polyp"]), after.read(["polyp"])
        assert image.sha256 == again.sha256
        np.testing.assert_array_equal(masks, same)


def film_with_findings(sample: Sample, labels: tuple[str, ...], path: Path) -> tuple[np.ndarray, list[np.ndarray]]:
    """Write the film as DICOM; returns its grey values and the mask of each finding on it."""
    image, masks = sample.read(labels)
    grey = np.round(image.pixels[..., 0] * 255).astype(np.uint8)
    write_dicom(path, grey)
    return grey, [mask for mask in masks if mask.any()]


@pytest.mark.filterwarnings("ignore::medseg.errors.MedsegWarning")
def test_chest_films_come_back_from_dicom_beside_run_lengths(real_data: Path, tmp_path: Path) -> None:
    """The column's leading space, several rows a film, and -1, as SIIM-ACR's first release has them."""
    found = load_data(real_data / "chest" / "chestx-det")
    chosen = [*(s for s in found.samples if len(s.mask) > 1), *(s for s in found.samples if not s.mask)]
    chosen = [*chosen[:4], *chosen[-2:]]
    films = {}
    with (tmp_path / "train-rle.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["ImageId", " EncodedPixels"])
        for number, sample in enumerate(chosen):
            name = f"1.2.276.{number}"
            path = tmp_path / "dicom-images-train" / f"{name}.1" / f"{name}.2" / f"{name}.dcm"
            films[name] = film_with_findings(sample, found.labels, path)
            for runs in map(encode_rle, films[name][1] or [np.zeros((2, 2), dtype=bool)]):
                table.writerow([name, f" {runs}"])
    assert {"-1"} < {line.split(", ")[1] for line in (tmp_path / "train-rle.csv").read_text().splitlines()}
    siim = load_data(tmp_path)
    assert (siim.layout, [s.case for s in siim.samples]) == ("siim-acr", list(films))
    assert max(len(masks) for _, masks in films.values()) > 1
    for sample in siim.samples:
        grey, masks = films[sample.case]
        united = np.any(masks, axis=0) if masks else np.zeros(grey.shape, dtype=bool)
        np.testing.assert_array_equal(sample.read(["pneumothorax"])[1], [united])
        low, high = grey.min(), grey.max()  # without a window the range is shown
        np.testing.assert_allclose(read_image(sample.image).pixels[..., 0], (grey - low) / (high - low), atol=1e-6)
