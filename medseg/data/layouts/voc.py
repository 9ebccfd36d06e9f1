"""Pascal VOC's segmentation layout, which CVAT, labelme and many others write."""

from __future__ import annotations

import re
from pathlib import Path

from medseg.data.layouts.pairs import refuse_single
from medseg.data.left_out import left_out
from medseg.data.listing import by_stem, files_in, images_in, split_of
from medseg.data.manifest import DataSet, Sample
from medseg.data.parts import MaskFile
from medseg.errors import InputError
from medseg.reading.marks import Value

_MASKS = ("SegmentationClassPNG", "SegmentationClass")
_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
_VOID = 255


def is_voc(root: Path) -> bool:
    """JPEGImages/ beside SegmentationClass/ (labelme: SegmentationClassPNG/)."""
    return (root / "JPEGImages").is_dir() and any((root / name).is_dir() and images_in(root / name) for name in _MASKS)


def read_voc(root: Path) -> DataSet:
    """Pascal VOC: label maps of palette indices or colours, with their void left out.

    Home page: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ and, for CVAT's export,
        https://docs.cvat.ai/docs/manual/advanced/formats/format-smask/
    Layout: JPEGImages/a.jpg with SegmentationClass/a.png; ImageSets/Segmentation/train.txt, val.txt, test.txt of stems
        are the splits. Names: labelmap.txt of lines name:r,g,b:: (CVAT), class_names.txt (labelme2voc), or the 20 of
        VOC where the folder is called VOC…; without any the label map's values have no names. 255 is void, the rim of
        objects: it counts as background. SegmentationObject/ and Annotations/ are not read.
    Licence, citation: those of the data; Everingham et al. 2010, The Pascal Visual Object Classes Challenge, IJCV 88.
    Raises InputError for a mask without an image.
    """
    masks = next(root / name for name in _MASKS if (root / name).is_dir() and by_stem(root / name))
    images, labelled = by_stem(root / "JPEGImages"), by_stem(masks)
    refuse_single([stem for stem in labelled if stem not in images])
    classes, nothing = _classes(root)
    known = tuple(classes.values()) + nothing
    splits = _splits(root)
    samples = [
        Sample(
            images[stem],
            tuple(MaskFile(name, path, (value,), known) for name, value in classes.items()) or path,
            stem,
            splits.get(stem, ""),
        )
        for stem, path in sorted(labelled.items())
    ]
    entries = left_out("images without a mask", images.keys() - labelled.keys())
    entries += left_out("values that are void: their pixels count as background", map(str, nothing))
    taken = f"images JPEGImages/, label maps {masks.name}/"
    return DataSet("voc", tuple(classes), samples, entries, taken)


def _classes(root: Path) -> tuple[dict[str, Value], tuple[Value, ...]]:
    """Name → value, without background; and the values that are void."""
    if (path := root / "labelmap.txt").is_file():
        return _labelmap(path)
    if (path := root / "class_names.txt").is_file():
        names = path.read_text(encoding="utf-8-sig").split("\n")
        names = [name.strip() for name in names if name.strip() and name.strip() != "__ignore__"]
        return {name: value for value, name in enumerate(names) if value}, (_VOID,)
    if re.match(r"VOC", root.name, re.IGNORECASE):
        return {name: value for value, name in enumerate(_CLASSES, start=1)}, (_VOID,)
    return {}, ()


def _labelmap(path: Path) -> tuple[dict[str, Value], tuple[Value, ...]]:
    classes: dict[str, Value] = {}
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        try:
            red, green, blue = (int(part) for part in rest.partition(":")[0].split(","))
        except ValueError:
            raise InputError(f"{path.name}: wanted lines of name:red,green,blue::, found {line[:60]!r}.") from None
        if (red, green, blue) != (0, 0, 0):
            classes[name.strip()] = (red, green, blue)
    return classes, ()


def _splits(root: Path) -> dict[str, str]:
    """Stem → split, by the lists in ImageSets/Segmentation/."""
    splits: dict[str, str] = {}
    for path in files_in(root / "ImageSets" / "Segmentation", "*.txt"):
        if path.stem.lower() in ("train", "val", "test"):
            stems = path.read_text(encoding="utf-8-sig").split()
            splits.update(dict.fromkeys((Path(stem).stem for stem in stems), split_of(path.stem)))
    return splits
