"""The layout of the Medical Segmentation Decathlon and of nnU-Net."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medseg.data.frames import by_frame
from medseg.data.layouts.pairs import refuse_single
from medseg.data.left_out import left_out
from medseg.data.listing import by_stem, is_image, walk
from medseg.data.manifest import DataSet, Sample, read_json
from medseg.data.parts import MaskFile
from medseg.errors import InputError

_CHANNEL = re.compile(r"(.+)_(\d{4})")
_FORM = 'dataset.json does not name its values as {"labels": {"background": 0, "tumour": 1, …}}.'


def is_nnunet(root: Path) -> bool:
    """imagesTr/ beside labelsTr/."""
    return (root / "imagesTr").is_dir() and (root / "labelsTr").is_dir()


def read_nnunet(root: Path) -> DataSet:
    """Volumes or images in the layout of the Medical Segmentation Decathlon and of nnU-Net; volumes as axial slices.

    Home page: http://medicaldecathlon.com and https://github.com/MIC-DKFZ/nnUNet (documentation/dataset_format.md)
    Layout: imagesTr/a.nii.gz, or one file for each channel as a_0000.png, a_0001.png, with labelsTr/a.nii.gz, label
        maps; imagesTs/ with labelsTs/ are the test split, imagesVal/ with labelsVal/ the val split. dataset.json
        "labels" names the values: the Decathlon writes {"1": name}, nnU-Net {name: 1} or, for regions, {name: [1, 2]};
        "ignore" is no class, and its pixels count as background. Slices count from the feet; case = volume. Volumes of
        4-D files are channels. Images and masks are turned alike by their affines (`medseg.reading.nifti`).
    Licence: Decathlon CC BY-SA 4.0; else that of the data.
    Citation: Antonelli et al. 2022, The Medical Segmentation Decathlon, Nature Communications 13:4128; Isensee et al.
        2021, nnU-Net, Nature Methods 18.
    Raises InputError for a volume without labels or labels without a volume.
    """
    values = _values(root)
    splits = {"Tr": "", "Ts": "test"}
    if all((root / f"{role}Val").is_dir() for role in ("images", "labels")):
        splits |= {"Tr": "train", "Val": "val"}
    samples: list[Sample] = []
    aside = [path for path in walk(root) if is_image(path)]
    for part, split in splits.items():
        homes = {root / f"images{part}", root / f"labels{part}"}
        if all(home.is_dir() for home in homes):
            samples += _volumes(root, part, split, values)
            aside = [path for path in aside if path.parent not in homes]
    framed, entries = by_frame(samples)
    ignored = [name for name in values if name.lower() == "ignore"]
    entries += left_out("labels that nnU-Net ignores: their pixels count as background", ignored)
    names = [path.relative_to(root).as_posix() for path in aside]
    entries += left_out("images in folders without labels, or that nnU-Net has no use for", names)
    taken = "images imagesTr/ (channels a_0000, a_0001, … joined), label maps labelsTr/"
    return DataSet("decathlon", tuple(_classes(values)), framed, entries, taken)


def _volumes(root: Path, part: str, split: str, values: dict[str, tuple[int, ...]]) -> Iterator[Sample]:
    masks = by_stem(root / f"labels{part}")
    channels = _channels(by_stem(root / f"images{part}"), masks)
    refuse_single(sorted(channels.keys() ^ masks.keys()))
    known = tuple(sorted({number for numbers in values.values() for number in numbers}))
    for stem, files in sorted(channels.items()):
        parts = tuple(MaskFile(label, masks[stem], numbers, known) for label, numbers in _classes(values).items())
        yield Sample(files[0], parts or masks[stem], stem, split, channels=tuple(files[1:]))


def _channels(files: dict[str, Path], masks: dict[str, Path]) -> dict[str, list[Path]]:
    """Case → its files in the order of their channels. Raises InputError for a channel that is missing."""
    numbered: dict[str, dict[int, Path]] = {}
    for stem, path in files.items():
        match = None if stem in masks else _CHANNEL.fullmatch(stem)
        numbered.setdefault(match[1] if match else stem, {})[int(match[2]) if match else 0] = path
    most = max((len(channels) for channels in numbered.values()), default=0)
    for case, channels in numbered.items():
        if sorted(channels) != list(range(most)):
            raise InputError(f"{case} has the channels {sorted(channels)}, others {most} of them: all need the same.")
    return {case: [channels[number] for number in sorted(channels)] for case, channels in numbered.items()}


def _values(root: Path) -> dict[str, tuple[int, ...]]:
    """Label → its values, background and ignored ones included; {} without dataset.json."""
    path = root / "dataset.json"
    if not path.is_file():
        return {}
    try:
        items = read_json(path)["labels"].items()
        if all(str(key).isdigit() for key, _ in items):  # the Decathlon's
            return {str(name): (int(key),) for key, name in items}
        return {str(name): _numbers(value) for name, value in items}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(_FORM) from None


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(int(number) for number in value) if isinstance(value, list) else (int(value),)


def _classes(values: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The labels that are classes, in the order of their values."""
    classes = {name: numbers for name, numbers in values.items() if numbers != (0,) and name.lower() != "ignore"}
    return dict(sorted(classes.items(), key=lambda item: min(item[1])))
