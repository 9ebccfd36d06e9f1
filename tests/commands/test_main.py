"""The command line from members to a published ensemble, and its refusals in one sentence."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medseg import schema
from medseg.__main__ import main
from medseg.config import EnsembleConfig
from medseg.data.samples import load_data, select, split_hash
from medseg.inference.ensemble import Ensemble
from medseg.inference.member import file_sha256
from tests.conftest import ROOT, make_member

ENSEMBLE_FILES = ["README.md", "a", "b", "ensemble.json", "report.html", "scores.csv", "scores.json"]


def run(*arguments: object) -> None:
    main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two member folders, one with things beside the member's files that are nobody's business."""
    folder = tmp_path_factory.mktemp("members")
    for seed, name in enumerate("ab"):
        make_member(folder / name, name, seed)
    (folder / "a" / "checkpoint.pt").write_bytes(b"gigabytes")
    (folder / "a" / "LICENSE").write_text("CC BY 4.0")
    return [folder / "a", folder / "b"]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, members: list[Path], disc_pairs: Path) -> Path:
    """The folder after fit, evaluate and card, all in one go."""
    folder = tmp_path_factory.mktemp("published") / "ensemble"
    run("fit", *members, "--data", disc_pairs, "--output", folder, "--name", "discs")
    run("evaluate", folder, disc_pairs, "--output", folder)
    run("card", folder)
    return folder


@pytest.fixture
def copied(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "ensemble"))


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    sentence = str(caught.value.code)  # a text as exit code is printed to stderr, and the status is 1
    assert sentence.startswith("error: ")
    assert "\n" not in sentence
    assert "Traceback" not in capsys.readouterr().err
    return sentence


# --- in one go


def test_fit_evaluate_and_card_fill_the_folder(published: Path) -> None:
    assert sorted(path.name for path in published.iterdir()) == ENSEMBLE_FILES


def test_only_the_members_own_files_are_copied(published: Path) -> None:
    own = ["README.md", "config.json", "graph.onnx", "member.json", "model.safetensors"]
    assert sorted(path.name for path in (published / "b").iterdir()) == own
    assert sorted(path.name for path in (published / "a").iterdir()) == ["LICENSE", *own]


def test_the_fitted_ensemble_opens_without_a_complaint(published: Path) -> None:
    opened = Ensemble.from_pretrained(published)
    assert opened.names == ("a", "b")
    assert opened.quarantined == ()


def test_the_fit_records_the_validation_split(published: Path, disc_pairs: Path) -> None:
    settings = schema.load(EnsembleConfig, published / "ensemble.json")
    val = select(load_data(disc_pairs).samples, "val")
    assert settings.fitted is not None
    assert settings.fitted.split_sha256 == split_hash(val)
    assert (settings.fitted.fitted.n, settings.fitted.fitted.split) == (len(val), "val")
    assert settings.fitted.fitted.value >= max(settings.fitted.equal.value, settings.fitted.best_single.value) - 1e-9
    assert [m.sha256 for m in settings.members] == [file_sha256(published / n / "member.json") for n in "ab"]


