"""Adapters of data sets whose masks are picture files: names and folders tell which mask belongs to which picture.

Each `read_…` lists a folder and opens no picture (volumes excepted, whose slices are counted); each `is_…` says whether
a folder has that layout. What a folder cannot mean is refused with InputError.
"""

from __future__ import annotations

import csv
import json
import re
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from medseg.data.manifest import DataSet, Sample
from medseg.data.parts import Box, MaskFile
from medseg.errors import InputError, MedsegWarning, ReadError
from medseg.reading.readers import count_frames

PAIR_FOLDERS = (("images", "masks"), ("train_images", "train_masks"), ("image", "mask"))
_BOX_FILES = ("bounding-boxes.json", "kavsir_bboxes.json")  # HyperKvasir's and, so spelt, Kvasir-SEG's
_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".nii", ".gz"}


def is_pairs(root: Path) -> bool:
    """images/ beside masks/, train_images/ beside train_masks/, or image/ beside mask/."""
    return _pair_folders(root) is not None


def read_pairs(root: Path) -> DataSet:
    """A folder of pairs: each picture has one mask file (binary, or a label map) of the same stem.

    Home page: none, the most common layout of one's own data; CVC-ClinicDB and others come in it.
    Layout: images/a.png with masks/a.png (or train_images/ and train_masks/, image/ and mask/). A volume (.nii) gives
        one sample a slice. Any csv file beside them with the columns `file_name` and `patient` or `case` gives cases.
    Licence, citation: those of the data.
    Raises InputError that names the first files without a partner.
    """
    images, masks = _pair_folders(root) or ("images", "masks")
    pictures, labelled = _by_stem(root / images), _by_stem(root / masks)
    _refuse_single(pictures.keys() ^ labelled.keys())
    cases = _given_cases(root)
    samples = [Sample(path, labelled[stem], cases.get(path.name, stem), "") for stem, path in sorted(pictures.items())]
    return DataSet("pairs", (), [part for sample in samples for part in _slices(sample)])


def is_class_folders(root: Path) -> bool:
    """As pairs, but with one folder per class among the masks."""
    folders = _pair_folders(root)
    return folders is not None and bool(_folders(root / folders[1])) and not _by_stem(root / folders[1])


def read_class_folders(root: Path) -> DataSet:
    """One folder of binary masks per class; classes may overlap, and a file that is not there is an empty mask.

    Home page: such as https://github.com/GeneralBlockchain/covid-19-chest-xray-segmentations-dataset
    Layout: images/a.jpg with masks/Left_Lung/a.png, masks/Consolidation/a.png, …; csv files with cases as for pairs.
    Licence: those masks CC BY 4.0, images as stated for each.
    Citation: Cohen et al. 2020, COVID-19 Image Data Collection: Prospective Predictions Are the Future,
        arXiv:2006.11988.
    Raises InputError for a picture without a mask in any class, or a mask without a picture.
    """
    images, masks = _pair_folders(root) or ("images", "masks")
    pictures = _by_stem(root / images)
    classes = {folder.name: _by_stem(folder) for folder in _folders(root / masks)}
    _refuse_single(pictures.keys() ^ {stem for files in classes.values() for stem in files})
    cases = _given_cases(root)
    samples = []
    for stem, path in sorted(pictures.items()):
        parts = tuple(MaskFile(label, files[stem]) for label, files in classes.items() if stem in files)
        samples.append(Sample(path, parts, cases.get(path.name, stem), ""))
    return DataSet("class-folders", tuple(classes), samples)


def is_kvasir(root: Path) -> bool:
    """Pairs with a file of bounding boxes."""
    return is_pairs(root) and any((root / name).is_file() for name in _BOX_FILES)


