"""The files of a data set: which are images, what their folders' names say, which file belongs to which."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from medseg.errors import InputError
from medseg.reading.signatures import has_mark

SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jp2", ".j2k", ".dcm", ".dicom",
    ".nii", ".nii.gz",
}  # fmt: skip
"""Endings of the images and masks that medseg reads, in lower case."""

STACKS = {".tif", ".tiff", ".gif", ".webp", ".dcm", ".dicom", ".nii", ".nii.gz", ""}
"""Endings of files that may hold several frames, pages or slices."""

IMAGE_WORDS = frozenset({"image", "images", "img", "imgs", "picture", "pictures", "photo", "photos", "input", "inputs"})
MASK_WORDS = frozenset(
    {"mask", "masks", "label", "labels", "gt", "gts", "groundtruth", "truth", "segmentation", "segmentations", "seg",
     "segs", "segm", "annotation", "annotations", "annot", "target", "targets", "manual"}
)  # fmt: skip
_SPLIT_WORDS = {
    split: re.compile(rf"(?:{word})(?:data)?(?:sets?|daten|datensatz|split)?\d*")
    for split, word in (("train", r"train(?:ings?)?|trn"), ("val", r"val|valid|validation|validierungs?|dev|vld"),
                        ("test", r"test(?:ing)?|tst"))
}  # fmt: skip
"""Split → the words of names that say it, with what is glued to them: train2017, testset, Testdaten."""
_DIVIDING = frozenset(
    {"development", "devel", "holdout", "heldout", "held", "hold", "eval", "evaluation", "external", "internal",
     "independent", "unseen", "query", "fold", "folds", "public", "private", "unlabeled", "unlabelled"}
)  # fmt: skip
_ASIDE = {
    ".csv", ".tsv", ".json", ".txt", ".md", ".pdf", ".xml", ".yaml", ".yml", ".html", ".zip", ".ini", ".db", ".py",
}  # fmt: skip
"""Endings of what lies beside images and is none: read elsewhere or nothing to segment."""


def suffix_of(path: Path) -> str:
    """The ending in lower case, both parts of .nii.gz; "" for a DICOM without one."""
    if path.name.lower().endswith(".nii.gz"):
        return ".nii.gz"
    return "" if path.suffix[1:].isdigit() else path.suffix.lower()  # 1.2.840.113…: a UID has no ending


def stem_of(path: Path) -> str:
    """The file's name without its ending."""
    suffix = suffix_of(path)
    return path.name[: len(path.name) - len(suffix)] if suffix else path.name


def is_image(path: Path) -> bool:
    """Whether the name says that medseg reads the file; of names without ending, whether the content is DICOM."""
    suffix = suffix_of(path)
    return suffix in SUFFIXES if suffix else has_mark(path)


def walk(root: Path) -> Iterator[Path]:
    """Every file below `root` but hidden ones (macOS leaves ._files behind), in order."""
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if path.is_file() and not any(part.startswith(".") or part == "__MACOSX" for part in parts):
            yield path


def no_files(root: Path) -> list[str]:
    """What is neither file nor folder below `root`, by its path there: links to nothing, pipes, devices."""
    return names_below(root, (path for path in sorted(root.rglob("[!.]*")) if not (path.is_file() or path.is_dir())))


def files_in(folder: Path, *patterns: str) -> list[Path]:
    """The ordinary files in `folder` that one of the patterns names, in order: reading a pipe would never end."""
    return sorted(path for pattern in patterns for path in folder.glob(pattern) if path.is_file())


def folders(root: Path) -> list[Path]:
    """The folders in `root` that are not hidden."""
    return sorted(
        entry
        for entry in root.iterdir()
        if entry.is_dir() and not entry.name.startswith(".") and entry.name != "__MACOSX"
    )


def images_in(folder: Path) -> list[Path]:
    """The images that lie in `folder` itself."""
    return [path for path in sorted(folder.iterdir()) if path.is_file() and path.name[0] != "." and is_image(path)]


