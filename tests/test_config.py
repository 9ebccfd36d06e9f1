"""The strict schema of member.json and ensemble.json: what is written can be read, and a stranger's file is refused."""

import copy
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from medseg import schema
from medseg.config import (
    Appearance,
    Cleanup,
    EnsembleConfig,
    MemberConfig,
    MemberReference,
    Preprocess,
    StackerReference,
    TrainingData,
)
from medseg.errors import ConfigError
from medseg.scores import Fitted, Nested, Score

DIGEST = "0123456789abcdef" * 4
SCORE = Score("dice", 0.8, 0.75, 0.85, 100, "val", "per-image mean")
MEMBER = MemberConfig(
    name="unet",
    task="multilabel",
    labels=("lung", "Herzgröße"),
    preprocess=Preprocess(192, 256, 1, (0.5,), (0.25,), "letterbox"),
    training_data=TrainingData(
        "films", "CC-BY-4.0", "https://example.org", "Somebody 2020", ("CR", "DX"), "films of the chest",
        Appearance((0.1, 0.9), (0.0, 0.0), (0.0, 0.0)),
    ),
    weights_licence="CC-BY-4.0",
    files={"config.json": DIGEST, "model.safetensors": DIGEST[::-1]},
    scores=(SCORE,),
)  # fmt: skip
ENSEMBLE = EnsembleConfig(
    name="chest",
    task="multilabel",
    labels=("lung", "heart"),
    members=(
        MemberReference("a", DIGEST, 0.25),
        MemberReference("b", DIGEST, 0.0),
        MemberReference("owner/name", DIGEST, 0.0, revision="0" * 40),
    ),
    threshold=0.35,
    cleanup=Cleanup(20, True, False),
    fitted=Fitted(
        "films, val", DIGEST, "grid", "a", SCORE, SCORE, SCORE,
        "iou", "pooled", Nested(SCORE, SCORE, SCORE, SCORE, SCORE, SCORE, SCORE), "equal", "per label", SCORE,
    ),
    blend="stacking",
    stacker=StackerReference("stacker", DIGEST, with_image=True),
)  # fmt: skip
BOTH = pytest.mark.parametrize("settings", [MEMBER, ENSEMBLE], ids=["member", "ensemble"])


def as_json(settings: Any, folder: Path) -> dict[str, Any]:
    schema.dump(settings, folder / "settings.json")
    return json.loads((folder / "settings.json").read_text(encoding="utf-8"))


def put(data: Any, place: str, value: Any) -> Any:
    """`data` with `value` at a place such as `members.0.weight`."""
    data = copy.deepcopy(data)
    *way, last = [int(step) if step.isdigit() else step for step in place.split(".")]
    inner = data
    for step in way:
        inner = inner[step]
    inner[last] = value
    return data


