"""Cards say what the JSON files say, and nothing else."""

import dataclasses
import re
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from medseg.cards.card import ensemble_card, member_card
from medseg.cards.folder import write_cards
from medseg.config import EnsembleConfig, MemberConfig, MemberReference, Preprocess, StackerReference, TrainingData
from medseg.scores import Fitted, Nested, Score
from tests.conftest import ROOT

SCORE = Score("dice", 0.87654, 0.8, 0.9, 100, "val", "per-image mean")
DATA = TrainingData("Kvasir-SEG", "CC-BY-4.0", "https://example.org/k", "Jha 2020", pictures="colonoscopy")
MEMBER = MemberConfig(
    "unet", "binary", ("polyp",), Preprocess(192, 256), DATA, "CC-BY-4.0", files={}, scores=(SCORE,)
)  # fmt: skip
ENSEMBLE = EnsembleConfig(
    "polyp", "binary", ("polyp",), (MemberReference("unet", "0" * 64, 0.7), MemberReference("fpn", "1" * 64, 0.3)), 0.45
)
BOTH = [MEMBER, dataclasses.replace(MEMBER, name="fpn")]
FITTED = Fitted("Kvasir val", "0" * 64, "a grid", "unet", SCORE, dataclasses.replace(SCORE, value=0.5), SCORE)
NOTICE = "Research use only, not for diagnosis."


def test_the_cards_begin_with_the_hubs_front_matter() -> None:
    member, ensemble = member_card(MEMBER, "Unet", "resnet18"), ensemble_card(ENSEMBLE, BOTH, None, [])
    for card, library in ((member, "segmentation-models-pytorch"), (ensemble, "medseg")):
        front = ModelCard(card).data
        assert (front.license, front.library_name) == ("cc-by-4.0", library)
        assert front.pipeline_tag == "image-segmentation"
        assert {"medseg", "binary", "polyp"} <= set(front.tags)
        assert re.search(r"\n---\n# ", card)


def test_a_card_says_that_a_member_knows_no_mirror_images() -> None:
    says = [
        "do not flip them" in member_card(dataclasses.replace(MEMBER, upright=each), "Unet", "resnet18")
        for each in (True, False)
    ]
    assert says == [True, False]


def test_a_licence_cannot_smuggle_other_keys_into_the_front_matter() -> None:
    sly = dataclasses.replace(MEMBER, weights_licence="MIT\nbase_model: other/repo")
    front = ModelCard(member_card(sly, "Unet", "resnet18")).data
    assert front.base_model is None
    assert (front.license, front.license_name) == ("other", "mit\nbase_model: other/repo")


def test_a_licence_that_the_hub_does_not_know_is_named_beside_other() -> None:
    own = dataclasses.replace(MEMBER, weights_licence="Research-Only-1")
    front = ModelCard(member_card(own, "Unet", "resnet18")).data
    assert (front.license, front.license_name) == ("other", "research-only-1")


def test_a_members_scores_are_its_model_index() -> None:
    (result,) = ModelCard(member_card(MEMBER, "Unet", "resnet18")).data.eval_results
    assert (result.dataset_name, result.dataset_split, result.metric_type) == ("Kvasir-SEG", "val", "dice")
    assert result.metric_value == 0.8765
    assert result.metric_name == "dice, n = 100, 95 % interval [0.800, 0.900], per-image mean"


def test_an_ensembles_model_index_holds_what_was_evaluated() -> None:
    found = {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 7}
    kinds = {kind: {"dice": found, "iou": found} for kind in ("per_image_all", "pooled_all")}
    report = {"split": "test", "n": 7, "protocol": "…", "rows": {"ensemble": {"polyp": kinds}}}
    results = ModelCard(ensemble_card(ENSEMBLE, BOTH, report, [])).data.eval_results
    assert [(r.dataset_split, r.metric_type, r.metric_value) for r in results] == [
        ("test", "dice", 0.5), ("test", "iou", 0.5), ("test", "dice", 0.5), ("test", "iou", 0.5),
    ]  # fmt: skip
    assert "pooled pixels, n = 7, 95 % interval 0.400 to 0.600" in results[2].metric_name


