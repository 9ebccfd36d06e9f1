"""DICOM results of every kind of source, and programs that others wrote to read them: pydicom, highdicom, dcmqi (DCMTK)
and dciodvfy. `READERS` raise where one does not open, or shows something else than was written."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pydicom

from medseg.export.results import KINDS, write_results
from medseg.export.secondary_capture import draw_capture
from medseg.inference.prediction import Prediction
from medseg.postprocess import to_label_map
from tests.dicom_sources import write_source
from tests.segmented import LABELS, drawing_ensemble, segment_files

PROGRAMS = Path(sys.executable).parent


@dataclass(frozen=True)
class Result:
    """One result of a `kind` of `export.results`, what it was written from, and which label's map it is."""

    path: Path
    kind: str
    predictions: list[Prediction]
    source: Path
    number: int = 0

    @property
    def probabilities(self) -> np.ndarray:
        """(labels, frames, H, W)"""
        return np.stack([each.probabilities for each in self.predictions], axis=1)

    @property
    def masks(self) -> np.ndarray:
        return np.stack([each.masks for each in self.predictions], axis=1)

    def check(self, pixels: np.ndarray) -> None:
        """That a reader's `pixels`, a plane for each frame (and label), are what was written."""
        first = self.predictions[0]
        if self.kind == "capture":
            drawn, factor = draw_capture(first)
            above = factor * first.image.size[0]  # of the text, which holds the time
            assert np.array_equal(pixels[:above], drawn[:above])
            return
        planes = pixels.reshape(-1, *first.image.size)
        if self.kind == "probabilities":
            assert np.abs(planes / 255 - self.probabilities.reshape(planes.shape)).max() <= 0.51 / 255
        elif self.kind == "map":
            assert np.array_equal(planes, self.probabilities[self.number])
        elif self.kind == "label-map":
            assert np.array_equal(planes, [to_label_map(each.masks) for each in self.predictions])
        else:
            assert np.array_equal(planes, self.masks.reshape(planes.shape))


def results_of(
    source: str,
    folder: Path,
    labels: tuple[str, ...] = LABELS,
    empty: bool = False,
    *,
    kinds: Sequence[str] = KINDS,
    study: str | None = None,
) -> tuple[list[Path], list[Result]]:
    """The files of a series of this kind of source, and of its results of these `kinds`: of captures one, of maps one a
    label. All masks are `empty` where that is asked for."""
    paths = write_source(source, folder, study=study)
    predictions, files = segment_files(paths, drawing_ensemble(labels, empty=empty))
    results = []
    for kind in kinds:
        used = slice(0, 1 if kind == "capture" else None)
        stem = folder / f"{len(labels)}-{'nothing' if empty else 'found'}"
        written = write_results(predictions[used], files[used], stem, [kind])
        results += [Result(path, kind, predictions[used], paths[0], number) for number, path in enumerate(written)]
    return paths, results


def read_by_pydicom(result: Result) -> None:
    result.check(pydicom.dcmread(result.path).pixel_array)


def read_by_highdicom(result: Result) -> None:
    if result.kind in ("capture", "map"):
        result.check(highdicom.imread(result.path).pixel_array)
        return
    seg, labels = highdicom.seg.segread(result.path), result.predictions[0].labels
    assert tuple(seg.get_segment_description(number + 1).segment_label for number in range(len(labels))) == labels
    result.check(seg.pixel_array)


def read_by_dcmqi(result: Result) -> None:
    """Its volumes are one for each label and value; they lie in the patient, so that planes may be turned."""
    volumes = _volumes(result)
    if result.kind == "map":
        (volume,) = volumes
        assert np.allclose(np.sort(volume.ravel()), np.sort(result.probabilities[result.number].ravel()), atol=1e-6)
        return
    counts = [int((volume == value).sum()) for volume in volumes for value in np.unique(volume[volume > 0])]
    areas = [int(mask.sum()) for mask in result.masks]
    assert bool(counts) == any(areas)
    assert result.kind == "probabilities" or counts == [area for area in areas if area]


def _volumes(result: Result) -> list[np.ndarray]:
    program = PROGRAMS / ("paramap2itkimage" if result.kind == "map" else "segimage2itkimage")
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "--inputDICOM", result.path, "--outputDirectory", folder, "--outputType", "nifti"]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        return [np.asarray(nibabel.load(file).dataobj).copy() for file in sorted(Path(folder).glob("*.nii.gz"))]


def read_by_dciodvfy(result: Result) -> None:
    assert [error for error in errors(result.path) if error not in errors(result.source)] == []


@functools.cache
def errors(path: Path) -> list[str]:
    """What dciodvfy calls an error, but that it does not know label maps, which are younger than Debian's."""
    told = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace", timeout=60, check=False)
    lines = (told.stdout + told.stderr).splitlines()
    return [line for line in lines if line.startswith("Error") and "Information Object Not found" not in line]


READERS: dict[str, Callable[[Result], None]] = {
    "pydicom": read_by_pydicom,
    "highdicom": read_by_highdicom,
    "dcmqi": read_by_dcmqi,
    "dciodvfy": read_by_dciodvfy,
}


def why_not(reader: str) -> str | None:
    """Why a reader cannot be asked here, None where it can."""
    if reader == "dcmqi" and not (PROGRAMS / "segimage2itkimage").exists():
        return "dcmqi is not installed (extra dev)"
    if reader == "dciodvfy" and shutil.which("dciodvfy") is None:
        return "dciodvfy is missing: apt-get install dicom3tools"
    return None


def reads(reader: str, result: Result) -> bool:
    """dcmqi reads segmentations and maps alone, and slowly: the first label's map stands for the others."""
    return reader != "dcmqi" or (result.kind != "capture" and result.number == 0)
