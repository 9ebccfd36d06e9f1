"""A report is made true again, or says what is not as it was."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import PIL.Image
import pytest

import medseg
from medseg.__main__ import main
from medseg.config import Cleanup
from medseg.errors import InputError
from medseg.inference.record import write_report
from medseg.inference.replay import hub_source, load_report, replay
from tests.conftest import make_ensemble, make_member, write_disc_pair

if TYPE_CHECKING:
    from medseg.inference.ensemble import Ensemble
    from tests.hub_server import Hub


@pytest.fixture
def ensemble(plain_ensemble: Path) -> Ensemble:
    return medseg.Ensemble.from_pretrained(plain_ensemble)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    write_disc_pair(tmp_path, "disc", 5)
    return tmp_path / "images" / "disc.png"


@pytest.fixture
def report(ensemble: Ensemble, image: Path, tmp_path: Path) -> Path:
    """As the page writes it, of settings that are not the ensemble's own; weights that no float holds exactly."""
    prediction = ensemble.predict(medseg.read_image(image), weights=[0.1, 0.7], threshold=0.47, tta="flips")
    write_report(prediction.report(), tmp_path / "report.json")
    return tmp_path / "report.json"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit status, and what was printed or refused."""
    try:
        main(["replay", *map(str, arguments)])
    except SystemExit as ended:
        printed = capsys.readouterr().out
        return (ended.code, printed) if isinstance(ended.code, int) else (1, str(ended.code))
    return 0, capsys.readouterr().out


def changed(report: Path, **values: Any) -> Path:
    report.write_text(json.dumps(json.loads(report.read_text()) | values))
    return report


def test_the_same_image_and_models_give_the_same_mask(
    report: Path, image: Path, plain_ensemble: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = run(capsys, report, image, "--ensemble", plain_ensemble)
    assert (status, said.split(":")[0]) == (0, "identical")


def test_predict_leaves_what_replay_needs(
    plain_ensemble: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["predict", str(plain_ensemble), str(image), "--output", str(tmp_path / "out"), "--weights", "3", "1"])
    status, _ = run(capsys, tmp_path / "out" / "disc.png.json", image, "--ensemble", plain_ensemble)
    assert status == 0


def test_another_image_is_said(
    report: Path, tmp_path: Path, plain_ensemble: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_disc_pair(tmp_path, "other", 6)
    status, said = run(capsys, report, tmp_path / "images" / "other.png", "--ensemble", plain_ensemble)
    assert status == 1
    assert "The image is another one" in said


def test_another_member_of_the_same_name_is_said(
    report: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_ensemble(tmp_path / "other", (0.75, 0.25), plain=True)
    digest = make_member(folder / "m1", "random-1", 99, plain=True)
    settings = json.loads((folder / "ensemble.json").read_text())
    settings["members"][1]["sha256"] = digest
    (folder / "ensemble.json").write_text(json.dumps(settings))
    status, said = run(capsys, report, image, "--ensemble", folder)
    assert status == 1
    assert f"The member random-1 is another one: its sha256 is {digest[:12]}" in said


def test_members_that_came_or_went_are_said(report: Path, image: Path, ensemble: Ensemble, tmp_path: Path) -> None:
    alone = medseg.Ensemble.from_pretrained(make_ensemble(tmp_path / "one", (1.0,), plain=True))
    then = json.loads(report.read_text())
    assert replay(then, image, alone).differences == (
        "The member random-1 of the report is not in the ensemble tiny-binary.",
    )


def test_another_mask_is_said_with_its_pixels_and_its_dice(
    report: Path, image: Path, plain_ensemble: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(report, masks_sha256="0" * 64, areas={"blob": {"px": 7}})
    PIL.Image.new("L", (64, 48)).save(tmp_path / "report.png")  # beside the report, empty: no overlap at all
    status, said = run(capsys, report, image, "--ensemble", plain_ensemble)
    assert status == 1
    assert "pixels, then 7, Dice 0.0000." in said


def test_a_mask_file_that_was_altered_is_said(
    report: Path, image: Path, plain_ensemble: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    PIL.Image.new("L", (64, 48)).save(tmp_path / "report.png")
    status, said = run(capsys, report, image, "--ensemble", plain_ensemble)
    assert status == 1
    assert "The file report.png holds another mask of blob: 0 pixels, the report's has " in said
    (tmp_path / "report.png").write_bytes(b"no mask")
    status, said = run(capsys, report, image, "--ensemble", plain_ensemble)
    assert status == 1
    assert "The file report.png is no mask of this image: " in said


def test_the_mask_of_a_volumes_slice_is_that_of_its_report(
    plain_ensemble: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    voxels = np.random.default_rng(0).integers(0, 255, (64, 48, 3))
    nibabel.save(nibabel.Nifti1Image(voxels.astype(np.uint8), np.diag([-1.0, -1, 2, 1])), tmp_path / "a.nii")
    main(["predict", str(plain_ensemble), str(tmp_path / "a.nii"), "--output", str(tmp_path / "out")])
    capsys.readouterr()
    report = tmp_path / "out" / "a.nii-frame001.json"
    assert run(capsys, report, tmp_path / "a.nii", "--ensemble", plain_ensemble)[0] == 0


def test_another_version_is_a_remark_where_the_mask_is_the_same(
    report: Path, image: Path, plain_ensemble: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(report, versions={"torch": "0.1"})
    status, said = run(capsys, report, image, "--ensemble", plain_ensemble)
    assert status == 0
    assert "and was 0.1." in said


def test_the_clean_up_of_that_time_is_repeated(
    ensemble: Ensemble, report: Path, image: Path, plain_ensemble: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = dataclasses.replace(ensemble.predict(medseg.read_image(image)), cleanup=Cleanup(min_area_px=48 * 64 + 1))
    assert not found.masks.any()  # no piece is larger than the image
    write_report(found.report(), report)
    assert run(capsys, report, image, "--ensemble", plain_ensemble)[0] == 0
    changed(report, cleanup={"min_area_px": 0, "fill_holes": False, "largest_component": False})
    assert "pixels, then 0" in run(capsys, report, image, "--ensemble", plain_ensemble)[1]


def test_a_report_of_a_folders_ensemble_wants_its_folder(
    report: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = run(capsys, report, image)
    assert status == 1
    assert "name that folder with --ensemble" in said


def test_a_report_of_a_hub_ensemble_names_it_at_its_commit(
    hub: Hub, plain_ensemble: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {str(path.relative_to(plain_ensemble)): path.read_bytes() for path in plain_ensemble.rglob("*.*")}
    commit = hub.commit("tester/net", files)
    fetched = medseg.Ensemble.from_pretrained("tester/net")
    report = fetched.predict(medseg.read_image(image)).report()
    assert hub_source(report) == f"tester/net@{commit}"
    write_report(report, tmp_path / "report.json")
    hub.commit("tester/net", {"README.md": b"emptied"})
    assert run(capsys, tmp_path / "report.json", image)[0] == 0


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"members": []}', '{"members": [{"name": 1}]}'])
def test_what_is_no_report_is_refused(
    content: str, image: Path, tmp_path: Path, plain_ensemble: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scores.json").write_text(content)
    status, said = run(capsys, tmp_path / "scores.json", image, "--ensemble", plain_ensemble)
    assert status == 1
    assert said.startswith("error: scores.json is not a report")


def test_a_pipe_in_a_reports_place_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "report.json")
    with pytest.raises(InputError, match="is not a report"):
        load_report(tmp_path / "report.json")


def test_the_frame_of_the_report_is_read_again(
    ensemble: Ensemble, plain_ensemble: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_disc_pair(tmp_path, "second", 8)
    with PIL.Image.open(image) as first, PIL.Image.open(tmp_path / "images" / "second.png") as second:
        first.save(tmp_path / "pages.tif", save_all=True, append_images=[second])
    shutil.rmtree(tmp_path / "images")
    prediction = ensemble.predict(medseg.read_image(tmp_path / "pages.tif", frame=1))
    write_report(prediction.report(), tmp_path / "report.json")
    assert run(capsys, tmp_path / "report.json", tmp_path / "pages.tif", "--ensemble", plain_ensemble)[0] == 0


def test_an_area_that_the_mask_does_not_have_is_said(report: Path, image: Path, ensemble: Ensemble) -> None:
    then = json.loads(report.read_text())
    (label,) = then["areas"]
    pixels = then["areas"][label]["px"]
    then["areas"] = {label: {"px": pixels + 1}, "other": {"px": 5}}
    assert replay(then, image, ensemble).differences == (
        f"The area of {label} is {pixels:g} pixels, the report says {pixels + 1:g}.",
        "The area of other is none pixels, the report says 5.",
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("members", None), ("members", [{"name": "a"}]), ("members", [{"name": [], "sha256": "", "weight": 1}])),
        *(("image", {"sha256": "a", "frame": 1.5}), ("image", {"sha256": "a", "frame": 0, "window": [1]})),
        *(("threshold", "0.5"), ("threshold", ["a"]), ("blend", {}), ("tta", []), ("cleanup", {"min_area_px": "a"})),
        *(("cleanup", None), ("areas", []), ("areas", {"blob": 3}), ("areas", {"blob": {"px": "many"}})),
        *(("versions", []), ("versions", {"torch": None}), ("source", "here"), ("stacker", 3), ("masks_sha256", 1)),
    ],
)
def test_an_edited_report_is_refused_by_the_name_of_what_was_changed(report: Path, key: str, value: object) -> None:
    with pytest.raises(InputError, match=f"its '{key}' is missing or changed"):
        load_report(changed(report, **{key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("threshold", 7),
        ("threshold", [0.5]),
        ("blend", "magic"),
        ("tta", "twirl"),
        ("members", -1),
        ("members", [1, 2, 3]),
    ],
)
def test_settings_that_the_ensemble_does_not_take_are_refused_in_a_sentence(
    report: Path, image: Path, ensemble: Ensemble, key: str, value: Any
) -> None:
    then = json.loads(report.read_text())
    then[key] = [member | {"weight": value} for member in then["members"]] if key == "members" else value
    with pytest.raises(InputError):
        replay(then, image, ensemble)