def test_a_figure_that_is_not_known_stays_out_of_the_model_index() -> None:
    none = {"mean": None, "low": None, "high": None, "n": 0}
    kinds = {kind: {"dice": none, "iou": none} for kind in ("per_image_all", "pooled_all")}
    report = {"split": "test", "n": 7, "protocol": "…", "rows": {"ensemble": {"polyp": kinds}}}
    assert ModelCard(ensemble_card(ENSEMBLE, BOTH, report, [])).data.eval_results is None


def test_a_members_card_says_how_the_image_goes_in() -> None:
    card = member_card(MEMBER, "Unet", "resnet18")
    assert "3 channels in [0, 1], resized to 192 × 256 (the aspect ratio ignored)" in card
    assert "mean 0.485, 0.456, 0.406; std 0.229, 0.224, 0.225" in card
    assert "(N, 3, 192, 256)" in card


def test_a_plain_unet_is_loaded_by_its_own_class() -> None:
    card = member_card(MEMBER, "PlainUNet", "None")
    assert "A PlainUNet that predicts" in card
    assert "PlainUNet.from_pretrained(" in card
    assert "import segmentation_models_pytorch" not in card


def test_the_cards_carry_the_notice() -> None:
    assert NOTICE in member_card(MEMBER, "Unet", "resnet18")
    assert NOTICE in ensemble_card(ENSEMBLE, BOTH, None, [])


def test_a_members_card_names_network_data_licence_and_input() -> None:
    card = member_card(MEMBER, "Unet", "resnet18")
    for part in ("# unet\n", "A Unet on resnet18", "polyp (binary)", "Cite: Jha 2020."):
        assert part in card
    assert "| [Kvasir-SEG](https://example.org/k) | CC-BY-4.0 | CC-BY-4.0 |" in card


def test_a_score_is_shown_with_interval_n_and_protocol() -> None:
    card = member_card(MEMBER, "Unet", "resnet18")
    assert "- dice 0.877 [0.800, 0.900] on val, n = 100 (per-image mean)" in card


def test_the_figures_have_the_commands_that_print_them() -> None:
    assert "Command: `medseg train`" in member_card(MEMBER, "Unet", "resnet18")
    card = ensemble_card(dataclasses.replace(ENSEMBLE, fitted=FITTED), BOTH, None, [])
    assert "Command: `medseg fit`." in card


def test_a_score_without_interval_has_dashes() -> None:
    single = dataclasses.replace(MEMBER, scores=(dataclasses.replace(SCORE, low=None, high=None, n=1),))
    assert "dice 0.877 [–, –] on val, n = 1" in member_card(single, "Unet", "resnet18")


def test_an_ensembles_card_lists_members_with_weights_and_the_threshold() -> None:
    card = ensemble_card(ENSEMBLE, BOTH, None, [])
    assert "| unet | 0.7 |\n| fpn | 0.3 |" in card
    assert "Threshold 0.45." in card
    assert "An ensemble of 2 networks for polyp on colonoscopy." in card


def test_an_ensembles_card_names_its_stacker_and_the_blend() -> None:
    stacker = StackerReference("top", "0" * 64, with_image=True)
    card = ensemble_card(dataclasses.replace(ENSEMBLE, blend="stacking", stacker=stacker), BOTH, None, [])
    assert "Blend: stacking." in card
    assert "in `top/`, was trained to predict from the members' probabilities and the image" in card


def test_weights_per_label_stand_in_the_order_of_the_labels() -> None:
    members = tuple(
        dataclasses.replace(m, weight=w) for m, w in zip(ENSEMBLE.members, ((0.7, 1), (0.3, 0)), strict=True)
    )
    both = dataclasses.replace(ENSEMBLE, task="multilabel", labels=("polyp", "tool"), members=members)
    assert "| unet | 0.7, 1 |\n| fpn | 0.3, 0 |" in ensemble_card(both, BOTH, None, [])


