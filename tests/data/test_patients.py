"""Images of one patient are one case where their files say so, and a doubt where only their names do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pydicom
import pytest

from medseg.__main__ import main
from medseg.data.films import write_dicom
from medseg.data.samples import load_data
from medseg.data.splits import split_hash
from medseg.errors import InputError, MedsegWarning
from tests.conftest import write_disc_pair
from tests.data_sets import save, scene, siim

DOUBT = "named like several of one patient"


def films(root: Path, patients: Sequence[str], folder: str = "") -> None:
    """A DICOM image with its mask for each of the Patient IDs."""
    for number, patient in enumerate(patients):
        film(root / folder / "images" / f"s{number}.dcm", patient)
        save(root / folder / "masks" / f"s{number}.png", scene(number)[..., 0] // 128 * 255)


def film(path: Path, patient: str) -> None:
    write_dicom(path, scene(len(path.stem))[..., 0])
    header = pydicom.dcmread(path)
    header.PatientID, header.PatientName = patient, "Doe^Jane"
    header.save_as(path)


def pairs(root: Path, stems: Sequence[str]) -> None:
    for number, stem in enumerate(stems):
        write_disc_pair(root, stem, number)


def cases(root: Path) -> list[str]:
    return [sample.case for sample in load_data(root, quiet=True).samples]


def test_dicom_files_of_one_patient_are_one_case_and_the_others_keep_their_names(tmp_path: Path) -> None:
    films(tmp_path, ["12345", "12345", "777", "777", "888", ""])
    found = cases(tmp_path)
    assert found[0] == found[1] != found[2] == found[3]
    assert found[4:] == ["s4", "s5"]


def test_no_patient_id_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    films(tmp_path / "data", [f"1234{number // 2}" for number in range(12)])
    out = tmp_path / "out"
    main(["inspect", str(tmp_path / "data"), "--write-splits", str(tmp_path / "s.json"), "--write-masks", str(out)])
    report = capsys.readouterr().out
    assert "12 samples of 6 cases" in report
    for text in (report, (tmp_path / "s.json").read_text(), (out / "manifest.json").read_text()):
        assert "1234" not in text
        assert "Doe" not in text


def test_a_written_division_of_patients_is_read_back(tmp_path: Path) -> None:
    films(tmp_path, [f"P{number // 2}" for number in range(12)])
    main(["inspect", str(tmp_path), "--write-splits", str(tmp_path / "splits.json")])
    assert len({*cases(tmp_path)}) == 6


@pytest.mark.parametrize(
    "patient",
    ["", "ANONYMOUS", "Unknown", "0000", "XXX", "n/a", "de-identified", "Anonymous Patient", "NO_ID", "PatientID", "^"],
)
def test_an_id_that_stands_for_nobody_unites_no_images(tmp_path: Path, patient: str) -> None:
    films(tmp_path, [patient] * 3)
    assert cases(tmp_path) == ["s0", "s1", "s2"]


def test_one_id_on_all_images_is_said_and_a_table_wins(tmp_path: Path) -> None:
    films(tmp_path, ["12345"] * 6)
    with pytest.warns(MedsegWarning, match=r"Doubtful: DICOM images that all have one Patient ID .*\(6\)"):
        assert len({sample.case for sample in load_data(tmp_path).samples}) == 1
    rows = "".join(f"s{number}.dcm,s{number}\n" for number in range(6))
    (tmp_path / "cases.csv").write_text(f"image,patient\n{rows}", encoding="utf-8")
    found = load_data(tmp_path)
    assert [sample.case for sample in found.samples] == [f"s{number}" for number in range(6)]
    assert not found.left_out


def test_one_patient_in_train_and_in_test_is_refused(tmp_path: Path) -> None:
    films(tmp_path, ["1", "1", "22", "22"], "train")
    films(tmp_path, ["1", "33", "33"], "test")
    with pytest.raises(
        InputError, match=r"^test/images/s0\.dcm and train/images/s0\.dcm have one Patient ID.*a csv file"
    ):
        load_data(tmp_path)


def test_siim_films_of_one_patient_are_one_case(tmp_path: Path) -> None:
    siim(tmp_path)
    for path in tmp_path.rglob("*.dcm"):
        header = pydicom.dcmread(path)
        header.PatientID = "12345"
        header.save_as(path)
    assert len({*cases(tmp_path)}) == 1


def test_roboflows_copies_of_one_image_are_one_case(tmp_path: Path) -> None:
    for number in range(24):
        stem = f"im{number // 3}_png.rf.{'abc'[number % 3] * 4}"
        save(tmp_path / "train" / "images" / f"{stem}.jpg", scene(number))
        line = "0 0.1 0.1 0.6 0.1 0.6 0.6\n"
        (tmp_path / "train" / "labels").mkdir(exist_ok=True)
        (tmp_path / "train" / "labels" / f"{stem}.txt").write_text(line, encoding="utf-8")
    (tmp_path / "data.yaml").write_text("names: [polyp]\n", encoding="utf-8")
    found = load_data(tmp_path)
    assert {sample.case for sample in found.samples} == {f"im{number}_png" for number in range(8)}
    assert not found.left_out


def test_roboflows_namesakes_in_train_and_test_are_other_images(tmp_path: Path) -> None:
    for part, copies in (("train", "ab"), ("test", "c")):
        for copy in copies:
            write_disc_pair(tmp_path / part, f"1_png.rf.{copy}", ord(copy))
    with pytest.warns(MedsegWarning, match=r"Roboflow's copies lie in several splits.*\(1\), the first: 1_png"):
        found = load_data(tmp_path)
    assert sorted({sample.case for sample in found.samples}) == ["test/images/1_png", "train/images/1_png"]


NAMED_BY_PATIENT: dict[str, Callable[[int, int], str]] = {
    "frames": lambda patient, image: f"patient{patient:03}_frame{image:02}",
    "NIH": lambda patient, image: f"{patient:08}_{image:03}",
    "TCGA": lambda patient, image: f"TCGA_CS_{patient + 4901}_19960909_{image}",
    "LIDC": lambda patient, image: f"LIDC-IDRI-{patient:04}_slice{image:03}",
    "side": lambda patient, image: f"P{patient}_L_{image}",
    "letters": lambda patient, image: f"{patient}_{('a', 'b', 'c')[image]}",
    "copies": lambda patient, image: f"patient{patient:03}_frame{image:02}_png.rf.abc{image}",
}


@pytest.mark.parametrize("kind", NAMED_BY_PATIENT)
def test_names_of_patients_are_a_doubt_and_unite_nothing(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stems = [NAMED_BY_PATIENT[kind](number // 3, number % 3) for number in range(18)]
    pairs(tmp_path, stems)
    main(["inspect", str(tmp_path)])
    report = capsys.readouterr().out
    assert "18 samples of 18 cases" in report
    assert f"1 doubt\n  Doubtful: images {DOUBT}" in report
    assert f"(18), the first: {stems[0]}.png, {stems[1]}.png" in report
    assert report.endswith("no faults\n")
    with pytest.warns(MedsegWarning, match=DOUBT):
        load_data(tmp_path)


PLAIN: dict[str, Callable[[int], str]] = {
    "numbers": lambda number: f"{number:04}",
    "counter": lambda number: f"image_{number:03}",
    "counter after a version": lambda number: f"v2_{number:03}",
    "bracketed": lambda number: f"{('benign', 'malignant', 'normal')[number % 3]} ({number})",
    "one number, one finding": lambda number: f"MCUCXR_{number:04}_{number % 2}",
    "one word after the number": lambda number: f"{number}_training",
    "UIDs": lambda number: f"1.2.276.0.7230010.{number % 4}.{number}",
    "dates and times": lambda number: f"IMG_202401{number // 5 + 10}_{number * 7919:06}",
    "dates": lambda number: f"2024-01-{number // 5 + 10}-{number:02}",
    "years": lambda number: f"{2018 + number // 5}_{number:03}",
    "random": lambda number: f"cju{number * 7919:07}qs{number % 2}0",
}


@pytest.mark.parametrize("kind", PLAIN)
def test_plain_counters_are_no_doubt(tmp_path: Path, kind: str) -> None:
    pairs(tmp_path, [PLAIN[kind](number) for number in range(20)])
    assert not load_data(tmp_path).left_out


def test_a_few_beginnings_of_many_images_are_clinics_and_no_doubt(tmp_path: Path) -> None:
    for number in range(84):
        save(tmp_path / "images" / f"C{number // 28}_{number:03}.png", scene(0))
        save(tmp_path / "masks" / f"C{number // 28}_{number:03}.png", scene(0)[..., 0] // 128 * 255)
    assert not load_data(tmp_path).left_out


def test_one_copy_of_roboflows_keeps_the_name_of_its_file(tmp_path: Path) -> None:
    stems = [f"a{number}_png.rf.abc{number}" for number in range(4)]
    pairs(tmp_path, stems)
    assert cases(tmp_path) == stems


def test_a_tables_patient_is_no_patient_id(tmp_path: Path) -> None:
    for part, number in (("train", 0), ("train", 1), ("test", 2), ("test", 3)):
        write_disc_pair(tmp_path / part, f"s{number}", number)
    rows = "".join(f"s{number}.png,patient-{number % 2}\n" for number in range(4))
    (tmp_path / "cases.csv").write_text(f"image,patient\n{rows}", encoding="utf-8")
    with pytest.raises(InputError) as refusal:
        load_data(tmp_path)
    assert "Patient ID" not in str(refusal.value)


def test_a_table_or_a_division_that_keeps_patients_together_ends_the_doubt(tmp_path: Path) -> None:
    stems = [NAMED_BY_PATIENT["frames"](number // 3, number % 3) for number in range(18)]
    pairs(tmp_path, stems)
    splits = tmp_path / "splits.json"
    splits.write_text(f'{{"train": {stems[:12]}, "val": {stems[12:15]}, "test": {stems[15:]}}}'.replace("'", '"'))
    assert not load_data(tmp_path).left_out
    splits.write_text(f'{{"train": {stems[:11]}, "val": {stems[11:15]}, "test": {stems[15:]}}}'.replace("'", '"'))
    with pytest.warns(MedsegWarning, match=DOUBT):
        load_data(tmp_path)
    splits.unlink()
    rows = "".join(f"{stem}.png,{stem[:10]}\n" for stem in stems)
    (tmp_path / "cases.csv").write_text(f"image,patient\n{rows}", encoding="utf-8")
    found = load_data(tmp_path)
    assert (found.left_out, len({sample.case for sample in found.samples})) == ((), 6)


def test_films_without_a_patient_are_divided_as_before(tmp_path: Path) -> None:
    films(tmp_path, [""] * 12)
    assert split_hash(load_data(tmp_path).samples).startswith("b721eaba801a4d51")
