"""Synthetic chest films laid out as SIIM-ACR lays out its own: DICOM files and a csv of run lengths.

SIIM-ACR's films may not be redistributed. One film in three, drawn at random, shows a lung that has come away from the
chest wall: air without vessels, darker than the lung, behind a thin white line. The others show none.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset

from medseg.data.phantoms import Canvas, Scene, bones, line, lung_fields, soft, trunk, vessels
from medseg.data.rle import encode_rle

SHARE = 1 / 3
"""Films with a pneumothorax; of SIIM-ACR's training films 22 % have one."""


def draw_film(seed: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (H, W), uint8, and the pneumothorax, (H, W) bool and empty on two films in three."""
    canvas = Canvas(size, np.random.default_rng(seed))
    image, mask = _film(canvas, ill=canvas.vary(0, 1) < SHARE)
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8), mask


def _film(c: Canvas, ill: bool) -> Scene:
    body = c.turned((c.vary(-0.04, 0.04), c.vary(-0.04, 0.04)), c.vary(-0.04, 0.04))
    heart = soft(body.turned((0.26, 0.14), -c.vary(0.3, 0.8)).oval((0, 0), (0.42, c.vary(0.22, 0.34))), 0.15)
    lungs = lung_fields(body) * (1 - 0.85 * heart)
    side = c.rng.choice((-1, 1))
    # what is left of the lung: an oval drawn down and towards its root, so that air lies above and outside it
    rest = body.turned((c.vary(0.1, 0.2), side * c.vary(0.3, 0.36)), side * c.vary(-0.1, 0.1))
    lung = rest.oval((0, 0), (c.vary(0.5, 0.66), c.vary(0.22, 0.27)), ragged=0.04)
    air = (1 - soft(lung, 0.03)) * (side * body.x > 0) * ill
    edge = line(lung - 1, 0.03) * (side * body.x > 0) * ill

    inside = vessels(body) * (1 - air) - c.vary(0.66, 0.76) - 0.1 * air + 0.1 * edge
    loss = trunk(body) + 0.25 * heart + bones(body) + lungs * inside
    mask = (lungs > 0.5) & (air > 0.5)
    return 1 - np.exp(-c.vary(1.1, 1.6) * np.clip(loss, 0.02, None)), mask


def write_siim(folder: Path, count: int, size: tuple[int, int], seed: int = 0) -> None:
    """Write `count` films, of `seed` and the seeds after it, as `medseg.data.layouts.siim.read_siim` reads them."""
    folder.mkdir(parents=True)
    rows = ["ImageId, EncodedPixels"]
    for number in range(seed, seed + count):
        pixels, mask = draw_film(number, size)
        name = f"film-{number:05d}"
        write_dicom(folder / "dicom-images-train" / name / name / f"{name}.dcm", pixels)
        rows.append(f"{name}, {encode_rle(mask)}")
    (folder / "train-rle.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def write_dicom(path: Path, pixels: np.ndarray) -> None:
    """Write pixels (H, W), 8 bits, as an uncompressed MONOCHROME2 film; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[path.stem])
    file = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.Rows, file.Columns = pixels.shape
    file.Modality, file.PhotometricInterpretation, file.SamplesPerPixel = "CR", "MONOCHROME2", 1
    file.BitsAllocated = file.BitsStored = 8
    file.HighBit, file.PixelRepresentation = 7, 0
    file.PixelData = pixels.tobytes()
    file.save_as(path, enforce_file_format=True)
