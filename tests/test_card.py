"""Cards say what the JSON files say, and nothing else."""

import dataclasses
import re

from medseg.card import ensemble_card, member_card
from medseg.config import EnsembleConfig, Fitted, MemberConfig, MemberReference, Preprocess, Score, TrainingData

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
    for card in (member_card(MEMBER, "Unet", "resnet18"), ensemble_card(ENSEMBLE, BOTH, None, [])):
        assert re.match(
            r'---\nlicense: "cc-by-4\.0"\nlibrary_name: segmentation-models-pytorch\n(?:\w+: .*\n)+---\n# ', card
        )


def test_a_licence_cannot_smuggle_other_keys_into_the_front_matter() -> None:
    sly = dataclasses.replace(MEMBER, weights_licence="MIT\nbase_model: other/repo")
    front = member_card(sly, "Unet", "resnet18").split("---")[1]
    assert "\nbase_model" not in front


def test_the_cards_carry_the_notice() -> None:
    assert NOTICE in member_card(MEMBER, "Unet", "resnet18")
    assert NOTICE in ensemble_card(ENSEMBLE, BOTH, None, [])


def test_a_members_card_names_network_data_licence_and_input() -> None:
    card = member_card(MEMBER, "Unet", "resnet18")
    for part in ("# unet\n", "A Unet on resnet18", "polyp (binary), input 192 × 256", "Cite: Jha 2020."):
        assert part in card
    assert "| [Kvasir-SEG](https://example.org/k) | CC-BY-4.0 | CC-BY-4.0 |" in card


def test_a_score_is_shown_with_interval_n_and_protocol() -> None:
    card = member_card(MEMBER, "Unet", "resnet18")
    assert "- dice 0.877 [0.800, 0.900] on val, n = 100 (per-image mean)" in card


def test_a_score_without_interval_has_dashes() -> None:
    single = dataclasses.replace(MEMBER, scores=(dataclasses.replace(SCORE, low=None, high=None, n=1),))
    assert "dice 0.877 [–, –] on val, n = 1" in member_card(single, "Unet", "resnet18")


def test_an_ensembles_card_lists_members_with_weights_and_the_threshold() -> None:
    card = ensemble_card(ENSEMBLE, BOTH, None, [])
    assert "| unet | 0.7 |\n| fpn | 0.3 |" in card
    assert "Threshold 0.45." in card
    assert "An ensemble of 2 networks for polyp on colonoscopy." in card


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


def test_the_test_scores_are_shown_with_their_protocol() -> None:
    report = {"split": "test", "n": 100, "protocol": "on the image's own grid"}
    card = ensemble_card(ENSEMBLE, BOTH, report, ["| a table |"])
    assert "## Scores on the test split, n = 100\n\n| a table |\n" in card
    assert "Protocol: on the image's own grid." in card
