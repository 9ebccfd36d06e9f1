"""Studies: every file can be trained, one runs from end to end, a stopped one continues, tables are right by hand."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch

from medseg.errors import ConfigError, InputError
from medseg.evaluation.evaluate import EQUAL
from medseg.evaluation.rows import EMPTY, PRIOR
from medseg.metrics import Confusion
from medseg.training import encoders, study, study_report
from medseg.training.continued import held
from medseg.training.recipe import Recipe, recipe_from_arguments
from medseg.training.study import Study, read_study, run_study
from tests.conftest import ROOT, make_member
from tests.training.test_train_networks import described

STUDIES = sorted((ROOT / "train" / "studies").glob("*.toml"))
ALL = pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)


def recipes_of(path: Path) -> list[Recipe]:
    """Those of members and stackers; a stacker's channels are the answers that it blends."""
    found = read_study(path)
    stackers = [replace(recipe, channels=len(found.blended)) for recipe in found.stacker_recipes(Path("out"))]
    return [*found.recipes(Path("out")), *stackers]


def test_every_seed_has_a_full_and_a_small_study() -> None:
    names = {path.stem for path in STUDIES} - {"siim-seeds"}  # one question of siim's, over three seeds
    assert {name.removesuffix("-small") for name in names} == {"chest", "siim", "brain", "hyperkvasir"}
    assert len(names) == 8


@ALL
def test_a_network_can_be_built_of_every_recipe(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "_freeze_unused", lambda network, member: None)  # needs numbers, not only shapes
    for recipe in recipes_of(path):
        member = described(recipe)
        with torch.device("meta"):
            network = encoders.make_network(replace(recipe, encoder_weights="none"), member).eval()
            answer = network(torch.zeros(1, recipe.channels, recipe.size, recipe.size))
        assert answer.shape == (1, 1, recipe.size, recipe.size)


@ALL
def test_the_flags_of_a_child_say_the_whole_recipe(path: Path) -> None:
    for recipe in recipes_of(path):
        assert recipe_from_arguments(list(study._flags(recipe))) == recipe


@ALL
def test_a_study_says_its_command_its_size_and_where_data_are_found(path: Path) -> None:
    found = read_study(path)
    assert path.read_text(encoding="utf-8").startswith(f"# python -m train.study {path.stem}")
    assert found.caption.startswith("Small: " if path.stem.endswith(("-small", "-seeds")) else "Full size: ")
    assert found.films or found.source.startswith("https://")


def tiny(data: Path, **changes: Any) -> Study:
    """Two small U-Nets on discs, a second of training each."""
    recipe = {
        "labels": ["blob"], "architecture": "plainunet", "encoder": "none", "decoder": {"depth": 2, "width": 4},
        "size": 32, "epochs": 1, "batch_size": 8,
    }  # fmt: skip
    members = ({"name": "one"}, {"name": "two", "loss": "bce"})
    settings = {"title": "Discs", "caption": "Tiny.", "recipe": recipe, "members": members, "data": str(data)}
    return Study(**{**settings, **changes})