def images_below(root: Path) -> list[Path]:
    """The images in `root` and below, or in its images/ where it has one. Raises InputError where there are none."""
    if not root.is_dir():
        raise InputError(f"{root} is no folder: wanted one of images.")
    folder = root / "images" if (root / "images").is_dir() else root
    images = [path for path in walk(folder) if is_image(path)]
    if not images:
        raise InputError(f"{root} holds no images: wanted files that end in {', '.join(sorted(SUFFIXES))}.")
    return images


def printable(name: str) -> str:
    """The name, with ? for what is not UTF-8 and so can stand in no report."""
    return name.encode(errors="replace").decode()


def not_among(images: Sequence[Path], known: Iterable[Path]) -> list[Path]:
    """Those of the `images` whose bytes are none of the `known` files', which are not read where there are none."""
    digests = {_digest(path) for path in known} if images else set()
    return [path for path in images if _digest(path) not in digests]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def by_stem(folder: Path) -> dict[str, Path]:
    """The images in `folder` by stem. Raises InputError for two of one stem."""
    files: dict[str, Path] = {}
    for path in images_in(folder):
        if stem_of(path) in files:
            raise InputError(f"{folder.name}/ holds two files with the stem {stem_of(path)}: keep one.")
        files[stem_of(path)] = path
    return files


def unread(root: Path, folder: Path) -> list[str]:
    """The files below `folder` whose endings are none that medseg knows, by their path below `root`."""
    strange = (path for path in walk(folder) if not is_image(path) and suffix_of(path) not in _ASIDE)
    return names_below(root, (path for path in strange if path.name != "Thumbs.db"))


def names_below(root: Path, paths: Iterable[Path]) -> list[str]:
    """The paths below `root`, as people write them."""
    return [path.relative_to(root).as_posix() for path in paths]


def words(name: str) -> list[str]:
    """The words of a file's or folder's name in lower case: trainMasks_v2 is train, masks, v2."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return [word for word in re.split(r"[^a-z0-9]+", spaced.lower().replace("ground_truth", "groundtruth")) if word]


def split_of(name: str) -> str:
    """The split that one word of a name stands for, "" where none or several do."""
    splits = {split for word in words(name) for split, spelled in _SPLIT_WORDS.items() if spelled.fullmatch(word)}
    return splits.pop() if len(splits) == 1 else ""


def split_of_folders(path: Path) -> str:
    """The split that the first of the path's folders says, "" where none does."""
    return next((split for part in path.parts[:-1] if (split := split_of(part))), "")


def seems_split(name: str) -> bool:
    """Whether a name is like that of a part of a division, as holdout/, and none that says which."""
    spelled = re.sub(r"(?<=[A-Za-z])(?=\d)", " ", name)
    return not split_of(name) and bool({*words(spelled)} & _DIVIDING)


def mask_base(stem: str) -> tuple[str, str] | None:
    """(stem of the image, number) that a mask's stem such as a_mask_2 names; None where it has no word for masks.

    The number tells apart the masks of several objects of one image.
    """
    ending = "|".join(sorted(MASK_WORDS, key=len, reverse=True))
    for pattern in (rf"(.+?)[ _.-]+(?:ground[ _-]?truth|{ending})[ _.-]?(\d*)", rf"(?:{ending})[ _.-]+(.+?)()"):
        if match := re.fullmatch(pattern, stem, re.IGNORECASE):
            return match[1], match[2]
    return None


def without_words(stem: str, role: frozenset[str]) -> str:
    """The stem without the words for a role, also where a number follows at once: image1 and mask1 are both 1."""
    return "_".join(piece for piece in _pieces(stem) if piece.lower() not in role)


def has_word(stem: str, role: frozenset[str]) -> bool:
    """Whether one of the words of a stem is for the role, as mask1's is."""
    return any(piece.lower() in role for piece in _pieces(stem))


def _pieces(stem: str) -> list[str]:
    return [piece for piece in re.split(r"[ _.-]+|(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])", stem) if piece]
