"""Which mask file belongs to which image, by the names of files and folders alone.

Folders say roles (images/, masks/), splits (train/) and groups (a patient, a class); stems say which is which. Both are
tried in the orders that people use, and a way counts only where every file finds its partner.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from medseg.data.listing import (
    IMAGE_WORDS,
    MASK_WORDS,
    SUFFIXES,
    has_word,
    is_image,
    mask_base,
    split_of,
    split_of_folders,
    stem_of,
    walk,
    without_words,
    words,
)
from medseg.errors import InputError

Place: TypeAlias = tuple[str, tuple[str, ...]]
"""(split, further folders): images and masks of one place belong together."""

Stem: TypeAlias = Callable[[str], str]


@dataclass(frozen=True)
class Entry:
    """A file with what its folders say."""

    path: Path
    folder: str
    place: Place

    @property
    def stem(self) -> str:
        return stem_of(self.path)


@dataclass(frozen=True)
class Pair:
    """An image, its mask files, and what their folders say: the split ("" for none), and what groups them further."""

    image: Path
    masks: tuple[Path, ...]
    split: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pairing:
    """One way to read the folders: pairs, the files without a partner, other folders' files, and the way in words."""

    pairs: list[Pair]
    single: list[Path]
    aside: list[Path]
    taken: str
    copies: Sequence[Path] = ()
    """Images that another format of them stands for."""


def pair_up(root: Path) -> Pairing | None:
    """The first way in which every file has its partner, else the one that leaves the fewest alone; None where nothing
    looks like masks. Raises InputError where two folders claim one role and no way has a place for both."""
    ways = list(_ways(root))
    readable = [way for way in ways if isinstance(way, Pairing)]
    best = min(readable, key=lambda way: len(way.single), default=None)
    rivals = [way for way in ways if isinstance(way, str)]
    if rivals and (best is None or best.single):
        raise InputError(rivals[0])
    return best


def without_copies(pairing: Pairing) -> Pairing:
    """`pairing` with one of the images that lie in folders of several formats, as CVC-ClinicDB's PNG/ and TIF/."""
    first: dict[tuple[object, ...], Pair] = {}
    for pair in pairing.pairs:
        others = tuple("" if f".{part.lower()}" in SUFFIXES else part for part in pair.groups)
        first.setdefault((pair.split, others, _composed(stem_of(pair.image))) if "" in others else (pair.image,), pair)
    copies = [pair.image for pair in pairing.pairs if pair not in first.values()]
    return replace(pairing, pairs=[*first.values()], copies=copies)


def _ways(root: Path) -> Iterator[Pairing | str]:
    """Every way to read the folders; a sentence for one that two folders spoil."""
    files = [path for path in walk(root) if is_image(path)]
    roles = {path: _role(path, root) for path in files}
    in_masks = [path for path in files if roles[path] == "mask"]
    if not in_masks:
        yield from _by_names(files, root)
        return
    named = [path for path in files if roles[path] == "image"]
    others = [path for path in files if roles[path] == ""]
    masks = [entry_of(path, root) for path in in_masks]
    if named:
        _refuse_second(others, root)
        yield from _matched([entry_of(path, root) for path in named], masks, aside=others)
    elif others:
        yield from _matched([entry_of(path, root, drop_last=True) for path in others], masks)
        yield from _matched([entry_of(path, root) for path in others], masks)


def _refuse_second(others: Sequence[Path], root: Path) -> None:
    """Raises InputError where files outside the folders of images and masks are pairs of their own."""
    for way in _by_names(others, root):
        if isinstance(way, Pairing) and not way.single:
            first = way.pairs[0]
            names = " with ".join(path.relative_to(root).as_posix() for path in (first.image, *first.masks[:1]))
            raise InputError(
                f"{root.name} holds folders of images and masks, and pairs beside them, as {names}. Keep one of the "
                "two in the folder, or name what is meant with --images PATTERN --masks PATTERN."
            )


def _by_names(files: Sequence[Path], root: Path) -> Iterator[Pairing | str]:
    """One folder holds both: a_mask.png is the mask of a.png where that lies beside it."""
    stems = {(path.parent, stem_of(path)) for path in files}
    based = {path: mask_base(stem_of(path)) for path in files}
    masks = {path for path, base in based.items() if base and (path.parent, base[0]) in stems}
    called = {path for path in files if has_word(stem_of(path), MASK_WORDS)}
    for marked in (masks, called) if called != masks else (masks,):
        images = [path for path in files if path not in marked]
        if marked and images:
            yield from _matched(
                [entry_of(path, root) for path in images], [entry_of(path, root) for path in sorted(marked)]
            )


def _role(path: Path, root: Path) -> str:
    """What the folders of `path` say; the innermost that says anything."""
    for part in reversed(path.relative_to(root).parent.parts):
        said = {*words(part)}
        if said & MASK_WORDS:
            return "mask"
        if said & IMAGE_WORDS:
            return "image"
    return ""


def entry_of(path: Path, root: Path, *, drop_last: bool = False) -> Entry:
    """`path` with what its folders below `root` say."""
    parts = path.relative_to(root).parent.parts if path.is_relative_to(root) else ()
    shared = parts[:-1] if drop_last else parts
    place = (split_of_folders(Path(*parts, path.name)), tuple(part for part in shared if not _says_role_or_split(part)))
    return Entry(path, "/".join(parts) or ".", place)