def test_a_study_trains_blends_scores_and_writes_its_results(
    disc_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The member "two" is trained by the command that trains all; "one" stands there already."""
    trained, drawn = study._launch, Launches()
    monkeypatch.setattr(
        study, "_launch", lambda recipe, *more: (drawn if recipe.name == "one" else trained)(recipe, *more)
    )
    run_study(tiny(disc_pairs), tmp_path)
    rows = [EMPTY, PRIOR, "one", "two", EQUAL, study_report.SEARCHED]
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert table.startswith("Discs\n")
    assert table.rstrip().endswith("Tiny.")
    with (tmp_path / "table.csv").open(encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    assert list(dict.fromkeys(line["row"] for line in lines)) == rows
    assert {line["metric"] for line in lines} == {*study_report.OVERLAPS, study_report.MEAN_IOU}
    record = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))
    assert record["trainings"]["two"]["epochs"] == 1
    assert record["data"]["test"] == int(lines[0]["n"]) > 0
    with PIL.Image.open(tmp_path / "figure.png") as figure:
        assert figure.width > figure.height > 200


class Launches:
    """Stands in for the trainings: notes who was trained, and leaves a member with random weights."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.stopped_by: str | None = None

    def __call__(self, recipe: Recipe, lock: int, *more: str) -> None:
        if recipe.name == self.stopped_by:
            raise KeyboardInterrupt
        self.names.append(recipe.name)
        output = Path(recipe.output)
        shutil.rmtree(output, ignore_errors=True)
        make_member(output / "member", recipe.name, seed=recipe.epochs, plain=True)
        (output / "log.jsonl").write_text(
            '{"epoch": 1, "seconds": 2.5}\n{"epoch": 2, "seconds": 2}\n', encoding="utf-8"
        )


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> Launches:
    found = Launches()
    monkeypatch.setattr(study, "_launch", found)
    return found


def test_a_stopped_study_goes_on_with_the_member_that_was_not_finished(
    disc_pairs: Path, tmp_path: Path, launches: Launches
) -> None:
    launches.stopped_by = "two"
    with pytest.raises(KeyboardInterrupt):
        run_study(tiny(disc_pairs), tmp_path)
    assert launches.names == ["one"]
    launches.stopped_by = None
    run_study(tiny(disc_pairs), tmp_path)
    assert launches.names == ["one", "two"]


def test_a_finished_study_does_nothing_again(
    disc_pairs: Path, tmp_path: Path, launches: Launches, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_study(tiny(disc_pairs), tmp_path)
    launches.names.clear()
    monkeypatch.setattr(study_report, "score", None)  # not called, or this would fail
    monkeypatch.setattr(study, "fit_members", None)
    run_study(tiny(disc_pairs), tmp_path)
    assert launches.names == []


def test_what_changed_in_the_study_is_done_again_and_nothing_else(
    disc_pairs: Path, tmp_path: Path, launches: Launches
) -> None:
    run_study(tiny(disc_pairs), tmp_path)
    before = (tmp_path / "ensemble" / "ensemble.json").read_bytes()
    launches.names.clear()
    run_study(tiny(disc_pairs, members=({"name": "one"}, {"name": "two", "epochs": 3})), tmp_path)
    assert launches.names == ["two"]
    assert (tmp_path / "ensemble" / "ensemble.json").read_bytes() != before


def test_seconds_are_those_of_all_epochs(disc_pairs: Path, tmp_path: Path, launches: Launches) -> None:
    run_study(tiny(disc_pairs), tmp_path)
    record = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))
    assert record["trainings"]["one"]["seconds"] == 4.5


def test_only_the_named_members_are_blended(disc_pairs: Path, tmp_path: Path, launches: Launches) -> None:
    run_study(tiny(disc_pairs, members=tuple({"name": n} for n in "abc"), ensemble=("a", "c")), tmp_path)
    settings = json.loads((tmp_path / "ensemble" / "ensemble.json").read_text(encoding="utf-8"))
    assert [member["source"] for member in settings["members"]] == ["a", "c"]
    assert "| b" in (tmp_path / "table.md").read_text(encoding="utf-8")


def test_generated_films_are_drawn_once(tmp_path: Path, launches: Launches) -> None:
    classes = {"blob": ("pneumothorax",)}
    films = replace(tiny(Path("x")), data="", films=40, classes=classes)
    run_study(films, tmp_path)
    table = tmp_path / "films" / "train-rle.csv"
    assert len(table.read_text(encoding="utf-8").splitlines()) == 41
    drawn = table.stat().st_mtime_ns
    run_study(films, tmp_path)
    assert table.stat().st_mtime_ns == drawn


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"members": ()}, "one or more"),
        ({"members": ({"name": "a"}, {"name": "a"})}, "names of their own"),
        ({"members": ({"epochs": 1},)}, "names of their own"),
        ({"ensemble": ("other",)}, "not there"),
        ({"films": 3}, "either data or films"),
        ({"recipe": {"labels": ["a", "b"]}}, "one label"),
        ({"classes": {"finding": ("*",)}}, "another label"),
    ],
)
def test_a_study_that_cannot_be_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        tiny(Path("data"), **changes)


