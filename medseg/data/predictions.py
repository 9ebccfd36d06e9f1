"""Predictions that medseg did not make: which file, or which rows of one file, belong to which sample.

predictions = open_predictions("unet", Path("unet_masks"), samples, labels)
predictions.read(0, image).masks
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from medseg.data.coco import is_coco, read_coco
from medseg.data.label_maps import Coding, MaskReader, coding_of, mask_reader
from medseg.data.layouts.tables import read_rows
from medseg.data.left_out import left_out
from medseg.data.listing import (
    IMAGE_WORDS,
    MASK_WORDS,
    is_image,
    mask_base,
    split_of,
    stem_of,
    suffix_of,
    walk,
    without_words,
    words,
)
from medseg.data.manifest import Sample, naming, read_json
from medseg.data.parts import MaskFile, Part, Runs
from medseg.data.prediction_files import (
    ARRAYS,
    Read,
    Segmentation,
    is_segmentation,
    read_arrays,
    read_segmentation,
    source_of,
)
from medseg.data.rle import RleForm
from medseg.errors import InputError, ReadError
from medseg.image import Image
from medseg.reading.readers import read_levels, read_mask_file, values_in

Reader: TypeAlias = Callable[[Image], Read]
LEAST_SCORE = 0.5
"""Of the detections in a COCO results file that are taken."""

_FRAME = re.compile(r"[-_. ]?frame[-_ ]?(\d+)$", re.IGNORECASE)
_PREDICTED = re.compile(
    r"[-_. ]+(pred(icted|iction|ictions)?|out(put)?|result|prob(s|ability|abilities)?)$", re.IGNORECASE
)
_CHANNEL = re.compile(r"_\d{4}$")
"""nnU-Net's images are called case_0000.png, its predictions case.png."""