def _says_role_or_split(part: str) -> bool:
    """Whether a folder groups nothing further; train1 and train2 are of one split, and two groups."""
    said = {*words(part)}
    return bool(said & (MASK_WORDS | IMAGE_WORDS)) or (bool(split_of(part)) and not part[-1].isdigit())


def _matched(images: Sequence[Entry], masks: Sequence[Entry], aside: Sequence[Path] = ()) -> Iterator[Pairing | str]:
    """Every way of stems, for these images and masks; images of places without any mask are put aside."""
    marked = {mask.place for mask in masks}
    unmarked = [image.path for image in images if image.place not in marked]
    images = [image for image in images if image.place in marked]
    rivals = _rivals(images, "images") or _rivals(masks, "masks")
    if rivals or not images:
        yield from [rivals] if rivals else []
        return
    for way, of_image, of_mask in _WAYS_OF_STEMS:
        matched = _match(images, masks, of_image, of_mask)
        if isinstance(matched, str):
            yield matched
        elif matched[0]:
            yield Pairing(*matched, [*aside, *unmarked], _in_words(images, masks, way))
    alone = _alone(images, masks)
    if alone is not None:
        yield Pairing(
            alone, [], [*aside, *unmarked], _in_words(images, masks, "all masks beside the one image of a folder")
        )


def _rivals(entries: Sequence[Entry], role: str) -> str:
    """The sentence for two folders that claim one role at one place, as images/ and imgs/; "" for none. Folders that
    differ in a number alone, as images_part_1/ and images_part_2/, hold the parts of one."""
    first: dict[Place, str] = {}
    for entry in entries:
        other = first.setdefault(entry.place, entry.folder)
        if re.sub(r"\d+$", "", other) != re.sub(r"\d+$", "", entry.folder):
            return (
                f"{other}/ and {entry.folder}/ both look like the {role}. Name the one that is meant: --images PATTERN "
                "--masks PATTERN, as --images 'images/*' --masks 'masks/*'."
            )
    return ""


def _match(
    images: Sequence[Entry], masks: Sequence[Entry], of_image: Stem, of_mask: Stem
) -> tuple[list[Pair], list[Path]] | str:
    """The pairs by (place, stem) and the files left alone; a sentence where two images, or masks that no number tells
    apart, would be one."""
    keyed: dict[tuple[Place, str], Entry] = {}
    for image in images:
        other = keyed.setdefault((image.place, _composed(of_image(image.stem))), image)
        if other is not image:
            return _two_of_one(other, image)
    matched: dict[tuple[Place, str], list[Entry]] = {key: [] for key in keyed}
    single = []
    for mask in masks:
        entries = matched.get((mask.place, _composed(of_mask(mask.stem))))
        if entries is None:
            single.append(mask.path)
        else:
            entries.append(mask)
    for entries in matched.values():
        if len(entries) > 1 and not _are_numbered(entries):
            return _two_of_one(*entries[:2])
    pairs = [
        Pair(keyed[key].path, tuple(mask.path for mask in entries), *keyed[key].place)
        for key, entries in matched.items()
        if entries
    ]
    return pairs, single + [keyed[key].path for key, entries in matched.items() if not entries]


def _composed(stem: str) -> str:
    """In one spelling: macOS writes ü as u with dots, others as one letter."""
    return unicodedata.normalize("NFC", stem)


def _two_of_one(first: Entry, second: Entry) -> str:
    if first.stem == second.stem:
        return f"{first.folder}/ holds two files with the stem {first.stem}: keep one."
    return f"{first.folder}/ holds {first.path.name} and {second.path.name}, which would belong to one image: keep one."


def _are_numbered(masks: Sequence[Entry]) -> bool:
    """a_mask.png, a_mask_1.png, …: one name but for its number."""
    bases = [mask_base(mask.stem) for mask in masks]
    if None in bases:
        return False
    return len({mask.stem.rstrip("0123456789").rstrip(" _.-") for mask in masks}) == 1


def _alone(images: Sequence[Entry], masks: Sequence[Entry]) -> list[Pair] | None:
    """Each place, a folder of its own, holds one image and all of its masks, whatever they are called."""
    by_place: dict[Place, list[Path]] = {}
    for mask in masks:
        by_place.setdefault(mask.place, []).append(mask.path)
    places = [image.place for image in images]
    if len({*places}) < len(places) or by_place.keys() != {*places} or not all(place[1] for place in places):
        return None
    return [Pair(image.path, tuple(by_place[image.place]), *image.place) for image in images]


def _in_words(images: Sequence[Entry], masks: Sequence[Entry], way: str) -> str:
    folders = [
        ", ".join(f"{name}/" for name in sorted({entry.folder for entry in group})[:4]) for group in (images, masks)
    ]
    return f"images in {folders[0]} ({len(images)}), masks in {folders[1]} ({len(masks)}), {way}"


def _base(stem: str) -> str:
    base = mask_base(stem)
    return base[0] if base else stem


def _loose(stem: str) -> str:
    """Without words for a role, capitals and leading zeros; the number alone where only other words differ."""
    return re.sub(r"\d+", lambda number: str(int(number[0])), without_words(stem, IMAGE_WORDS | MASK_WORDS).lower())


_WAYS_OF_STEMS: tuple[tuple[str, Stem, Stem], ...] = (
    ("of the same stem", str, str),
    ("of the image's stem with a word for masks", str, _base),
    (
        "of the same stem but for words for images and masks",
        lambda stem: without_words(stem, IMAGE_WORDS),
        lambda stem: without_words(stem, MASK_WORDS),
    ),
    ("of the same stem but for words for images and masks, capitals and leading zeros", _loose, _loose),
)
