"""Many files through one ensemble: exactly once each, also when stopped, killed, repeated or shared."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

import medseg
from medseg.__main__ import main
from medseg.errors import InputError
from medseg.inference import runtime
from medseg.inference.batch import Settings, segment_job
from medseg.inference.jobs import Job, find_jobs
from medseg.inference.record import masks_sha256
from tests.conftest import ROOT, make_ensemble, write_disc_pair
from tests.dicom_sources import write_source
from tests.reading.test_series import write_series


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Three images in two folders, a hidden file, and a text with an image's name."""
    for name, seed in (("a", 1), ("b", 2), ("c", 3)):
        write_disc_pair(tmp_path / "drawn", name, seed)
    folder = tmp_path / "films"
    (folder / "deep").mkdir(parents=True)
    for source, target in (("a", "a.png"), ("b", "b.png"), ("c", "deep/a.png")):
        shutil.copy(tmp_path / "drawn" / "images" / f"{source}.png", folder / target)
    (folder / ".hidden.png").write_bytes(b"x")
    (folder / "no.png").write_text("no image")
    return folder


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows by one with each run of a network; no answer is kept."""
    counted: list[None] = []
    run = runtime.run

    def counting(*args: object) -> object:
        counted.append(None)
        return run(*args)

    monkeypatch.setattr(runtime, "run", counting)
    monkeypatch.setattr("medseg.inference.ensemble._cache", medseg.inference.ensemble.ArrayCache(0))
    return counted


def predict(*arguments: object) -> int:
    """The exit status."""
    try:
        main(["predict", *map(str, arguments)])
    except SystemExit as stopped:
        return stopped.code if isinstance(stopped.code, int) else 1
    return 0


def rows(output: Path) -> list[dict[str, str]]:
    with (output / "results.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def written(output: Path) -> list[str]:
    return sorted(path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file())


def test_every_file_leaves_its_mask_and_its_report_in_its_place(
    tiny_ensemble: Path, films: Path, tmp_path: Path
) -> None:
    (films / "no.png").unlink()
    assert predict(tiny_ensemble, films, "--output", tmp_path / "out") == 0
    places = ("a.png", "b.png", "deep/a.png")
    assert written(tmp_path / "out") == sorted(
        ["results.csv", *(f"{place}.{kind}" for place in places for kind in ("json", "png"))]
    )
    report = json.loads((tmp_path / "out" / "deep" / "a.png.json").read_text())
    expected = medseg.Ensemble.from_pretrained(tiny_ensemble).predict(medseg.read_image(films / "deep" / "a.png"))
    assert report["masks_sha256"] == expected.report()["masks_sha256"]
    with PIL.Image.open(tmp_path / "out" / "deep" / "a.png.png") as mask:
        assert np.array_equal(np.asarray(mask) > 0, expected.masks[0])


def test_the_table_has_a_row_for_each_label_and_each_refusal(tiny_ensemble: Path, films: Path, tmp_path: Path) -> None:
    assert predict(tiny_ensemble, films, "--output", tmp_path / "out") == 1
    found = rows(tmp_path / "out")
    assert [row["file"] for row in found] == ["a.png", "b.png", "deep/a.png", "no.png"]
    assert found[0]["label"] == "blob"
    assert float(found[0]["area_px"]) >= 0
    assert "is none of PNG, JPEG" in found[-1]["error"]


def test_no_name_in_the_table_is_a_formula(tiny_ensemble: Path, films: Path, tmp_path: Path) -> None:
    for good, bad in (("a.png", "=cmd()|'x'!A1.png"), ("no.png", "@no.png")):
        (films / good).rename(films / bad)
    predict(tiny_ensemble, films, "--output", tmp_path / "out")
    assert [row["file"] for row in rows(tmp_path / "out")] == ["'=cmd()|'x'!A1.png", "'@no.png", "b.png", "deep/a.png"]


def test_each_frame_is_given_when_its_files_are_there(tiny_ensemble: Path, films: Path, tmp_path: Path) -> None:
    ensemble = medseg.Ensemble.from_pretrained(tiny_ensemble)
    with PIL.Image.open(films / "a.png") as first, PIL.Image.open(films / "b.png") as second:
        first.save(tmp_path / "pages.tif", save_all=True, append_images=[second])
    frames = segment_job(ensemble, Job(tmp_path / "pages.tif", "pages"), tmp_path / "out", Settings())
    assert next(frames).image.frame == 0
    assert written(tmp_path / "out") == ["pages-frame000.json", "pages-frame000.png"]


def test_a_repeated_command_runs_no_network_and_one_new_file_runs_alone(
    tiny_ensemble: Path, films: Path, tmp_path: Path, runs: list[None]
) -> None:
    predict(tiny_ensemble, films, "--output", tmp_path / "out")
    first = len(runs)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    predict(tiny_ensemble, films, "--output", tmp_path / "out")
    assert len(runs) == first
    assert {path: path.stat().st_mtime_ns for path in before} == before
    shutil.copy(films / "b.png", films / "d.png")
    predict(tiny_ensemble, films, "--output", tmp_path / "out")
    assert len(runs) == first + 2  # two members


@pytest.mark.parametrize("change", [["--threshold", "0.31"], ["--weights", "1", "0"], ["--tta"]])
def test_a_folder_takes_results_of_one_setting_only(
    change: list[str], tiny_ensemble: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict(tiny_ensemble, films / "a.png", "--output", tmp_path / "out")
    with pytest.raises(SystemExit, match=r"holds results of other settings, and they would be mixed\. Name another"):
        main(["predict", str(tiny_ensemble), str(films / "b.png"), "--output", str(tmp_path / "out"), *change])
    assert written(tmp_path / "out") == ["a.png.json", "a.png.png", "results.csv"]


def test_a_series_is_one_stack_whose_cut_slice_is_a_row_of_its_own(
    tiny_ensemble: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    attributes = {"SeriesNumber": 3, "SeriesDescription": "Thorax"}
    write_series(tmp_path / "study" / "ct", [0, 5, 15, 20], side=48, **attributes)
    write_disc_pair(tmp_path / "study", "film", 1)
    cut = tmp_path / "study" / "ct" / "101.2.9"  # the last
    cut.write_bytes(cut.read_bytes()[:-4])
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as file:
        for path in (tmp_path / "study").rglob("*"):
            file.write(path, path.relative_to(tmp_path / "study"))
    for source, folder in ((tmp_path / "study", ""), (tmp_path / "study.zip", "study/")):
        output = tmp_path / f"out{source.suffix}"
        assert predict(tiny_ensemble, source, "--output", output) == 1
        said = capsys.readouterr()
        assert f"{folder}ct/series-3: “Thorax”, series 3, CT, 4 slices of 48 × 48" in said.out
        assert f"{folder}ct/series-3: Slices are missing, 1 in all at the usual distance of 5 mm" in said.err
        table = {(row["file"].removeprefix(folder), row["frame"]): row for row in rows(output)}
        assert len(table) == 6
        assert "Slice 3 (101.2.9): " in table["ct/series-3", "3"]["error"]
        assert "Slices are missing" in table["ct/series-3", "0"]["notes"]
        assert table["images/film.png", "0"]["notes"] == ""


def test_a_series_that_lies_in_a_folder_and_in_a_zip_is_one_stack_and_what_is_no_file_is_named(
    tiny_ensemble: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path / "study", [0, 5, 10, 15], side=48, SeriesNumber=3)
    parts = sorted((tmp_path / "study").iterdir())
    with zipfile.ZipFile(tmp_path / "rest.zip", "w") as file:
        for path in parts[2:]:
            file.write(path, path.name)
            path.unlink()
    (tmp_path / "study" / "gone.png").symlink_to("nothing")
    predict(tiny_ensemble, tmp_path / "rest.zip", tmp_path / "study", "--output", tmp_path / "out")
    assert [(row["file"], row["frame"], row["error"]) for row in rows(tmp_path / "out")] == [
        ("series-3", str(frame), "") for frame in range(4)
    ]
    assert "(1), the first: gone.png." in capsys.readouterr().err


def test_a_changed_image_and_a_lost_mask_are_done_again(
    tiny_ensemble: Path, films: Path, tmp_path: Path, runs: list[None]
) -> None:
    predict(tiny_ensemble, films / "a.png", films / "b.png", "--output", tmp_path / "out")
    shutil.copy(films / "deep" / "a.png", films / "a.png")
    (tmp_path / "out" / "b.png.png").unlink()
    before = len(runs)
    predict(tiny_ensemble, films / "a.png", films / "b.png", "--output", tmp_path / "out")
    assert len(runs) == before + 4


def test_a_half_written_report_is_none(tiny_ensemble: Path, films: Path, tmp_path: Path) -> None:
    predict(tiny_ensemble, films / "a.png", "--output", tmp_path / "out")
    report = tmp_path / "out" / "a.png.json"
    whole = report.read_text()
    report.write_text(whole[: len(whole) // 2])
    assert predict(tiny_ensemble, films / "a.png", "--output", tmp_path / "out") == 0
    assert json.loads(report.read_text())["masks_sha256"] == json.loads(whole)["masks_sha256"]


def test_a_file_that_was_mended_is_no_failure_any_more(tiny_ensemble: Path, films: Path, tmp_path: Path) -> None:
    assert predict(tiny_ensemble, films / "no.png", "--output", tmp_path / "out") == 1
    shutil.copy(films / "a.png", films / "no.png")
    assert predict(tiny_ensemble, films / "no.png", "--output", tmp_path / "out") == 0
    assert written(tmp_path / "out") == ["no.png.json", "no.png.png", "results.csv"]


def test_every_page_of_a_file_is_a_row(tiny_ensemble: Path, films: Path, tmp_path: Path) -> None:
    with PIL.Image.open(films / "a.png") as first, PIL.Image.open(films / "b.png") as second:
        first.save(tmp_path / "pages.tif", save_all=True, append_images=[second])
    assert predict(tiny_ensemble, tmp_path / "pages.tif", "--output", tmp_path / "out") == 0
    assert [row["frame"] for row in rows(tmp_path / "out")] == ["0", "1"]
    assert (tmp_path / "out" / "pages.tif-frame001.png").is_file()


def test_patterns_folders_and_files_name_each_file_once(films: Path, tmp_path: Path) -> None:
    found = find_jobs([str(films / "*.png"), str(films / "a.png")], tmp_path / "out")
    assert [job.stem for job in found] == ["a.png", "b.png", "no.png"]
    assert find_jobs([str(films)], films / "deep")[-1] == Job(films / "no.png", "no.png")


def test_what_a_cd_holds_beside_images_is_left_out_and_counted(
    tiny_ensemble: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (films / "no.png").unlink()
    for name, content in (("viewer.exe", b"MZ"), ("autorun.inf", b"[autorun]"), ("README", b"x"), ("empty", b"")):
        (films / name).write_bytes(content)
    report = Dataset()
    report.SOPClassUID, report.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.11", "1.2.3"
    report.file_meta = FileMetaDataset()
    report.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    report.save_as(films / "report.dcm", enforce_file_format=True)
    (films / "a.bin").write_bytes((films / "a.png").read_bytes())  # the content decides
    left_out: list[str] = []
    stems = [job.stem for job in find_jobs([str(films)], tmp_path / "out", left_out)]
    assert stems == ["a.bin", "a.png", "b.png", "deep/a.png"]
    assert sorted(left_out) == ["README", "autorun.inf", "empty", "report.dcm", "viewer.exe"]
    assert predict(tiny_ensemble, films, "--output", tmp_path / "out") == 0
    assert (
        "files that are no image, or whose name no result can have (not UTF-8, or over 220 bytes) (5)"
        in capsys.readouterr().err
    )
    assert find_jobs([str(films / "viewer.exe")], tmp_path / "out")  # what is named is tried, and fails with a row
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.txt").write_text("x")
    with pytest.raises(InputError, match="holds no image that can be used among its 1 file"):
        find_jobs([str(tmp_path / "none")], tmp_path / "out")


def test_names_that_no_result_can_have_are_left_out_and_the_others_go_on(
    tiny_ensemble: Path, films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strange = [os.fsdecode(b"b\xff.png"), f"{'n' * 245}.png"]
    for name in strange:
        (films / name).write_bytes((films / "a.png").read_bytes())
    (films / "no.png").unlink()
    assert predict(tiny_ensemble, films, "--output", tmp_path / "out") == 0
    told = capsys.readouterr()
    assert "3 of 3 files segmented" in told.out
    assert "over 220 bytes) (2), the first: b?.png, nnn" in told.err
    for name in strange:
        with pytest.raises(InputError, match=r"No result can have the name .*: wanted UTF-8, and 220 bytes at most"):
            find_jobs([str(films / name)], tmp_path / "out")


def test_a_copy_of_a_slice_is_no_image_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    paths = write_source("ct-series", tmp_path / "in")
    shutil.copy(paths[0], tmp_path / "in" / "copy.dcm")
    (job,) = find_jobs([str(tmp_path / "in")], tmp_path / "out")
    assert job.frames == len(paths)
    assert job.series is not None
    assert "Copies of slices of the series are left out: 1." in job.series.notes


def test_segmentations_in_a_folder_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (path,) = write_source("cr", tmp_path / "in")
    seg = pydicom.dcmread(path)
    seg.Modality = "SEG"
    seg.save_as(tmp_path / "in" / "seg.dcm")
    left_out: list[str] = []
    assert [job.path for job in find_jobs([str(tmp_path / "in")], tmp_path / "out", left_out)] == [path]
    assert left_out == ["seg.dcm"]


def test_an_emptied_mask_is_done_again(tiny_ensemble: Path, films: Path, tmp_path: Path) -> None:
    predict(tiny_ensemble, films / "a.png", "--output", tmp_path / "out")
    (tmp_path / "out" / "a.png.png").write_bytes(b"")
    predict(tiny_ensemble, films / "a.png", "--output", tmp_path / "out")
    assert (tmp_path / "out" / "a.png.png").stat().st_size


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [(["nowhere"], "holds no file"), (["a.png", "deep/a.png"], "one name"), (["out"], r"All files of .* name another")],
)
def test_inputs_that_cannot_be_meant_are_refused(films: Path, inputs: list[str], sentence: str) -> None:
    (films / "out").mkdir()
    (films / "out" / "a.png").write_bytes((films / "a.png").read_bytes())
    with pytest.raises(InputError, match=sentence):
        find_jobs([str(films / name) for name in inputs], films / "out")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (["--weights", "1"], "one weight for each"),
        (["--threshold", "1.5"], "between 0 and 1"),
        (["--threshold", "0.5,0.3"], "takes one threshold, as blob is its only label; got 2"),
        (["--dicom", "seg", "--threshold", "0.5,0.3"], "takes one threshold"),
        (["--blend", "magic"], "can blend by"),
    ],
)
def test_settings_that_fit_no_image_are_refused_before_the_first(
    change: list[str], sentence: str, tiny_ensemble: Path, films: Path, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match=sentence):
        main(["predict", str(tiny_ensemble), str(films), "--output", str(tmp_path / "out"), *change])
    assert written(tmp_path / "out") == []


def test_each_label_is_cut_at_its_own_threshold(films: Path, tmp_path: Path) -> None:
    folder = make_ensemble(tmp_path / "two", (1, 1), labels=("lung", "heart"), task="multilabel", plain=True)
    probabilities = medseg.Ensemble.from_pretrained(folder).predict(medseg.read_image(films / "a.png")).probabilities
    cuts = [float(np.quantile(each, share)) for each, share in zip(probabilities, (0.3, 0.8), strict=True)]
    assert predict(folder, films / "a.png", "--output", tmp_path / "out", "--threshold", f"{cuts[0]},{cuts[1]}") == 0
    report = json.loads((tmp_path / "out" / "a.png.json").read_text())
    masks = np.stack([each >= cut for each, cut in zip(probabilities, cuts, strict=True)])
    assert [report["areas"][label]["px"] for label in ("lung", "heart")] == masks.sum(axis=(1, 2)).tolist()
    assert report["masks_sha256"] == masks_sha256(masks)


def launch(folder: Path, output: Path, ensemble: Path, processes: int) -> subprocess.Popen[str]:
    """The command in a process group of its own, several processes under `accelerate launch`."""
    several = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
    command = [sys.executable, *(several if processes > 1 else ()), "-m", "medseg", "predict"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*command, str(ensemble), str(folder), "--output", str(output)],
        cwd=ROOT, env=environment, start_new_session=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_two_processes_share_the_files_and_a_kill_loses_and_repeats_none(
    tiny_ensemble: Path, tmp_path: Path, runs: list[None]
) -> None:
    for number in range(24):
        write_disc_pair(tmp_path / "drawn", f"p{number:02d}", number)
    films, output = tmp_path / "drawn" / "images", tmp_path / "out"
    killed = launch(films, output, tiny_ensemble, 1)
    deadline = time.monotonic() + 120
    while len(list(output.glob("*.json"))) < 5 and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    done = {path: path.stat().st_mtime_ns for path in output.glob("*.json")}
    assert 0 < len(done) < 24
    again = launch(films, output, tiny_ensemble, 2)
    shown, _ = again.communicate(timeout=300)
    assert again.returncode == 0, shown
    assert "24 of 24 files segmented, 0 failed" in shown
    assert len(rows(output)) == 24
    assert {path: path.stat().st_mtime_ns for path in done} == done
    predict(tiny_ensemble, films, "--output", tmp_path / "alone")
    for path in output.glob("*.png"):
        assert path.read_bytes() == (tmp_path / "alone" / path.name).read_bytes()


def test_whatever_one_file_raises_is_its_row_and_the_others_go_on(
    tiny_ensemble: Path, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medseg.reading.readers import read_file

    def odd(path: Path, *, frame: int = 0) -> object:
        if path.name == "a.png":
            raise IndexError("boolean index did not match")
        return read_file(path, frame=frame)

    monkeypatch.setattr("medseg.inference.jobs.read_file", odd)
    assert predict(tiny_ensemble, films / "a.png", films / "b.png", "--output", tmp_path / "out") == 1
    first, second = rows(tmp_path / "out")
    assert first["error"] == "This file could not be segmented (IndexError: boolean index did not match)."
    assert (second["file"], second["error"]) == ("b.png", "")


def test_every_report_and_row_says_how_far_to_believe_it(films: Path, tmp_path: Path) -> None:
    """An image that suits the embedded polyp ensemble, and one that does not, whose Dice nobody predicts."""
    polyp = ROOT / "assets" / "ensembles" / "polyp"
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(ROOT / "assets" / "examples" / "endoscopy-1.png", folder / "a.png")
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(folder / "b.png")
    assert predict(polyp, folder, "--output", tmp_path / "out") == 0
    suits, noise = rows(tmp_path / "out")
    assert (suits["domain"], suits["warning"], noise["domain"]) == ("suits", "", "none of these")
    assert 0 <= float(suits["low"]) <= float(suits["predicted_dice"]) <= float(suits["high"]) <= 1
    assert suits["look_yourself"] in ("yes", "no")
    assert (noise["predicted_dice"], noise["look_yourself"]) == ("", "yes")
    assert noise["warning"].startswith("This image is very unlike what the ensemble was trained on")
    report = json.loads((tmp_path / "out" / "a.png.json").read_text())
    assert report["trust"]["dice"] == float(suits["predicted_dice"])
    assert report["domain"]["verdict"] == "suits"


def test_without_calibration_and_domain_json_nothing_is_predicted(
    tiny_ensemble: Path, films: Path, tmp_path: Path
) -> None:
    predict(tiny_ensemble, films / "a.png", "--output", tmp_path / "out")
    [row] = rows(tmp_path / "out")
    assert (row["domain"], row["predicted_dice"], row["look_yourself"]) == ("", "", "")