_NAME_COLUMNS = ("imageid", "image_id", "image", "img", "id", "filename", "file", "name")
_FORMS: dict[str, RleForm | None] = {
    "encodedpixels": None,
    "rle": None,
    "rle_mask": None,
    "encodedpixels (relative)": "relative",
    "encodedpixels (absolute)": "absolute",
}


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one model predicts: a reader for each sample (by index) that it has a prediction for, the form of its files,
    and what is left out or taken for granted, in sentences."""

    name: str
    form: str
    readers: Mapping[int, Reader]
    notes: tuple[str, ...]

    def only(self, indices: Sequence[int]) -> Predictions:
        """Those for these samples alone, in this order."""
        return replace(self, readers={place: self.readers[index] for place, index in enumerate(indices)})

    def read(self, index: int, image: Image) -> Read:
        """The prediction for sample number `index`, whose `image` it is. Raises ReadError that names the model."""
        try:
            return self.readers[index](image)
        except ReadError as error:
            raise ReadError(f"{self.name}: {error}") from None


def open_predictions(
    name: str, place: Path, samples: Sequence[Sample], labels: Sequence[str], data: Path | None = None
) -> Predictions:
    """The predictions at `place` for the `samples`, paired by name: nothing is decoded yet.

    A folder of masks or label maps (PNG, TIFF, NIfTI, …, read as `label_maps` says; of one label also grey
    probabilities), with a folder for each label where labels overlap; of npz or npy with probabilities; of DICOM SEG,
    paired by the images that they refer to. Or a file: COCO instances, COCO results of the images that the COCO file
    in `data` numbers, or a csv of run lengths. Raises InputError where it is none, or two files are of one image.
    """
    place = _place(place)
    try:
        form, readers, notes = _opened(place, samples, labels, data)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    if not readers:
        raise InputError(f"{name}: nothing in {place} belongs to one of the {len(samples)} images, by its name.")
    absent = [sample.image.name for index, sample in enumerate(samples) if index not in readers]
    notes += [str(entry) for entry in left_out("images without a prediction", absent)]
    return Predictions(name, form, readers, tuple(f"{name}: {note}" for note in notes))


_Opened: TypeAlias = tuple[str, dict[int, Reader], list[str]]


def _opened(place: Path, samples: Sequence[Sample], labels: Sequence[str], data: Path | None) -> _Opened:
    """The form, a reader for each sample that has a prediction, and what is to be said."""
    if not place.is_dir():
        return _from_file(place, samples, labels, data)
    files = [path for path in walk(place) if is_image(path) or suffix_of(path) in ARRAYS]
    if not files:
        raise InputError(f"{place} holds no predictions (images, npz, DICOM, COCO JSON or csv).")
    return _from_folder(place, files, samples, labels)


def _place(place: Path) -> Path:
    """The folder or file; of a folder that holds one annotation file and no images, that file."""
    if not place.exists():
        raise InputError(f"There is nothing at {place}. Name the folder or file of a model's predictions.")
    if place.is_dir():
        tables = [path for path in place.iterdir() if path.suffix.lower() in (".json", ".csv")]
        if len(tables) == 1 and not any(is_image(path) or suffix_of(path) in ARRAYS for path in walk(place)):
            return tables[0]
    return place


def _from_folder(place: Path, files: Sequence[Path], samples: Sequence[Sample], labels: Sequence[str]) -> _Opened:
    segmentations = [path for path in files if is_segmentation(path)]
    if segmentations:
        return _from_segmentations(segmentations, samples, labels)
    by_label = {folder.name: folder for folder in place.iterdir() if folder.is_dir()}
    if len(labels) > 1 and {*labels} <= by_label.keys():
        return _from_label_folders({label: by_label[label] for label in labels}, files, samples)
    paired, strange = _pair(files, samples, place)
    masks = {index: path for index, path in paired.items() if suffix_of(path) not in ARRAYS}
    coding = coding_of(samples, labels)
    read: Callable[[Path, Image], Read]
    if len(labels) == 1 and _are_soft(paired, samples, coding):
        form, read = "grey levels as probabilities", _levels_or_mask
        notes = ["grey levels are read as probabilities, not by the data's values"] if coding else []
    else:
        masks_of, notes = mask_reader(masks, samples, labels, coding)
        form, read = "masks" if masks else "probabilities", _masks_by(masks_of)
    readers = {index: _reader(path, labels, read) for index, path in paired.items()}
    return form, readers, [*_strangers(strange), *notes]


def _strangers(paths: Iterable[Path]) -> list[str]:
    return [
        str(entry)
        for entry in left_out("files that are of none of the images asked for", [path.name for path in paths])
    ]


def _reader(path: Path, labels: Sequence[str], read: Callable[[Path, Image], Read]) -> Reader:
    if suffix_of(path) in ARRAYS:
        return partial(_named, path, lambda image: read_arrays(path, labels, image))
    return partial(read, path)


def _masks_by(masks_of: MaskReader) -> Callable[[Path, Image], Read]:
    return lambda path, image: Read.of(masks_of(path, image))


def _levels_or_mask(path: Path, image: Image) -> Read:
    """Of one label: grey probabilities, of few levels too where a model is sure, or the mask of a file of none."""
    with naming(path):
        levels = read_levels(path, like=image, few=True)
        return Read.of(read_mask_file(path, ["marked"], like=image)) if levels is None else Read.at_half(levels)


def _named(path: Path, read: Reader, image: Image) -> Read:
    """`read`, with the file's name before the sentence of a ReadError."""
    try:
        return read(image)
    except ReadError as error:
        raise ReadError(f"{path.name}: {error}") from None


def _are_soft(paired: Mapping[int, Path], samples: Sequence[Sample], coding: Coding | None) -> bool:
    """Whether the largest files, those of most levels, hold grey probabilities, and not the data's values."""
    largest = sorted(paired, key=lambda index: paired[index].stat().st_size)[-3:]
    for index in largest:
        if suffix_of(paired[index]) in ARRAYS:
            return False
        try:
            if read_levels(paired[index], like=samples[index].read_image(), few=False) is not None:
                return not (coding and coding.covers(values_in(paired[index], samples[index].frame)))
        except ReadError:
            continue  # said when it is its turn
    return False