def test_an_unknown_study_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        study.main(["lungs"])
    assert str(refusal.value).startswith("error: There is no study lungs; there are brain, brain-small, ")


def test_a_file_of_another_form_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    for text in ("title = ", "titel = 'x'"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=r"mine\.toml"):
            read_study(path)


def test_missing_data_are_refused_with_the_place_they_come_from(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: get them from https://example\.org.*--data"):
        run_study(tiny(tmp_path / "nowhere", source="https://example.org"), tmp_path / "out")


def test_a_wrong_setting_of_a_member_is_refused_before_any_training(
    disc_pairs: Path, tmp_path: Path, launches: Launches
) -> None:
    with pytest.raises(ConfigError, match="unknown key 'epoch'"):
        run_study(tiny(disc_pairs, members=({"name": "one"}, {"name": "two", "epoch": 3})), tmp_path)
    assert launches.names == []


def test_a_training_that_refuses_is_heard_in_one_sentence(
    disc_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "LAUNCH", (sys.executable, "-c", "import sys; sys.exit('noise\\nerror: No such loss.')"))
    with pytest.raises(InputError, match=r"^one stopped: No such loss\.$"):
        run_study(tiny(disc_pairs), tmp_path)


def test_two_studies_do_not_work_in_one_folder(disc_pairs: Path, tmp_path: Path) -> None:
    with held(tmp_path), pytest.raises(InputError, match="Another process works in"):
        run_study(tiny(disc_pairs), tmp_path)


def test_mean_iou_counts_the_background() -> None:
    counts = [Confusion(tp=1, fp=1, fn=0, tn=2), Confusion(tp=1, fp=0, fn=1, tn=4)] * 6
    found = study_report.pooled_mean_iou(counts, [f"case{number}" for number in range(12)])
    assert found.mean == pytest.approx((2 / 4 + 6 / 8) / 2)
    assert found.low <= found.mean <= found.high
    assert (found.n, found.cases) == (12, 12)
    assert study_report.pooled_mean_iou([Confusion(tn=9)], ["a"]).mean == 1.0


def test_positives_are_told_apart_only_where_some_images_have_no_finding() -> None:
    found = [Confusion(tp=1, tn=3), Confusion(fn=2, tn=2)]
    assert list(study_report.estimates(found, ["a", "b"])) == [study_report.PER_IMAGE, study_report.POOLED]


def test_rows_below_the_better_baseline_are_stamped_in_each_table_by_itself() -> None:
    """Two images, the second empty: per image the empty mask scores 0.5, pooled 0."""
    wanted = {
        EMPTY: [Confusion(fn=4, tn=12), Confusion(tn=16)],
        "silent": [Confusion(fn=4, tn=12), Confusion(tn=16)],
        PRIOR: [Confusion(tp=1, fp=3, fn=3, tn=9), Confusion(fp=4, tn=12)],  # Dice 1/4 and 0; pooled 2/12
        "member": [Confusion(tp=2, fp=2, fn=2, tn=10), Confusion(fp=1, tn=15)],  # Dice 1/2 and 0; pooled 4/9
    }
    rows = study_report._stamped({row: study_report.estimates(c, ["a", "b"]) for row, c in wanted.items()})
    kinds = (study_report.PER_IMAGE, study_report.POSITIVES, study_report.POOLED)
    per_image, positives, pooled = (study_report.table(rows, kind) for kind in kinds)
    assert "| member (under the baseline) | 0.250 [–, –] |" in per_image
    assert "| member | 0.500 [–, –] |" in positives
    assert positives.startswith("| per image with a finding, 1 images of 1 cases |")
    assert "| member | 0.444 [–, –] |" in pooled
    assert "| silent (at the baseline) | 0.500" in per_image
    assert "| silent (under the baseline) | 0.000" in pooled
    assert per_image.startswith("| per image, 2 images of 2 cases | dice | iou | precision | recall | accuracy |\n")
    assert study_report.MEAN_IOU in pooled
    before = json.dumps(rows).replace('"baseline"', '"floor"')
    assert study_report.table(json.loads(before, object_hook=study_report._today), study_report.POOLED) == pooled