def refusal(cls: type, content: Any, folder: Path) -> str:
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    (folder / "hostile.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        schema.load(cls, folder / "hostile.json")
    sentence = str(caught.value)
    assert "hostile.json" in sentence
    assert len(sentence) < 400
    assert "\n" not in sentence
    return sentence


@BOTH
def test_what_is_dumped_is_loaded_again(settings: Any, tmp_path: Path) -> None:
    schema.dump(settings, tmp_path / "settings.json")
    assert schema.load(type(settings), tmp_path / "settings.json") == settings


def test_defaults_may_be_left_out(tmp_path: Path) -> None:
    data = as_json(ENSEMBLE, tmp_path)
    for key in ("threshold", "cleanup", "fitted", "format_version"):
        del data[key]
    loaded = schema.from_json(EnsembleConfig, data)
    assert (loaded.threshold, loaded.cleanup, loaded.fitted) == (0.5, Cleanup(), None)


def test_a_fit_from_before_there_was_a_choice_has_the_fitted_weights(tmp_path: Path) -> None:
    data = as_json(ENSEMBLE, tmp_path)
    for key in ("metric", "average", "nested", "recommended", "chosen", "per_label"):
        del data["fitted"][key]
    (tmp_path / "ensemble.json").write_text(json.dumps(data), encoding="utf-8")
    fitted = schema.load(EnsembleConfig, tmp_path / "ensemble.json").fitted
    assert fitted is not None
    assert (fitted.metric, fitted.average, fitted.chosen) == ("dice", "per image", "fitted")
    assert (fitted.nested, fitted.recommended) == (None, None)


def test_a_fit_from_before_there_were_weights_per_label_has_none(tmp_path: Path) -> None:
    data = as_json(ENSEMBLE, tmp_path)
    data["fitted"]["chosen"] = "equal"
    for place, key in ((data["fitted"], "per_label"), (data["fitted"]["nested"], "per_label")):
        del place[key]
    del data["fitted"]["nested"]["over_shared"]
    (tmp_path / "ensemble.json").write_text(json.dumps(data), encoding="utf-8")
    fitted = schema.load(EnsembleConfig, tmp_path / "ensemble.json").fitted
    assert fitted is not None
    assert fitted.nested is not None
    assert (fitted.per_label, fitted.nested.per_label, fitted.nested.over_shared) == (None, None, None)
    assert fitted.nested.recommended == "fitted"  # both differences are above 0


def test_nothing_but_the_file_itself_is_left_behind(tmp_path: Path) -> None:
    schema.dump(MEMBER, tmp_path / "member.json")
    assert [path.name for path in tmp_path.iterdir()] == ["member.json"]


def test_a_score_of_one_case_has_no_interval_and_is_written_as_null(tmp_path: Path) -> None:
    score = Score("dice", 0.8, math.nan, math.nan, 1, "val", "per-image mean")
    assert (score.low, score.high) == (None, None)
    data = as_json(ENSEMBLE, tmp_path)
    data["fitted"]["equal"].update(low=None, high=None)
    assert schema.from_json(EnsembleConfig, data).fitted.equal.low is None


def test_what_could_not_be_loaded_is_not_written(tmp_path: Path) -> None:
    broken = Score("dice", math.inf, 0.1, 0.2, 3, "val", "per-image mean")
    with pytest.raises(ConfigError, match=r"score\.json cannot be written: value must be a finite number"):
        schema.dump(broken, tmp_path / "score.json")
    assert list(tmp_path.iterdir()) == []


def test_multiclass_adds_a_channel_for_the_background() -> None:
    fields = {"name": "x", "labels": ("a", "b"), "preprocess": Preprocess(32, 32), "weights_licence": "MIT"}
    data = TrainingData("x", "MIT")
    channels = [
        MemberConfig(task=task, training_data=data, files={}, **fields).channels_out
        for task in ("multilabel", "multiclass")
    ]
    assert channels == [2, 3]


def short_names(cases: list[tuple[str, Any, str]]) -> list[str]:
    return [f"{number}-{place[:40]}" for number, (place, _, _) in enumerate(cases)]


MEMBER_REFUSALS = [
    ("surprise", 1, "unknown key 'surprise'"),
    ("__class__", "x", "unknown key '__class__'"),
    ("preprocess.crop", 1, "unknown key 'crop' in preprocess"),
    ("x" * 100_000, 1, "unknown key"),
    ("name", 1, "name must be str, not int"),
    ("name", "", "a name or label"),
    ("name", "a\nb", "a name or label"),
    ("name", "a" * 101, "a name or label"),
    ("name", "\x1b[2J", "control characters"),
    ("name", "\ud800", "broken Unicode"),
    ("task", "regression", "task must be one of binary, multiclass, multilabel"),
    ("task", ["binary"], "task must be one of"),
    ("task", "b" * 100_000, "task must be one of"),
    ("task", "binary", "a binary task has one label, found 2"),
    ("labels", [], "wanted 1 to 64 names, found 0"),
    ("labels", "lung", "labels must be a list"),
    ("labels", {"0": "lung"}, "labels must be a list"),
    ("labels", ["lung", "lung"], "labels: names must be unique"),
    ("labels", ["lung", ""], "a name or label"),
    ("labels", ["lung", " "], "a name or label"),
    ("labels", ["lung", 3], r"labels\[1\] must be str, not int"),
    ("labels", [f"l{i}" for i in range(65)], "wanted 1 to 64 names, found 65"),
    ("preprocess", None, "preprocess must be an object"),
    ("preprocess", [256, 256], "preprocess must be an object"),
    ("preprocess.height", 0, "multiples of 32"),
    ("preprocess.height", -32, "multiples of 32"),
    ("preprocess.height", 33, "multiples of 32"),
    ("preprocess.width", 2080, "multiples of 32"),
    ("preprocess.width", 10**12, "multiples of 32"),
    ("preprocess.width", 256.0, "preprocess.width must be int, not float"),
    ("preprocess.width", True, "preprocess.width must be int, not bool"),
    ("preprocess.width", "256", "preprocess.width must be int, not str"),
    ("preprocess.channels", 65, "channels must be 1 to 64"),
    ("preprocess.channels", 3, "mean and std need one value for each channel"),
    ("preprocess.mean", 0.5, "preprocess.mean must be a list"),
    ("preprocess.mean", ["0.5"], r"preprocess\.mean\[0\] must be float, not str"),
    ("preprocess.mean", [math.nan], "finite"),
    ("preprocess.mean", [1e300], "every mean"),
    ("preprocess.mean", [10**400], r"preprocess\.mean\[0\] must be float, not int"),
    ("preprocess.std", [0], "every std"),
    ("preprocess.std", [-1.0], "every std"),
    ("preprocess.std", [1e-300], "every std"),
    ("preprocess.std", [math.inf], "finite"),
    ("preprocess.resize", "crop", "preprocess.resize must be one of stretch, letterbox"),
    ("preprocess.intensity", "bright", "preprocess.intensity must be one of kept, evened"),
    ("training_data.modalities", "CR", "training_data.modalities must be a list"),
    ("training_data.appearance.brightness", [0.1], "needs 2 values, not 1"),
    ("training_data.appearance.brightness", [0.1, None], "must be float, not NoneType"),
    ("files", [], "files must be an object"),
    ("files", {"pytorch_model.bin": DIGEST}, "'pytorch_model.bin' is not a file of a member"),
    ("files", {"../../etc/passwd": DIGEST}, "is not a file of a member"),
    ("files", {"config.json": "abc"}, "is not a sha256"),
    ("files", {"config.json": DIGEST.upper()}, "is not a sha256"),
    ("files", {"config.json": DIGEST + "\n"}, "control|is not a sha256"),
    ("files", {"config.json": 5}, "must be str, not int"),
    ("scores", {}, "scores must be a list"),
    ("scores.0.n", 1.5, r"scores\[0\]\.n must be int"),
    ("scores.0.value", None, r"scores\[0\]\.value must be float"),
    ("format_version", 2, "update medseg"),
    ("format_version", "1", "must be int, not str"),
    ("format_version", True, "must be int, not bool"),
]


@pytest.mark.parametrize(("place", "value", "sentence"), MEMBER_REFUSALS, ids=short_names(MEMBER_REFUSALS))
def test_a_hostile_member_json_is_refused(place: str, value: Any, sentence: str, tmp_path: Path) -> None:
    assert re.search(sentence, refusal(MemberConfig, put(as_json(MEMBER, tmp_path), place, value), tmp_path))


def hub_member(source: str, revision: str) -> dict[str, Any]:
    return {"source": source, "sha256": DIGEST, "weight": 1.0, "revision": revision}


ENSEMBLE_REFUSALS = [
    ("recipe", "pickle", "unknown key 'recipe'"),
    ("blend", "pickle", "blend must be one of weighted mean, .*, STAPLE, stacking"),
    ("stacker", None, "stacking needs a stacker"),
    ("stacker", {"source": "../a", "sha256": DIGEST}, "stacker: source must be the name of a folder"),
    ("stacker", {"source": "a", "sha256": "0"}, "is not a sha256"),
    ("members", [], "wanted 1 to 32 members, found 0"),
    ("members", "a", "members must be a list"),
    ("members.0", "a", r"members\[0\] must be an object"),
    ("members.0.source", "../a", "source must be the name of a folder"),
    ("members.0.source", "..", "source must be the name of a folder"),
    ("members.0.source", ".", "source must be the name of a folder"),
    ("members.0.source", "", "source must be the name of a folder"),
    ("members.0.source", "/etc", "source must be the name of a folder"),
    ("members.0.source", "a/b", "source must be the name of a folder"),
    ("members.0.source", "a\\b", "source must be the name of a folder"),
    ("members.0.source", "~", "source must be the name of a folder"),
    ("members.0.source", "C:", "source must be the name of a folder"),
    ("members.0.source", "file://x", "source must be the name of a folder"),
    ("members.0.source", "a\n", "source must be the name of a folder"),
    ("members.0.source", "a" * 5000, "source must be the name of a folder"),
    ("members.0.source", "b", "a source stands twice"),
    ("members.0.revision", "main", "with a revision is no Hub id"),
    ("members.0", hub_member("owner/name", "main"), "revision must be a commit"),
    ("members.0", hub_member("owner/../name", "0" * 40), "with a revision is no Hub id"),
    ("members.0", hub_member("/name", "0" * 40), "with a revision is no Hub id"),
    ("members.0", hub_member("https://host/name", "0" * 40), "with a revision is no Hub id"),
    ("members.0.sha256", "", "is not a sha256"),
    ("members.0.sha256", None, "must be str"),
    ("members.0.weight", -1, "a weight must be a finite number of 0 or more"),
    ("members.0.weight", 0, "at least one weight must be above 0"),
    ("members.0.weight", math.nan, "finite number"),
    ("members.0.weight", math.inf, "finite number"),
    ("members.0.weight", 10**400, "must be float, not int"),
    ("members.0.weight", "1", "must be float, not str"),
    ("members.0.weight", True, "must be float, not bool"),
    ("members.0.weight", None, "must be float, not NoneType"),
    ("members.0.weight", [1, 1], "either every weight is a number, or every weight is a list"),
    ("members.0.weight", [1, "1"], r"members\[0\]\.weight\[1\] must be float, not str"),
    ("members.0.weight", [1, -1], "a weight must be a finite number of 0 or more, not -1"),
    ("threshold", 0, "wanted a value between 0 and 1"),
    ("threshold", 1, "wanted a value between 0 and 1"),
    ("threshold", -0.5, "wanted a value between 0 and 1"),
    ("threshold", None, "threshold must be float"),
    ("threshold", [0.5], r"wanted one number, or for labels that are decided alone \(multilabel\) a list"),
    ("threshold", [0.5, 1], "wanted a value between 0 and 1"),
    ("cleanup", None, "cleanup must be an object"),
    ("cleanup.min_area_px", -1, "min_area_px must be 0 or more"),
    ("cleanup.min_area_px", 1.5, "must be int"),
    ("cleanup.fill_holes", 1, "must be bool, not int"),
    ("cleanup.fill_holes", "no", "must be bool, not str"),
    ("fitted.split_sha256", 1, "fitted.split_sha256 must be str"),
    ("fitted.equal", None, "fitted.equal must be an object"),
    ("name", ["chest"], "name must be str"),
]


@pytest.mark.parametrize(("place", "value", "sentence"), ENSEMBLE_REFUSALS, ids=short_names(ENSEMBLE_REFUSALS))
def test_a_hostile_ensemble_json_is_refused(place: str, value: Any, sentence: str, tmp_path: Path) -> None:
    assert re.search(sentence, refusal(EnsembleConfig, put(as_json(ENSEMBLE, tmp_path), place, value), tmp_path))


def test_more_than_32_members_are_refused(tmp_path: Path) -> None:
    data = as_json(ENSEMBLE, tmp_path)
    data["members"] = [{"source": f"m{i}", "sha256": DIGEST, "weight": 1} for i in range(33)]
    assert "found 33" in refusal(EnsembleConfig, data, tmp_path)


def weighed_by_label(folder: Path, *weights: list[float]) -> dict[str, Any]:
    data = as_json(ENSEMBLE, folder)
    for member, weight in zip(data["members"], weights, strict=True):
        member["weight"] = weight
    return data


def test_members_may_have_a_weight_for_each_label(tmp_path: Path) -> None:
    loaded = schema.from_json(EnsembleConfig, weighed_by_label(tmp_path, [1, 0], [0.5, 2], [0, 0]))
    assert [member.weight for member in loaded.members] == [(1, 0), (0.5, 2), (0, 0)]
    schema.dump(loaded, tmp_path / "again.json")
    assert schema.load(EnsembleConfig, tmp_path / "again.json") == loaded


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        (([1], [1], [1]), "every weight is a list of one for each label"),
        (([], [], []), "every weight is a list of one for each label"),
        (([1, 1], [1, 1], [1]), "every weight is a list of one for each label"),
        (([1, 0], [2, 0], [3, 0]), "at least one weight must be above 0 for heart"),
    ],
)
def test_weights_that_do_not_fit_the_labels_are_refused(weights: tuple, sentence: str, tmp_path: Path) -> None:
    assert sentence in refusal(EnsembleConfig, weighed_by_label(tmp_path, *weights), tmp_path)