def _from_label_folders(folders: Mapping[str, Path], files: Sequence[Path], samples: Sequence[Sample]) -> _Opened:
    parts: dict[int, list[Part]] = {}
    strange = [path for path in files if not any(path.is_relative_to(folder) for folder in folders.values())]
    for label, folder in folders.items():
        paired, alone = _pair([path for path in files if path.is_relative_to(folder)], samples, folder)
        strange += alone
        for index, path in paired.items():
            parts.setdefault(index, []).append(MaskFile(label, path))
    notes = [*_strangers(strange), "an image without a file in the folder of a label has nothing of it"]
    return "masks in a folder for each label", _drawn(parts, samples, [*folders]), notes


def _drawn(parts: Mapping[int, Sequence[Part]], samples: Sequence[Sample], labels: Sequence[str]) -> dict[int, Reader]:
    marked = {index: replace(samples[index], mask=tuple(mask)) for index, mask in parts.items()}
    return {index: partial(_masks_of, sample, labels) for index, sample in marked.items()}


def _masks_of(sample: Sample, labels: Sequence[str], image: Image) -> Read:
    return Read.of(sample.masks_on(image, labels))


def _pair(files: Sequence[Path], samples: Sequence[Sample], root: Path) -> tuple[dict[int, Path], list[Path]]:
    """The file of each sample, and the files of none; those of one name are told apart by the folders they lie in."""
    levels: list[dict[tuple[str, int | None], list[int]]] = [{} for _ in _IMAGE_KEYS]
    for index, sample in enumerate(samples):
        for level, key_of in zip(levels, _IMAGE_KEYS, strict=True):
            for frame in (None, sample.frame):
                level.setdefault((key_of(sample.image), frame), []).append(index)
    paired: dict[int, Path] = {}
    strange = []
    for path in files:
        keys = _file_keys(stem_of(path))
        indices = next((level[key] for key in keys for level in levels if key in level), [])
        nearest = _nearest(path, root, indices, samples)
        for index in nearest:
            if index in paired:
                other = paired[index]
                hint = "" if other.parent == path.parent else ", or name folders of labels as the labels"
                raise InputError(
                    f"{other.relative_to(root)} and {path.relative_to(root)} would both be the prediction for "
                    f"{samples[index].image.name}: keep one{hint}."
                )
            paired[index] = path
        strange += [] if nearest else [path]
    return paired, strange


def _nearest(path: Path, root: Path, indices: Sequence[int], samples: Sequence[Sample]) -> list[int]:
    """Those of samples whose images' folders agree with the file's in the most names: all frames of one image."""
    images = {samples[index].image for index in indices}
    if len(images) < 2:
        return list(indices)
    ours = {part for part in {*path.parent.parts} - {*root.parts} if not _says_role(part)}
    shared = {image: len(ours & {*image.parent.parts}) for image in images}
    most = [image for image, count in shared.items() if count == max(shared.values())]
    if len(most) > 1:
        raise InputError(
            f"{path.name} could be of {most[0]} or of {most[1]}: lay predictions out in the folders of their images."
        )
    return [index for index in indices if samples[index].image == most[0]]


def _says_role(part: str) -> bool:
    return bool({*words(part)} & (MASK_WORDS | IMAGE_WORDS)) or bool(split_of(part))


_IMAGE_KEYS: tuple[Callable[[Path], str], ...] = (
    stem_of,
    lambda path: path.name,  # medseg's own a.png.png
    lambda path: _CHANNEL.sub("", stem_of(path)),
    lambda path: without_words(stem_of(path), IMAGE_WORDS),
)
"""What an image may be called by its prediction, the likeliest first."""


