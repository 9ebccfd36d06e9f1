"""Planted faults: each is found before training and named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile

from medseg.data.manifest import Sample
from medseg.data.parts import Box, Polygon, Runs
from medseg.data.samples import load_data
from medseg.data.verify import Finding, _refuse, require_sound, untrainable, verify
from medseg.errors import InputError
from tests.conftest import write_disc_pair

LABELS = ["blob"]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    for number in range(8):
        write_disc_pair(folder, f"c{number}", number)
    return folder


@pytest.fixture
def samples(pairs: Path, tmp_path: Path) -> list[Sample]:
    """Eight sound pairs, four of train and two each of val and test, in a folder of their own."""
    shutil.copytree(pairs, tmp_path / "data")
    splits = ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    return [replace(s, split=split) for s, split in zip(load_data(tmp_path / "data").samples, splits, strict=True)]


def save(path: Path, pixels: np.ndarray) -> None:
    PIL.Image.fromarray(pixels).save(path)


def found(samples: list[Sample]) -> list[str]:
    return [str(finding) for finding in verify(samples, LABELS)]


def test_sound_samples_have_no_findings(samples: list[Sample]) -> None:
    seen: list[int] = []
    assert verify(samples, LABELS, progress=lambda done, total: seen.append(done)) == []
    assert seen == list(range(1, 9))
    require_sound(samples, LABELS)


BROKEN: dict[str, tuple[Callable[[Sample], object], str]] = {
    "image missing": (lambda s: s.image.unlink(), "images/c1.png: the file is missing."),
    "mask missing": (lambda s: s.mask.unlink(), "masks/c1.png: the file is missing."),
    "image no image": (lambda s: s.image.write_text("x"), "images/c1.png: "),
    "image empty": (lambda s: s.image.write_bytes(b""), "images/c1.png: "),
    "image cut off": (lambda s: s.image.write_bytes(s.image.read_bytes()[:900]), "images/c1.png: "),
    "mask no image": (lambda s: s.mask.write_text("x"), "masks/c1.png: "),
    "mask of another size": (lambda s: save(s.mask, np.eye(50, dtype=bool)), "masks/c1.png: The mask is 50 × 50"),
    "mask turned": (lambda s: save(s.mask, np.eye(64, 48, dtype=bool)), "masks/c1.png: The mask is 48 × 64"),
    "mask with too many values": (
        lambda s: save(s.mask, np.arange(48 * 64, dtype=np.uint8).reshape(48, 64) % 9),
        "masks/c1.png: The mask holds the values 0, 1, 2",
    ),
    "mask all marked": (
        lambda s: save(s.mask, np.full((48, 64), 255, dtype=np.uint8)),
        "images/c1.png: the mask marks every pixel as blob",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_sample_is_named(samples: list[Sample], fault: str) -> None:
    plant, sentence = BROKEN[fault]
    plant(samples[1])
    (finding,) = found(samples)
    assert finding.startswith(sentence)


SWAPPED: dict[str, tuple[dict, str]] = {
    "outline beyond": ({"mask": (Polygon("blob", ((0, 0), (90, 0), (0, 9))),)}, "images/c1.png: An annotation reaches"),
    "runs beyond": ({"mask": (Runs("blob", "3071 9"),)}, "images/c1.png: The run lengths reach"),
    "runs of another size": ({"mask": (Runs("blob", "9", "counts", (3, 3)),)}, "images/c1.png: The run lengths are"),
    "box elsewhere": ({"boxes": (Box("blob", 0, 0, 2, 2),)}, "images/c1.png: nothing is marked inside its bounding"),
    "box beyond": ({"boxes": (Box("blob", 0, 0, 99, 2),)}, "images/c1.png: An annotation reaches"),
    "frame beyond": ({"frame": 3}, "images/c1.png: "),
    "case in two splits": ({"case": "c7"}, "case c7: stands in train and test"),
}


@pytest.mark.parametrize("fault", SWAPPED)
def test_a_wrong_annotation_is_named(samples: list[Sample], fault: str) -> None:
    change, sentence = SWAPPED[fault]
    samples[1] = replace(samples[1], **change)
    (finding,) = found(samples)
    assert finding.startswith(sentence)


def test_the_same_image_in_two_splits_is_named(samples: list[Sample]) -> None:
    shutil.copy(samples[0].image, samples[7].image)
    (finding,) = found(samples)
    assert finding == "images/c7.png: the same picture as images/c0.png, which is in train and this in test."


def test_the_same_image_twice_in_one_split_is_no_fault(samples: list[Sample]) -> None:
    shutil.copy(samples[0].image, samples[1].image)
    assert found(samples) == []


def test_one_empty_mask_is_no_fault_but_a_split_of_them_is(samples: list[Sample]) -> None:
    save(samples[4].mask, np.zeros((48, 64), dtype=np.uint8))
    assert found(samples) == []
    save(samples[5].mask, np.zeros((48, 64), dtype=np.uint8))
    assert found(samples) == ["split val: all 2 masks are empty."]


def test_a_label_that_train_never_marks_is_named(samples: list[Sample]) -> None:
    outline = Polygon("blob", ((1, 1), (9, 1), (1, 9)))
    outlined = [replace(sample, mask=(outline,)) for sample in samples]
    findings = verify(outlined, ["blob", "other"])
    assert [str(f) for f in findings] == ["label other: none of the 4 masks of train marks it."]


def test_all_faults_are_found_in_one_pass_and_refused_in_one_sentence(samples: list[Sample]) -> None:
    for sample in samples[:3]:
        sample.mask.unlink()
    assert len(verify(samples, LABELS)) == 3
    with pytest.raises(InputError, match=r"has 3 faults\. \(1\) masks/c0\.png: the file is missing\. \(2\)"):
        require_sound(samples, LABELS)


def test_a_refusal_names_ten_faults_and_counts_the_rest() -> None:
    with pytest.raises(InputError, match=r"has 12 faults.*\(10\).*And 2 more"):
        _refuse([Finding(f"{i}.png", f"fault {i}.") for i in range(12)])


def test_what_training_refuses_is_a_finding(samples: list[Sample]) -> None:
    alone = [replace(samples[0], split="train")]
    assert [str(finding) for finding in untrainable(alone)] == [
        "split train: a step of training needs two samples, and it holds 1. Add cases, or divide them anew.",
        "split val: training needs one to stop at its best, and it holds 0. Add cases, or divide them anew.",
    ]
    assert untrainable([replace(samples[0], split="test")]) == []  # an external set
    assert untrainable(samples) == []


def test_one_sentence_of_many_files_is_one_line(samples: list[Sample]) -> None:
    for sample in samples[:4]:
        save(Path(str(sample.mask)), np.arange(48 * 64).reshape(48, 64).astype(np.uint8) % 5)
    with pytest.raises(InputError, match=r"has 4 faults\. \(1\) masks/c0\.png: .* \(Also .* and 1 more\.\)$"):
        require_sound(samples, LABELS)


def test_a_data_set_of_12_bits_in_16_is_said_once(samples: list[Sample]) -> None:
    for sample in samples:
        save(sample.image, np.linspace(0, 4095, 48 * 64).reshape(48, 64).astype(np.uint16))
    (doubt,) = [finding for finding in verify(samples, LABELS) if "it is dark" in finding.sentence]
    assert doubt.kind == "doubt"
    assert "If 12 bits are meant" in doubt.sentence
    assert doubt.sentence.endswith("(So of 8 of 8 samples.)")


def test_files_that_are_stretched_each_by_its_own_ends_are_doubtful(samples: list[Sample]) -> None:
    assert not verify(samples[:3], LABELS[:1])
    for number, sample in enumerate(samples[:3], start=1):
        tifffile.imwrite(sample.image, np.linspace(0, 100 * number, 48 * 64, dtype=np.float32).reshape(48, 64))
    (doubt,) = verify(samples[:3], LABELS[:1])
    assert (doubt.kind, doubt.where) == ("doubt", "images/c0.png")
    assert "values from 0 to 100 are shown black to white. So of 3 files, each by its own ends" in str(doubt)


@pytest.mark.parametrize(("cases", "doubts"), [(12, ["split val: holds 1 of 12 cases"]), (9, [])])
def test_a_split_of_one_case_among_many_is_doubtful(cases: int, doubts: list[str]) -> None:
    splits = ["val", "test", "test", *["train"] * (cases - 3)]
    samples = [Sample(Path(f"{n}.png"), Path(f"{n}m.png"), str(n), split) for n, split in enumerate(splits)]
    assert [str(finding).partition(", ")[0] for finding in untrainable(samples)] == doubts
