"""What evaluate, fit and calibrate say of their data, and what they refuse."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from medseg.__main__ import main
from medseg.app.state.fit import _samples
from medseg.config import MemberConfig, Preprocess, TrainingData
from medseg.data.division import otherwise_divided, unlike_trained, with_labels
from medseg.data.manifest import DataSet, Sample
from medseg.data.mask_files import write_masks
from medseg.data.parts import MaskFile
from medseg.data.samples import load_data, split_hash
from medseg.errors import MedsegWarning
from medseg.training.data import read_recipe_samples
from medseg.training.recipe import Recipe
from tests.conftest import make_member, write_disc_pair


@pytest.fixture
def discs(tmp_path: Path) -> Path:
    """Eight pairs without splits."""
    for number in range(8):
        write_disc_pair(tmp_path / "data", f"{number}", number)
    return tmp_path / "data"


def divide(folder: Path, **splits: str) -> None:
    content = {split: list(stems) for split, stems in splits.items()}
    (folder / "splits.json").write_text(json.dumps(content), encoding="utf-8")


def scored(ensemble: Path, folder: Path, output: Path, *options: str) -> dict:
    main(["evaluate", str(ensemble), str(folder), "--output", str(output), *options])
    return dict(json.loads((output / "scores.json").read_text(encoding="utf-8")))


def test_a_set_without_splits_is_scored_as_a_whole_and_says_so(
    plain_ensemble: Path, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = scored(plain_ensemble, discs, tmp_path / "out")
    assert report["n"] == 8
    assert "location prior" not in report["rows"]
    assert "no location prior" in report["protocol"]
    said = "The data set brings no splits: all of its 8 samples are scored."
    assert said in report["doubts"]
    assert f"note: {said}" in capsys.readouterr().err


def test_how_many_samples_are_dealt_to_the_split_is_said(
    plain_ensemble: Path, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    n = scored(plain_ensemble, discs, tmp_path / "out", "--split", "val")["n"]
    assert f"note: The data set brings no splits: {n} of its 8 samples were dealt to val" in capsys.readouterr().err


def test_a_fit_records_the_data_that_it_was_made_on(plain_ensemble: Path, discs: Path, tmp_path: Path) -> None:
    """Not those that the members were trained on."""
    divide(discs, val="01234567")
    main(["fit", *_arguments("fit", plain_ensemble, discs, tmp_path)])
    fitted = json.loads((tmp_path / "out" / "ensemble.json").read_text(encoding="utf-8"))["fitted"]
    assert fitted["data"] == "data, validation split"


def member(name: str, digest: str) -> MemberConfig:
    data = TrainingData("discs", "Apache-2.0", split_sha256=digest)
    return MemberConfig(name, "binary", ("blob",), Preprocess(64, 64), data, "Apache-2.0", files={})


def test_members_of_other_divisions_are_doubted_by_name(discs: Path) -> None:
    samples, others = load_data(discs, seed=0).samples, load_data(discs, seed=3).samples
    here, there = split_hash(samples), split_hash(others)
    assert here != there
    for members, brings, words in (
        ({"a": here, "b": here, "c": ""}, True, ""),
        ({"a": here, "b": there}, False, "Trained in another division of the data than the others: b; images that"),
        ({"a": there, "b": "0" * 64}, False, "Trained in another division of the data than the others: b; images that"),
        (
            {"a": there, "b": there},
            True,
            "No member says that it was trained in this division. If these are",
        ),
        ({"a": there, "b": there}, False, ""),  # the dealing says so itself
    ):
        doubts = unlike_trained(samples, [member(*each) for each in members.items()], brings=brings)
        assert [doubt[: len(words)] for doubt in doubts] == ([words] if words else [])
    (doubt,) = otherwise_divided(samples, [member("a", here), member("b", there), member("c", "0" * 64)])
    assert doubt.startswith("Trained on these data in another division: b; images that validate")


def test_a_fit_says_which_member_was_trained_in_another_division(
    discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = [tmp_path / "m0", tmp_path / "m1"]
    for seed, place in enumerate(places):
        make_member(place, f"random-{seed}", seed, plain=True)
        config = json.loads((place / "member.json").read_text())
        config["training_data"]["split_sha256"] = split_hash(load_data(discs, seed=3 * seed).samples)
        (place / "member.json").write_text(json.dumps(config))
    arguments = ["--data", str(discs), "--output", str(tmp_path / "out"), "--name", "two"]
    main(["fit", *map(str, places), *arguments])
    assert "note: Trained in another division of the data than the others: random-1;" in capsys.readouterr().err


def test_other_names_for_the_masks_are_refused(plain_ensemble: Path, discs: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"calls them WRONG, and blob is wanted. Say --labels blob, or .* blob=1"):
        scored(plain_ensemble, discs, tmp_path / "out", "--labels", "WRONG")


def test_values_are_taken_by_the_names_that_they_get(tmp_path: Path) -> None:
    loaded = DataSet("pairs", ("b", "a"), [Sample(tmp_path / "x.png", tmp_path / "y.png", "x", "")])
    (sample,) = with_labels(loaded, ["a", "b"]).samples
    assert sample.parts == (
        MaskFile("b", tmp_path / "y.png", (1,), (1, 2)),
        MaskFile("a", tmp_path / "y.png", (2,), (1, 2)),
    )


def test_an_external_set_that_is_all_for_testing_is_scored(plain_ensemble: Path, discs: Path, tmp_path: Path) -> None:
    divide(discs, test="01234567")
    assert scored(plain_ensemble, discs, tmp_path / "out")["n"] == 8
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_test_split_without_anything_marked_is_scored(plain_ensemble: Path, discs: Path, tmp_path: Path) -> None:
    divide(discs, train="01234", val="5", test="67")
    for stem in "67":
        PIL.Image.fromarray(np.zeros((48, 64), np.uint8)).save(discs / "masks" / f"{stem}.png")
    report = scored(plain_ensemble, discs, tmp_path / "out")
    assert report["rows"]["empty mask"]["blob"]["per_image_all"]["dice"]["mean"] == 1.0
    assert report["doubts"] == ["split test: all 2 masks are empty."]


def test_a_training_image_in_the_test_split_is_said(
    plain_ensemble: Path, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    divide(discs, train="012345", test="67")
    shutil.copy(discs / "images" / "0.png", discs / "images" / "6.png")
    report = scored(plain_ensemble, discs, tmp_path / "out")
    assert "images/6.png: the same picture as images/0.png" in report["doubts"][0]
    assert "note: images/6.png: the same picture" in capsys.readouterr().err


def _arguments(command: str, ensemble: Path, data: Path, folder: Path) -> list[str]:
    """What runs the command on the data set, with a copy of the ensemble in `folder`."""
    shutil.copytree(ensemble, folder / "e")
    if command != "fit":
        return [str(folder / "e"), str(data)]
    members = sorted(str(path.parent) for path in ensemble.rglob("member.json"))
    return [*members, "--data", str(data), "--output", str(folder / "out"), "--name", "x"]


@pytest.mark.parametrize("command", ["evaluate", "calibrate", "fit"])
def test_masks_that_do_not_fit_are_refused_by_name(
    plain_ensemble: Path, discs: Path, tmp_path: Path, command: str
) -> None:
    divide(discs, train="0123", val="45", test="67")
    for stem in "57":
        PIL.Image.fromarray(np.zeros((24, 32), np.uint8)).save(discs / "masks" / f"{stem}.png")
    arguments = _arguments(command, plain_ensemble, discs, tmp_path)
    with pytest.raises(SystemExit, match=r"1 fault\. \(1\) masks/[57]\.png: The mask is 32 × 24"):
        main([command, *arguments])
    assert not (tmp_path / "out").exists()


def test_nothing_is_fitted_to_a_split_without_a_mark(plain_ensemble: Path, discs: Path, tmp_path: Path) -> None:
    divide(discs, train="012345", val="67")
    for stem in "67":
        PIL.Image.fromarray(np.zeros((48, 64), np.uint8)).save(discs / "masks" / f"{stem}.png")
    members = sorted(str(path.parent) for path in plain_ensemble.rglob("member.json"))
    with pytest.raises(SystemExit, match="Nothing is marked in the split 'val'"):
        main(["fit", *members, "--data", str(discs), "--output", str(tmp_path / "out"), "--name", "x"])
    assert not (tmp_path / "out").exists()


def test_data_of_other_labels_are_refused_and_can_be_named(plain_ensemble: Path, discs: Path, tmp_path: Path) -> None:
    main(["inspect", str(discs), "--write-coco", str(tmp_path / "c.json"), "--labels", "lesion"])
    with pytest.raises(SystemExit, match=r"has the labels lesion, and blob is wanted\. .* --labels blob=lesion"):
        main(["evaluate", str(plain_ensemble), str(tmp_path / "c.json")])
    report = scored(plain_ensemble, tmp_path / "c.json", tmp_path / "out", "--labels", "blob=lesion")
    assert report["n"] >= 1


def test_masks_of_images_of_one_name_are_written_below_their_folders(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_disc_pair(tmp_path / "d" / f"{split}_data", "1", 3)
    write_masks(load_data(tmp_path / "d", quiet=True).samples, ["lesion"], tmp_path / "masks")
    written = sorted(path.relative_to(tmp_path / "masks").as_posix() for path in tmp_path.glob("masks/**/*.png"))
    assert written == ["lesion/test_data/images/1.png", "lesion/train_data/images/1.png"]


@pytest.mark.parametrize("option", ["--write-coco", "--write-masks", "--sheet"])
def test_nothing_is_written_into_the_data_set_itself(discs: Path, option: str) -> None:
    before = sorted(discs.rglob("*"))
    with pytest.raises(SystemExit, match=rf"x would lie in the data set itself.* as \S+{discs.name}-x\.$"):
        main(["inspect", str(discs), "--labels", "blob", option, str(discs / "new" / "x")])
    assert sorted(discs.rglob("*")) == before


def test_masks_are_written_as_files_that_are_a_data_set(discs: Path, tmp_path: Path) -> None:
    from medseg.data.samples import load_data

    main(["inspect", str(discs), "--labels", "blob", "--write-masks", str(tmp_path / "masks")])
    again = load_data(tmp_path / "masks" / "manifest.json")
    before = load_data(discs)
    assert (again.labels, [s.split for s in again.samples]) == (("blob",), [s.split for s in before.samples])
    for one, other in zip(again.samples, before.samples, strict=True):
        np.testing.assert_array_equal(one.read(["blob"])[1], other.read(["blob"])[1])


@pytest.mark.filterwarnings("always::medseg.errors.MedsegWarning")
@pytest.mark.parametrize("command", ["inspect", "train", "evaluate", "fit", "calibrate", "page"])
def test_every_command_says_what_is_left_out(
    plain_ensemble: Path, discs: Path, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (discs / "images" / "x.heic").write_bytes(b"x")
    sentence = "files whose format medseg does not read (1), the first: images/x.heic."
    if command == "inspect":
        main(["inspect", str(discs)])
        assert sentence in capsys.readouterr().out
    elif command == "page":
        assert sentence in " ".join(_samples(discs, ["blob"])[2])
    elif command == "train":
        with pytest.warns(MedsegWarning, match=re.escape(sentence)):
            read_recipe_samples(Recipe(data=str(discs), labels=("blob",)))
    else:
        PIL.Image.new("L", (9, 9), 255).save(discs / "masks" / "0.png")  # where this is refused, all has been said
        arguments = _arguments(command, plain_ensemble, discs, tmp_path)
        divide(discs, train="1234567", **{"test" if command == "evaluate" else "val": "0"})
        with pytest.raises(SystemExit, match="1 fault"):
            main([command, *arguments])
        assert f"note: Left out: {sentence}" in capsys.readouterr().err