def _file_keys(stem: str) -> list[tuple[str, int | None]]:
    """What a prediction's stem may say of its image and frame, the likeliest first."""
    frame = _FRAME.search(stem)
    names = [(stem, None)] + ([(stem[: frame.start()], int(frame[1]))] if frame else [])
    keys: list[tuple[str, int | None]] = []
    for name, number in names:
        bare = _PREDICTED.sub("", name)
        based = mask_base(bare)
        spelt = (name, bare, stem_of(Path(bare)), based[0] if based else bare, without_words(bare, MASK_WORDS))
        keys += [(spelling, number) for spelling in spelt]
    return keys


def _from_segmentations(paths: Sequence[Path], samples: Sequence[Sample], labels: Sequence[str]) -> _Opened:
    opened: dict[tuple[str, int | None], tuple[Path, Segmentation]] = {}
    whole: dict[str, tuple[Path, Segmentation]] = {}
    unread: dict[Path, str] = {}
    for path in paths:
        try:
            segmentation = read_segmentation(path)
        except ReadError as error:
            unread[path] = f"{path.name} ({str(error).rstrip('.')})"
            continue
        for place in segmentation.frames:
            other = opened.setdefault(place, (path, segmentation))
            if other[0] != path:
                raise InputError(f"{other[0].name} and {path.name} are of one image: keep one.")
        whole |= dict.fromkeys(segmentation.images, (path, segmentation))
    if not opened:
        raise InputError(f"No segmentation can be read, the first: {next(iter(unread.values()))}.")
    readers: dict[int, Reader] = {}
    used, empty = set(), []
    for index, sample in enumerate(samples):
        source = source_of(sample.image, sample.frame)
        if source is None or not (of := opened.get(source) or opened.get((source[0], None)) or whole.get(source[0])):
            continue
        path, segmentation = of
        used.add(path)
        empty += [] if {source, (source[0], None)} & opened.keys() else [sample.image.name]
        readers[index] = partial(_named, path, partial(_from_segmentation, segmentation, source, labels))
    aside = (
        *left_out("segmentations that cannot be read", unread.values()),
        *left_out("images that a segmentation refers to without a frame", empty, "Taken as empty"),
    )
    strange = _strangers(path for path in paths if path not in used and path not in unread)
    return "DICOM SEG", readers, [*map(str, aside), *strange]


def _from_segmentation(
    segmentation: Segmentation, place: tuple[str, int | None], labels: Sequence[str], image: Image
) -> Read:
    return segmentation.read(place, labels, image)


def _from_file(place: Path, samples: Sequence[Sample], labels: Sequence[str], data: Path | None) -> _Opened:
    if place.suffix.lower() == ".csv":
        return _from_runs(place, samples, labels)
    try:
        content = read_json(place)
    except (OSError, ValueError):
        raise InputError(f"{place.name} is neither a folder, nor JSON, nor csv.") from None
    if is_coco(content):
        return _from_coco(place, samples, labels)
    if isinstance(content, list):
        return _from_results(place, content, samples, labels, data)
    raise InputError(f"{place.name} is no COCO JSON: instances, or a list of results.")


def _from_coco(place: Path, samples: Sequence[Sample], labels: Sequence[str], content: Any = None) -> _Opened:
    loaded = read_coco(place, content=content)
    names = _as_labels(place, loaded.labels, labels)
    paired, strange = _pair([sample.image for sample in loaded.samples], samples, place.parent.parent)
    by_image = {sample.image: sample for sample in loaded.samples}
    readers: dict[int, Reader] = {}
    for index, path in paired.items():
        sample = by_image[path]
        parts = tuple(replace(part, label=names[part.label]) for part in sample.parts if part.label in names)
        marked = replace(samples[index], mask=parts, size=sample.size or samples[index].size, upright=sample.upright)
        readers[index] = partial(_masks_of, marked, labels)
    return "COCO instances", readers, [*map(str, loaded.left_out), *_strangers(strange)]


def _as_labels(place: Path, theirs: Sequence[str], labels: Sequence[str]) -> dict[str, str]:
    """{name there: label}: the same names, or the only one for the only one."""
    if len(theirs) == len(labels) == 1:
        return {theirs[0]: labels[0]}
    if absent := [label for label in labels if label not in theirs]:
        raise InputError(f"{place.name} has the labels {', '.join(theirs)}, and {', '.join(absent)} is wanted.")
    return {label: label for label in labels}