def test_the_scores_are_those_of_the_test_split(published: Path, disc_pairs: Path) -> None:
    scores = json.loads((published / "scores.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    test = select(load_data(disc_pairs).samples, "test")
    assert (scores["split"], scores["n"], scores["split_sha256"]) == ("test", len(test), split_hash(test))
    assert list(scores["rows"])[:5] == ["empty mask", "location prior", "a", "b", "equal weights"]
    assert list(scores["rows"])[-1] == "ensemble"


def test_the_page_of_an_evaluation_names_its_command_and_data(published: Path, disc_pairs: Path) -> None:
    text = (published / "report.html").read_text(encoding="utf-8")
    assert f"medseg evaluate {published}" in text
    assert f"<dd>{disc_pairs.name}</dd>" in text
    assert text.count("<img ") % 3 == 0
    assert "<img " in text


def test_the_cards_show_what_was_fitted_and_scored(published: Path) -> None:
    card = (published / "README.md").read_text(encoding="utf-8")
    for part in ("# discs", "## How the weights were chosen", "## Scores on the test split", "| location prior |"):
        assert part in card
    assert "A Unet on tu-test_efficientnet" in (published / "a" / "README.md").read_text(encoding="utf-8")


def test_fit_prints_every_choice_and_what_it_wrote(
    members: list[Path], disc_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("fit", *members, "--data", disc_pairs, "--output", tmp_path / "new", "--name", "discs")
    shown = capsys.readouterr().out.splitlines()
    assert [line[:30].strip() for line in shown[1:5]] == ["a", "b", "equal", "fitted"]
    settings = schema.load(EnsembleConfig, tmp_path / "new" / "ensemble.json")
    assert settings.fitted is not None
    assert settings.fitted.chosen == settings.fitted.recommended
    assert shown[-1].endswith(f"has the {settings.fitted.chosen} weights; recommended: {settings.fitted.recommended}.")


@pytest.mark.parametrize(("flag", "chosen"), [("fitted", "fitted"), ("equal", "equal"), ("single", "best single")])
def test_fit_writes_the_choice_that_is_asked_for(
    members: list[Path], disc_pairs: Path, tmp_path: Path, flag: str, chosen: str
) -> None:
    measure = ("--metric", "iou", "--average", "pooled", "--method", "greedy", "--choose", flag)
    run("fit", *members, "--data", disc_pairs, "--output", tmp_path / "new", "--name", "discs", *measure)
    settings = schema.load(EnsembleConfig, tmp_path / "new" / "ensemble.json")
    weights = [member.weight for member in settings.members]
    assert settings.fitted is not None
    kept = settings.fitted
    assert (kept.metric, kept.average, kept.chosen) == ("iou", "pooled", chosen)
    assert kept.method.startswith("greedy selection")
    assert f"threshold {settings.threshold:g} " in getattr(kept, chosen.replace(" ", "_")).protocol
    assert chosen != "equal" or weights == [0.5, 0.5]
    assert chosen != "best single" or dict(zip("ab", weights, strict=True))[kept.best_single_member] == 1


def test_evaluate_without_output_only_prints(
    published: Path, disc_pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(published.rglob("*"))
    run("evaluate", published, disc_pairs, "--split", "val")
    shown = capsys.readouterr().out
    assert "blob, val split, n = " in shown
    assert "| ensemble" in shown
    assert "Protocol: " in shown
    assert sorted(published.rglob("*")) == before


def test_evaluate_scores_flips_too_where_it_is_told_to(
    published: Path, disc_pairs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("evaluate", published, disc_pairs, "--split", "val", "--tta")
    assert "| ensemble with flips" in capsys.readouterr().out


def test_a_member_folder_alone_gets_its_card(copied: Path) -> None:
    (copied / "a" / "README.md").unlink()
    run("card", copied / "a")
    assert "# a\n" in (copied / "a" / "README.md").read_text(encoding="utf-8")


def test_a_card_without_scores_says_nothing_of_scores(copied: Path) -> None:
    (copied / "scores.json").unlink()
    run("card", copied)
    assert "## Scores" not in (copied / "README.md").read_text(encoding="utf-8")


# --- refusals


def test_an_ensemble_is_never_overwritten(
    capsys: pytest.CaptureFixture[str], published: Path, members: list[Path], disc_pairs: Path
) -> None:
    before = (published / "ensemble.json").read_bytes()
    sentence = refusal(capsys, "fit", *members, "--data", disc_pairs, "--output", published, "--name", "x")
    assert "is already there" in sentence
    assert (published / "ensemble.json").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "labels", "sentence"),
    [("c", ("other",), "need one task, the same labels"), ("a", ("blob",), "names of their own")],
)
def test_members_that_do_not_belong_together_are_refused(
    *,
    capsys: pytest.CaptureFixture[str],
    members: list[Path],
    disc_pairs: Path,
    tmp_path: Path,
    name: str,
    labels: tuple[str, ...],
    sentence: str,
) -> None:
    make_member(tmp_path / "c", name, 3, labels=labels)
    arguments = ("fit", members[0], tmp_path / "c", "--data", disc_pairs, "--output", tmp_path / "new", "--name", "x")
    assert sentence in refusal(capsys, *arguments)
    assert not (tmp_path / "new").exists()


def test_a_member_whose_name_is_no_folder_name_is_refused_before_predicting(
    capsys: pytest.CaptureFixture[str], disc_pairs: Path, tmp_path: Path
) -> None:
    make_member(tmp_path / "c", "../my net", 3)
    sentence = refusal(capsys, "fit", tmp_path / "c", "--data", disc_pairs, "--output", tmp_path / "new", "--name", "x")
    assert "source must be the name of a folder" in sentence
    assert not (tmp_path / "new").exists()


def test_a_member_folder_that_is_not_there_is_refused(
    capsys: pytest.CaptureFixture[str], disc_pairs: Path, tmp_path: Path
) -> None:
    arguments = ("fit", tmp_path / "no", "--data", disc_pairs, "--output", tmp_path / "new", "--name", "x")
    assert "no is no folder. Wanted members' folders" in refusal(capsys, *arguments)
    (tmp_path / "no" / "member").mkdir(parents=True)
    (tmp_path / "no" / "member" / "member.json").touch()
    assert "no is a run's output, its member lies in" in refusal(capsys, *arguments)


def test_data_that_are_not_there_are_refused(
    capsys: pytest.CaptureFixture[str], published: Path, tmp_path: Path
) -> None:
    assert "Wanted images/ and masks/" in refusal(capsys, "evaluate", published, tmp_path)


@pytest.mark.parametrize("command", ["evaluate", "card"])
def test_an_ensemble_that_is_not_there_is_refused(
    capsys: pytest.CaptureFixture[str], command: str, disc_pairs: Path, tmp_path: Path
) -> None:
    arguments = [command, tmp_path / "no"] + ([disc_pairs] if command == "evaluate" else [])
    assert "is no ensemble: wanted one of" in refusal(capsys, *arguments)


@pytest.mark.parametrize(
    "change", [{"threshold": 0.123}, {"blend": "stacking", "stacker": {"source": "top", "sha256": "0" * 64}}]
)
def test_scores_of_other_settings_do_not_get_onto_a_card(
    capsys: pytest.CaptureFixture[str], copied: Path, change: dict[str, object]
) -> None:
    settings = json.loads((copied / "ensemble.json").read_text(encoding="utf-8")) | change
    (copied / "ensemble.json").write_text(json.dumps(settings), encoding="utf-8")
    assert "scored other members, weights, threshold or blend" in refusal(capsys, "card", copied)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"members": 1, "weights": 1, "threshold": 1, "rows": {}}'])
def test_scores_that_are_none_do_not_get_onto_a_card(
    capsys: pytest.CaptureFixture[str], copied: Path, content: str
) -> None:
    (copied / "scores.json").write_text(content, encoding="utf-8")
    assert "scores.json is not a report of `evaluate`" in refusal(capsys, "card", copied)


def test_a_member_without_config_json_gets_no_card(capsys: pytest.CaptureFixture[str], copied: Path) -> None:
    (copied / "a" / "config.json").unlink()
    assert "config.json cannot be read in a" in refusal(capsys, "card", copied)


def test_a_folder_that_cannot_be_written_is_one_sentence(
    capsys: pytest.CaptureFixture[str], published: Path, disc_pairs: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    arguments = ("evaluate", published, disc_pairs, "--split", "val", "--output", tmp_path / "file" / "scores")
    assert "file" in refusal(capsys, *arguments)


def test_the_command_line_ends_with_status_1_and_one_line_on_stderr(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "medseg", "card", tmp_path], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: ensemble.json cannot be read")
    assert len(ended.stderr.splitlines()) == 1


def test_what_the_system_refuses_is_a_sentence(disc_pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^error: .*sheet\.png: No such file or directory\.$"):
        main(["inspect", str(disc_pairs), "--sheet", str(tmp_path / "absent" / "sheet.png")])


def test_a_reader_that_has_enough_gets_no_traceback(disc_pairs: Path) -> None:
    command = f"{sys.executable} -m medseg inspect {disc_pairs} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr
    assert done.stdout == "141\n"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("polyp", "polyp is an ensemble: name the folders of its members"),
        ("nope", "nope is no folder"),
        (".", "has no m"),
    ],
)
def test_what_is_no_member_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=f"error: .*{words}"):
        main(["fit", name, "--data", "data", "--output", "out", "--name", "x"])