def test_what_was_not_done_is_not_on_the_card() -> None:
    card = ensemble_card(ENSEMBLE, BOTH, None, [])
    assert "How the weights were chosen" not in card
    assert "## Scores" not in card


def test_the_fit_is_shown_and_said_to_flatter() -> None:
    card = ensemble_card(dataclasses.replace(ENSEMBLE, fitted=FITTED), BOTH, None, [])
    assert "On Kvasir val, by a grid." in card
    assert "- best single, unet: dice 0.877" in card
    assert "- equal weights: dice 0.500" in card
    assert "they are no test scores" in card


def test_a_fit_without_nested_estimate_says_whose_weights_these_are() -> None:
    card = ensemble_card(dataclasses.replace(ENSEMBLE, fitted=FITTED), BOTH, None, [])
    assert "The ensemble has the fitted weights and their threshold.\n" in card
    assert "recommended" not in card


def test_the_nested_estimate_is_shown_with_its_differences() -> None:
    ahead = dataclasses.replace(SCORE, value=-0.0123, low=-0.02, high=0.01)
    nested = Nested(SCORE, SCORE, dataclasses.replace(SCORE, value=0.777), ahead, dataclasses.replace(ahead, low=None))
    fitted = dataclasses.replace(FITTED, nested=nested, recommended="equal", chosen="best single")
    card = ensemble_card(dataclasses.replace(ENSEMBLE, fitted=fitted), BOTH, None, [])
    assert "- fitted weights: dice 0.777" in card
    assert "- fitted − best single: −0.012 [−0.020, +0.010]" in card
    assert "- fitted − equal weights: −0.012 [–, +0.010]" in card
    assert "best single − equal" not in card  # ensemble.json of before does not say
    assert "has the best single weights and their threshold; recommended were the equal ones." in card


def test_weights_per_label_are_shown_beside_the_shared_ones() -> None:
    ahead = dataclasses.replace(SCORE, value=0.0123, low=0.01, high=0.02)
    behind = dataclasses.replace(ahead, value=-0.01, low=-0.02)
    nested = Nested(SCORE, SCORE, SCORE, behind, behind, dataclasses.replace(SCORE, value=0.9), ahead, behind)
    best = dataclasses.replace(SCORE, value=0.99)
    fitted = dataclasses.replace(FITTED, nested=nested, recommended="per label", chosen="per label", per_label=best)
    card = ensemble_card(dataclasses.replace(ENSEMBLE, fitted=fitted), BOTH, None, [])
    assert "flatter all four" in card
    assert "- weights per label: dice 0.990" in card
    assert "- weights per label: dice 0.900" in card
    assert "- per label − fitted: +0.012 [+0.010, +0.020]" in card
    assert "The ensemble has the per label weights and their threshold." in card
    assert "- best single − equal weights: −0.010 [−0.020, +0.020]" in card


def test_the_test_scores_are_shown_with_their_protocol() -> None:
    report = {"split": "test", "n": 100, "protocol": "on the image's own grid", "rows": {"ensemble": {}}}
    card = ensemble_card(ENSEMBLE, BOTH, report, ["| a table |"])
    assert "## Scores on the test split, n = 100\n\n| a table |\n" in card
    assert "Protocol: on the image's own grid." in card


@pytest.mark.parametrize("family", sorted((ROOT / "assets" / "ensembles").iterdir()), ids=lambda path: path.name)
def test_the_embedded_cards_are_what_their_json_says_today(family: Path, tmp_path: Path) -> None:
    copied = tmp_path / "family"
    shutil.copytree(family, copied, ignore=shutil.ignore_patterns("*.safetensors", "README.md"))
    write_cards(copied)
    cards = sorted(path.relative_to(family) for path in family.rglob("README.md"))
    assert [(copied / card).read_text("utf-8") for card in cards] == [
        (family / card).read_text("utf-8") for card in cards
    ]
