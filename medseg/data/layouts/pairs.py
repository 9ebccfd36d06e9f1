"""Images and masks as files: the most common layout of one's own data, in all its spellings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medseg.data.cases import with_cases
from medseg.data.frames import by_frame
from medseg.data.left_out import LeftOut, left_out
from medseg.data.listing import (
    IMAGE_WORDS,
    MASK_WORDS,
    by_stem,
    folders,
    images_in,
    is_image,
    names_below,
    seems_split,
    split_of,
    split_of_folders,
    stem_of,
    unread,
    walk,
    words,
)
from medseg.data.manifest import DataSet, Sample
from medseg.data.pairing import Pair, Pairing, entry_of, pair_up, without_copies
from medseg.data.parts import MaskFile
from medseg.errors import InputError

UNNAMED = "marked"
"""The label of masks that are several files an image and name none."""


def is_pairs(root: Path) -> bool:
    """Images, and masks that their folders or names call masks, of which one at least belongs to an image."""
    try:
        return not is_class_folders(root) and pair_up(root) is not None
    except InputError:
        return True  # two folders claim one role: reading it says so


def read_pairs(root: Path) -> DataSet:
    """A folder of pairs: each image has a mask file (binary, or a label map), or several of one label.

    Home page: none; CVC-ClinicDB, HAM10000, Data Science Bowl 2018 and most of one's own data come in it, so do
        https://github.com/zhixuhao/unet's train/{image,label} and data exported for MONAI or segmentation_models.
    Layout: any of
        images/a.png with masks/a.png; img(s), image(s), input(s), image(s) or photo(s), with mask(s), label(s),
            gt, ground_truth, seg, segmentation(s), annotation(s), target(s), manual in the folders' names;
        a_mask.png, a_segmentation.png, a_seg.png, a_label.png, a_gt.png beside a.png or in a folder of masks;
        image1.png with mask1.png; train_images/ with train_masks/; train_data/train with train_data/mask;
        train/, val/, test/ above or below the folders of images and masks, or in their names, which are the splits
            (without a val, its samples are taken out of train);
        ID/images/a.png with ID/masks/*.png, several masks an image, which are united, as a_mask_1.png, a_mask_2.png.
        Folders with a number in their names, as patient_07/, are cases; files of several frames give one sample a
            frame. A csv beside them gives cases (`medseg.data.cases`).
    Licence, citation: those of the data.
    Raises InputError that names the first files without a partner, or two folders that claim one role.
    """
    pairing = pair_up(root)
    if pairing is None:
        raise InputError(f"{root.name} holds no images with masks beside them that their names tell.")
    refuse_single([path.relative_to(root).as_posix() for path in pairing.single])
    return _data_set("pairs", root, pairing)


def read_patterns(root: Path, images: str, masks: str) -> DataSet:
    """The pairs that two patterns name: what the *s of `images` stand for is the same in `masks`.

    `scans/*.png` goes with `truth/*_bin.png`; ** stands for any folders; a * more in `masks` gives several masks an
    image. Raises InputError for patterns that name nothing, or leave files alone.
    """
    marked = _matching(root, masks)
    shown = {key: path for key, path in _matching(root, images).items() if path not in {*marked.values()}}
    if not shown or not marked:
        empty, pattern = ("images", images) if not shown else ("masks", masks)
        raise InputError(f"The pattern {pattern!r} names no file for {empty} in {root.name}.")
    matches: dict[tuple[str, ...], list[Path]] = {key: [] for key in shown}
    single = []
    for key, path in marked.items():
        image = next((key[:length] for length in range(len(key), 0, -1) if key[:length] in matches), None)
        matches[image].append(path) if image is not None else single.append(path)
    single += [shown[key] for key, paths in matches.items() if not paths]
    refuse_single([path.relative_to(root).as_posix() for path in single])
    pairs = [
        Pair(shown[key], tuple(paths), split_of_folders(shown[key].relative_to(root))) for key, paths in matches.items()
    ]
    used = {path for pair in pairs for path in (pair.image, *pair.masks)}
    aside = [path for path in walk(root) if is_image(path) and path not in used]
    return _data_set("patterns", root, Pairing(pairs, [], aside, f"images {images}, masks {masks}"))


def is_class_folders(root: Path) -> bool:
    """Images in one folder, masks in one folder for each class, which no word calls a split or masks."""
    homes = _class_homes(root)
    if homes is None:
        return False
    classes = [folder for folder in folders(homes[1]) if images_in(folder)]
    return bool(classes) and not images_in(homes[1]) and not any(map(_is_no_class, classes)) and not folders(homes[0])


def read_class_folders(root: Path) -> DataSet:
    """A folder of binary masks per class, which may overlap; a file that is not there is an empty mask. It is counted.

    Home page: such as https://github.com/GeneralBlockchain/covid-19-chest-xray-segmentations-dataset
    Layout: images/a.jpg with masks/Left_Lung/a.png, masks/Consolidation/a.png, …; csv files with cases as for pairs.
    Licence: those masks CC BY 4.0, images as stated for each.
    Citation: Cohen et al. 2020, COVID-19 Image Data Collection: Prospective Predictions Are the Future,
        arXiv:2006.11988.
    Raises InputError for an image without a mask in any class, or a mask without an image.
    """
    homes = _class_homes(root)
    if homes is None:
        raise InputError(f"{root.name} holds no folder of images beside one of masks with a folder for each class.")
    images = by_stem(homes[0])
    classes = {folder.name: by_stem(folder) for folder in folders(homes[1])}
    refuse_single(sorted(images.keys() ^ {stem for files in classes.values() for stem in files}))
    samples = []
    for stem, path in sorted(images.items()):
        parts = tuple(MaskFile(label, files[stem]) for label, files in classes.items() if stem in files)
        samples.append(Sample(path, parts, stem, ""))
    samples, entries = finished(samples, root)
    absent = [f"{label}/{stem}" for label, files in classes.items() for stem in images if stem not in files]
    entries += left_out("images without a file in the folder of a class", absent, "Taken as empty")
    taken = f"images in {homes[0].name}/, a class for each folder in {homes[1].name}/"
    return DataSet("class-folders", tuple(classes), samples, entries, taken)


def refuse_single(names: Sequence[str]) -> None:
    """Raises InputError that names the first files that have no partner."""
    if names:
        raise InputError(
            f"{len(names)} files have no partner of the same stem, the first: {', '.join(sorted(names)[:5])}. Every "
            "image needs a mask; name what belongs together with --images PATTERN --masks PATTERN."
        )


def finished(samples: Sequence[Sample], root: Path) -> tuple[list[Sample], tuple[LeftOut, ...]]:
    """What all samples of mask files need: cases by the csv files, and frames."""
    with_given_cases, entries = with_cases(samples, root)
    framed, uneven = by_frame(with_given_cases)
    return framed, (*entries, *uneven)


def _data_set(layout: str, root: Path, pairing: Pairing) -> DataSet:
    pairing = without_copies(pairing)
    by_patient = _are_patients({_cases(pair.groups) for pair in pairing.pairs})
    one_mask = all(len(pair.masks) == 1 for pair in pairing.pairs)
    samples = [
        Sample(
            pair.image,
            pair.masks[0] if one_mask else tuple(MaskFile(UNNAMED, mask) for mask in pair.masks),
            "/".join(_cases(pair.groups)) if by_patient else stem_of(pair.image),
            pair.split,
        )
        for pair in sorted(pairing.pairs, key=lambda pair: pair.image)
    ]
    samples, entries = finished(samples, root)
    entries += left_out("files whose format medseg does not read", unread(root, root))
    entries += left_out("copies in another format", names_below(root, pairing.copies))
    what = "images in folders without masks, or called neither images nor masks"
    what = "images that the patterns do not name" if layout == "patterns" else what
    entries += left_out(what, names_below(root, pairing.aside))
    return DataSet(layout, () if one_mask else (UNNAMED,), samples, entries, pairing.taken)


def of_numbered_folders(samples: Sequence[Sample], root: Path) -> list[Sample]:
    """`samples` with the cases that the folders of their images name, as `read_pairs` takes them."""
    groups = [_cases(entry_of(sample.image, root).place[1]) for sample in samples]
    if not _are_patients({*groups}):
        return list(samples)
    return [
        replace(sample, case="/".join(names)) if sample.case == stem_of(sample.image) else sample
        for sample, names in zip(samples, groups, strict=True)
    ]


def _cases(groups: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part for part in groups if not split_of(part))


def _are_patients(groups: set[tuple[str, ...]]) -> bool:
    """Whether folders around images and masks are patients or sequences: several, all with a number in their names.
    Names alone, as benign and malignant, are kinds of images."""
    parts = {name for names in groups for name in names}
    numbered = all(re.search(r"\d", "".join(names)) for names in groups)
    return len(groups) > 1 and numbered and not any(map(seems_split, parts))


def _matching(root: Path, pattern: str) -> dict[tuple[str, ...], Path]:
    """The images that `pattern` names, by what its *s stand for."""
    pieces = re.split(r"(\*\*/|\*|\?)", pattern.strip().removeprefix("./"))
    kinds = {"**/": "((?:.*/)?)", "*": "([^/]*)", "?": "([^/])"}
    expression = re.compile("".join(kinds.get(piece) or re.escape(piece) for piece in pieces))
    matches = {}
    for path in walk(root):
        match = expression.fullmatch(path.relative_to(root).as_posix())
        if match and is_image(path):
            matches[match.groups()] = path
    return matches


def _class_homes(root: Path) -> tuple[Path, Path] | None:
    """(folder of images, folder of masks) directly in `root`, None where there are not one of each."""
    images = [folder for folder in folders(root) if {*words(folder.name)} & IMAGE_WORDS]
    masks = [folder for folder in folders(root) if {*words(folder.name)} & MASK_WORDS]
    return (images[0], masks[0]) if len(images) == len(masks) == 1 else None


def _is_no_class(folder: Path) -> bool:
    return _is_no_class_name(folder.name)


def _is_no_class_name(name: str) -> bool:
    return bool({*words(name)} & (MASK_WORDS | IMAGE_WORDS)) or bool(split_of(name))
