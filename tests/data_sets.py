"""One tiny generated copy of each public layout. The masks are SMALL and TALL, which overlap."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import PIL.Image

from medseg.data.films import write_dicom
from medseg.data.rle import encode_rle

SIZE = (24, 32)


def rectangle(rows: slice, columns: slice, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[rows, columns] = True
    return mask


SMALL = rectangle(slice(4, 9), slice(10, 20))
TALL = rectangle(slice(2, 20), slice(15, 18))


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path)


def scene(seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def class_folders(root: Path) -> None:
    for stem in "abc":
        save(root / "images" / f"{stem}.jpg", scene(ord(stem)))
        save(root / "masks" / "Lung" / f"{stem}.png", SMALL)
    save(root / "masks" / "Heart" / "a.png", TALL)
    (root / "LICENCES.csv").write_text("file_name,patient,licence\na.jpg,7,x\nb.jpg,7,x\nc.jpg,9,x\n", encoding="utf-8")


def kvasir(root: Path, boxes: str = "bounding-boxes.json") -> None:
    for stem in "ab":
        save(root / "images" / f"{stem}.jpg", scene(ord(stem)))
        save(root / "masks" / f"{stem}.jpg", np.repeat(SMALL[..., None] * np.uint8(255), 3, axis=2))
    box = {"label": "polyp", "xmin": 10, "ymin": 4, "xmax": 20, "ymax": 9}
    write_json(root / boxes, {stem: {"height": 24, "width": 32, "bbox": [box]} for stem in "ab"})


def lgg(root: Path) -> None:
    for patient in ("TCGA_A", "TCGA_B", "TCGA_C"):
        for number in (2, 10):
            save(root / "kaggle_3m" / patient / f"{patient}_{number}.tif", scene(number))
            save(root / "kaggle_3m" / patient / f"{patient}_{number}_mask.tif", SMALL * np.uint8(255))
    (root / "kaggle_3m" / "data.csv").write_text("Patient,x\n", encoding="utf-8")


def chestx_det(root: Path) -> None:
    def entry(name: str, **findings: list[list[int]]) -> dict[str, Any]:
        boxes = [[x, y, points[2][0], points[2][1]] for points in findings.values() for x, y in points[:1]]
        return {"file_name": name, "syms": list(findings), "boxes": boxes, "polygons": list(findings.values())}

    small = [[10, 4], [19, 4], [19, 8], [10, 8]]
    tall = [[15, 2], [17, 2], [17, 19], [15, 19]]
    for name in ("1.png", "2.png", "3.png"):
        save(root / ("test_data" if name == "3.png" else "train_data") / name, scene(int(name[0])))
    write_json(root / "ChestX_Det_train.json", [entry("1.png", Effusion=small, Mass=tall), entry("2.png")])
    write_json(root / "ChestX_Det_test.json", [entry("3.png", Mass=tall)])
    names = "file_name,nih_name\n1.png,00000004_000.png\n2.png,00000004_001.png\n"
    (root / "chestxdet_to_nih_names.csv").write_text(names, encoding="utf-8")


def siim(root: Path) -> None:
    for stem in ("1.2.3", "1.2.4"):
        write_dicom(root / "dicom-images-train" / f"s{stem}" / "series" / f"{stem}.dcm", scene(ord(stem[-1]))[..., 0])
    rows = [("1.2.3", encode_rle(SMALL)), ("1.2.3", encode_rle(TALL)), ("1.2.4", "-1")]
    text = "ImageId, EncodedPixels\n" + "".join(f"{name}, {runs}\n" for name, runs in rows)
    (root / "train-rle.csv").write_text(text, encoding="utf-8")


def decathlon(root: Path, suffix: str = "") -> None:
    volume = np.random.default_rng(0).normal(100, 20, (10, 12, 4)).astype(np.float32)
    labels = np.zeros(volume.shape, dtype=np.uint8)
    labels[2:5, 3:7, 1], labels[6:8, 3:7, 2] = 1, 2
    for folder, name, voxels in (("imagesTr", f"v{suffix}.nii.gz", volume), ("labelsTr", "v.nii.gz", labels)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 1.0, 3.0, 1.0])), root / folder / name)
    (root / "imagesTr" / "._v.nii.gz").write_bytes(b"macOS")
    write_json(root / "dataset.json", {"labels": {"0": "background", "1": "Anterior", "2": "Posterior"}})