def _from_results(
    place: Path, content: Sequence[Any], samples: Sequence[Sample], labels: Sequence[str], data: Path | None
) -> _Opened:
    """COCO's results format: a list of {image_id, category_id, segmentation, score}."""
    truth = _coco_in(data)
    if truth is None:
        raise InputError(f"{place.name} numbers its images: the data must be the COCO file that says which they are.")
    used = {"images": truth["images"], "categories": truth["categories"]}
    results = [entry for entry in content if isinstance(entry, dict)]
    taken = [entry for entry in results if _score(entry) >= LEAST_SCORE]
    _, readers, notes = _from_coco(place, samples, labels, used | {"annotations": taken})
    weak = len(content) - len(taken)
    notes += [f"{weak} detections with a score below {LEAST_SCORE} are left out"] if weak else []
    return "COCO results", readers, [*notes, "an image without a detection counts as one on which nothing is marked"]


def _score(entry: Mapping[str, Any]) -> float:
    score = entry.get("score", 1.0)
    return float(score) if isinstance(score, int | float) else 0.0


def _coco_in(data: Path | None) -> Mapping[str, Any] | None:
    if data is None:
        return None
    for path in [data] if data.is_file() else sorted(data.glob("*.json")):
        try:
            content = read_json(path)
        except (OSError, ValueError):
            continue
        if is_coco(content):
            return dict(content)
    return None


def _from_runs(place: Path, samples: Sequence[Sample], labels: Sequence[str]) -> _Opened:
    """A csv with a row for each image and label, or for each object: its name, run lengths, and maybe a Label."""
    rows = [{name.casefold(): (value or "").strip() for name, value in row.items()} for row in read_rows(place)]
    columns = rows[0].keys() if rows else set()
    name = next((column for column in _NAME_COLUMNS if column in columns), None)
    runs = next((column for column in _FORMS if column in columns), None)
    if name is None or runs is None or (len(labels) > 1 and "label" not in columns):
        wanted = "ImageId, EncodedPixels" + (", Label" if len(labels) > 1 else "")
        raise InputError(f"{place.name} has the columns {', '.join(columns)}; wanted {wanted}.")
    form = _FORMS[runs] or _form_of(place, [row[runs] for row in rows])
    paths = {row[name]: Path(row[name]) for row in rows}
    paired, strange = _pair([*paths.values()], samples, Path())
    index_of = {path: index for index, path in paired.items()}
    parts: dict[int, list[Part]] = {index: [] for index in paired}
    for row in rows:
        index, label = index_of.get(paths[row[name]]), row.get("label") or labels[0]
        if index is not None and label in labels and row[runs] not in ("", "-1"):
            parts[index].append(Runs(label, row[runs], form))
    return f"run lengths ({form})", _drawn(parts, samples, labels), _strangers(strange)


def _form_of(place: Path, texts: Sequence[str]) -> RleForm:
    """Absolute starts rise from run to run, beyond the end of the run before; relative gaps need not."""
    try:
        numbers = [[int(word) for word in text.split()] for text in texts if text not in ("", "-1")]
    except ValueError:
        raise InputError(f"{place.name} holds run lengths that are no whole numbers.") from None
    several = [row for row in numbers if len(row) > 3]
    if not any(numbers) or not all(map(_rise, several)) or any(row and row[0] == 0 for row in numbers):
        return "relative"
    if len(several) > 2 or any(len(row) > 9 for row in several):
        return "absolute"
    raise InputError(
        f"{place.name} does not tell whether its run lengths are relative (SIIM-ACR) or absolute (most of Kaggle): "
        'call the column "EncodedPixels (relative)" or "EncodedPixels (absolute)".'
    )


def _rise(row: Sequence[int]) -> bool:
    starts, lengths = row[::2], row[1::2]
    return all(start + length <= after for start, length, after in zip(starts, lengths, starts[1:], strict=False))