@pytest.mark.parametrize("key", ["name", "task", "labels", "members"])
def test_a_missing_key_is_named(key: str, tmp_path: Path) -> None:
    data = as_json(ENSEMBLE, tmp_path)
    del data[key]
    assert f"missing key '{key}'" in refusal(EnsembleConfig, data, tmp_path)


@pytest.mark.parametrize(
    "content",
    ["", "{", "nonsense", b"\xff\xfe\x00", b"\x80\x04\x95", "[" * 100_000, '{"a": ' * 100_000, "1" * 5000],
    ids=["empty", "half", "words", "not UTF-8", "a pickle", "deep list", "deep object", "5,000 digits"],
)
def test_what_is_no_json_is_refused(content: str | bytes, tmp_path: Path) -> None:
    assert "is not valid JSON" in refusal(EnsembleConfig, content, tmp_path)


@pytest.mark.parametrize("content", ["[]", "null", "1", '"text"', "true"])
def test_json_that_is_no_object_is_refused(content: str, tmp_path: Path) -> None:
    assert "must be an object" in refusal(EnsembleConfig, content, tmp_path)


def test_an_overlong_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    assert "larger than 1000000 bytes" in refusal(EnsembleConfig, " " * 1_000_001, tmp_path)


def test_a_missing_file_is_named_with_its_folder_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ensemble\.json cannot be read in ") as caught:
        schema.load(EnsembleConfig, tmp_path / "ensemble.json")
    assert str(tmp_path.parent) not in str(caught.value)