def read_kvasir(root: Path) -> DataSet:
    """Kvasir-SEG, and the segmented images of HyperKvasir, which are the same 1,000 polyps.

    Home page: https://datasets.simula.no/kvasir-seg/ and https://datasets.simula.no/hyper-kvasir/
    Layout: images/ID.jpg, masks/ID.jpg (JPEG: marked is above 127), bounding-boxes.json or kavsir_bboxes.json
        {ID: {"height", "width", "bbox": [{"label", "xmin", "ymin", "xmax", "ymax"}]}}; as a folder or the official zip.
        The set names no patients: every picture is a case.
    Licence: CC BY 4.0 (HyperKvasir); research and education (Kvasir-SEG).
    Citation: Jha et al. 2020, Kvasir-SEG: A Segmented Polyp Dataset, MMM, doi:10.1007/978-3-030-37734-2_37; Borgli et
        al. 2020, HyperKvasir, Scientific Data 7:283, doi:10.1038/s41597-020-00622-y.
    """
    path = next(root / name for name in _BOX_FILES if (root / name).is_file())
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        boxes = {stem: tuple(_kvasir_box(box) for box in entry["bbox"]) for stem, entry in content.items()}
        sizes = {stem: (int(entry["height"]), int(entry["width"])) for stem, entry in content.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path.name} does not hold Kvasir's bounding boxes ({error!r}).") from None
    stated = [(sample, sample.image.stem) for sample in read_pairs(root).samples]
    samples = [replace(sample, boxes=boxes.get(stem, ()), size=sizes.get(stem)) for sample, stem in stated]
    return DataSet("kvasir", ("polyp",), samples)


def is_lgg(root: Path) -> bool:
    """A folder, or one whose kaggle_3m/ has, patients' folders with *_mask.tif."""
    return any(True for _ in _lgg_home(root).glob("*/*_mask.tif"))


def read_lgg(root: Path) -> DataSet:
    """LGG: FLAIR abnormality in brain MRI of lower-grade glioma, TCGA.

    Home page: https://www.kaggle.com/datasets/mateuszbuda/lgg-mri-segmentation
    Layout: kaggle_3m/PATIENT/PATIENT_5.tif (RGB = pre-contrast, FLAIR, post-contrast) and PATIENT_5_mask.tif; case =
        patient, whose slices are alike: never divide them. The zip holds a second copy, which is left alone.
    Licence: masks CC BY-NC-SA 4.0; images of The Cancer Imaging Archive, CC BY 3.0.
    Citation: Buda et al. 2019, Association of genomic subtypes of lower-grade gliomas with shape features automatically
        extracted by a deep learning algorithm, Comput. Biol. Med. 109, doi:10.1016/j.compbiomed.2019.05.002.
    Raises InputError for a slice without mask or a mask without slice.
    """
    samples, single = [], set[str]()
    for patient in _folders(_lgg_home(root)):
        files = _by_stem(patient)
        masks = {stem.removesuffix("_mask"): path for stem, path in files.items() if stem.endswith("_mask")}
        pictures = {stem: path for stem, path in files.items() if not stem.endswith("_mask")}
        single |= pictures.keys() ^ masks.keys()
        shared = sorted(pictures.keys() & masks.keys(), key=_slice_number)
        samples += [Sample(pictures[stem], masks[stem], patient.name, "") for stem in shared]
    _refuse_single(single)
    return DataSet("lgg", ("tumour",), samples)


def is_decathlon(root: Path) -> bool:
    """imagesTr/ beside labelsTr/."""
    return (root / "imagesTr").is_dir() and (root / "labelsTr").is_dir()


def read_decathlon(root: Path) -> DataSet:
    """NIfTI volumes in the layout of the Medical Segmentation Decathlon and of nnU-Net, as axial slices.

    Home page: http://medicaldecathlon.com and https://github.com/MIC-DKFZ/nnUNet
    Layout: imagesTr/a.nii.gz (nnU-Net: a_0000.nii.gz) with labelsTr/a.nii.gz, label maps; dataset.json "labels" names
        the values. Slices count from the feet; case = volume. The modalities of 4-D files are channels; of nnU-Net's
        channels, which are files, the first is read, and a MedsegWarning counts the others. Pictures and masks are
        turned alike by their affines (`medseg.reading.nifti`).
    Licence: Decathlon CC BY-SA 4.0; else that of the data.
    Citation: Antonelli et al. 2022, The Medical Segmentation Decathlon, Nature Communications 13:4128; Isensee et al.
        2021, nnU-Net, Nature Methods 18.
    """
    masks, files = _by_stem(root / "labelsTr"), _by_stem(root / "imagesTr")
    further = {stem for stem in files.keys() - masks.keys() if re.fullmatch(r".+_00(0[1-9]|[1-9]\d)", stem)}
    if further:
        sentence = (
            f"{len(further)} files of further channels are left out, the first: {min(further)}: save volumes 4-D."
        )
        warnings.warn(sentence, MedsegWarning, stacklevel=3)
    pictures = {
        stem if stem in masks else stem.removesuffix("_0000"): path
        for stem, path in files.items()
        if stem not in further
    }
    _refuse_single(pictures.keys() ^ masks.keys())
    volumes = [Sample(pictures[stem], masks[stem], stem, "") for stem in sorted(pictures)]
    return DataSet("decathlon", _decathlon_labels(root), [part for volume in volumes for part in _slices(volume)])


def _decathlon_labels(root: Path) -> tuple[str, ...]:
    """The names of values 1, 2, …: the Decathlon writes {"1": name}, nnU-Net {name: 1}. () without dataset.json."""
    path = root / "dataset.json"
    if not path.is_file():
        return ()
    try:
        given = json.loads(path.read_text(encoding="utf-8"))["labels"].items()
        names = {int(key): str(value) for key, value in given if str(key).isdigit()}
        names = names or {int(value): str(key) for key, value in given}
        return tuple(names[value] for value in range(1, len(names)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError('dataset.json does not name its values as {"labels": {"0": "background", …}}.') from None


def _pair_folders(root: Path) -> tuple[str, str] | None:
    return next((pair for pair in PAIR_FOLDERS if all((root / name).is_dir() for name in pair)), None)


def _folders(root: Path) -> list[Path]:
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _lgg_home(root: Path) -> Path:
    return root / "kaggle_3m" if (root / "kaggle_3m").is_dir() else root


def _slice_number(stem: str) -> tuple[int, str]:
    number = stem.rpartition("_")[2]
    return int(number) if number.isdigit() else 0, stem


def _by_stem(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in _SUFFIXES or path.name.startswith("."):  # macOS leaves ._files behind
            continue
        stem = path.name.removesuffix(".gz").rpartition(".")[0] if path.suffix == ".gz" else path.stem
        if stem in files:
            raise InputError(f"{folder.name}/ holds two files with the stem {stem}: keep one.")
        files[stem] = path
    return files


def _refuse_single(stems: set[str]) -> None:
    if stems:
        raise InputError(
            f"{len(stems)} files have no partner of the same stem, the first: {', '.join(sorted(stems)[:5])}. "
            "Every picture needs one mask."
        )


def _given_cases(root: Path) -> dict[str, str]:
    """File name → case, from the csv files that have both columns."""
    cases: dict[str, str] = {}
    for path in sorted(root.glob("*.csv")):
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            for row in csv.DictReader(file):
                case = row.get("patient") or row.get("case")
                if row.get("file_name") and case:
                    cases[row["file_name"]] = case
    return cases


def _slices(volume: Sample) -> list[Sample]:
    """One sample a slice of a NIfTI volume; other pictures, and what cannot be read, as they are: `verify` names it."""
    if volume.image.suffix not in (".nii", ".gz"):
        return [volume]
    try:
        frames = count_frames(volume.image)
    except ReadError:
        return [volume]
    return [replace(volume, frame=frame) for frame in range(frames)]


def _kvasir_box(entry: dict[str, Any]) -> Box:
    left, top, right, bottom = (float(entry[side]) for side in ("xmin", "ymin", "xmax", "ymax"))
    return Box("polyp", left, top, right, bottom)
