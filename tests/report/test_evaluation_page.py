"""report.html: one page that needs nothing else, believes no name, and shows what the figures come from."""

import dataclasses
import io
import re
from base64 import b64decode
from html.parser import HTMLParser
from typing import Any

import numpy as np
import PIL.Image
import pytest

from medseg.config import EnsembleConfig, MemberReference
from medseg.evaluation.evaluate import evaluate
from medseg.evaluation.scoring import Result
from medseg.image import Image
from medseg.inference.ensemble import Ensemble
from medseg.report.evaluation_images import Shown, choose, show
from medseg.report.evaluation_page import page
from tests.conftest import PaintedSample, fake_member
from tests.evaluation.test_evaluate import SAMPLES, TRAINING, made_of, truth, two_members

EVIL = "<script>alert(1)</script><img src=http://x.test/a onerror=alert(2)>"


class Elements(HTMLParser):
    """Every start tag with its attributes, and the text between."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def found() -> Result:
    return evaluate(two_members(), SAMPLES, TRAINING)


def written(result: Result, **facts: str) -> str:
    return page(result.report, show(two_members(), SAMPLES, result.scores), facts)


def sources(text: str) -> list[str]:
    return [str(attributes["src"]) for tag, attributes in Elements(text).tags if tag == "img"]


def test_the_page_says_what_was_evaluated_and_what_it_is_not_for(found: Result) -> None:
    text = Elements(written(found, Command="medseg evaluate x y")).text
    assert "Research use only, not for diagnosis." in text
    for part in (
        "medseg evaluate x y",
        *found.report["members"],
        found.report["split_sha256"],
        "4 of 4 cases",
    ):
        assert part in text
    assert found.report["protocol"] in text
    assert re.search(r"torch \d", text)


def test_every_section_is_there(found: Result) -> None:
    text = Elements(written(found)).text
    for heading in (
        "Mean per image, n = 4",
        "Mean per image with a finding, n = 3",
        "Pixels of all images pooled, n = 4",
        "Differences, paired by image",
        "What each member is worth",
        "The same predictions, as others count",
        "Worst by Dice",
    ):
        assert heading in text


def test_where_every_image_has_a_finding_that_is_not_shown_twice() -> None:
    result = evaluate(two_members(), SAMPLES[:2], TRAINING)
    assert "with a finding, n" not in Elements(page(result.report, [], {})).text


def test_figures_stand_with_their_intervals_and_baselines_with_their_stamp(found: Result) -> None:
    text = " ".join(Elements(written(found)).text.split())
    assert "nothing (under the baseline) 0.250[–, –]" in text  # of four cases there is no interval
    assert "3 infinite" in text


def test_a_row_is_stamped_by_the_baseline_of_its_own_table() -> None:
    """Silence is right on two of three images, and finds as little as the empty mask on the third."""
    drawn = [SAMPLES[0], *(dataclasses.replace(SAMPLES[3], case=case) for case in ("e", "f"))]
    result = evaluate(made_of([fake_member("silent", lambda image: np.zeros((1, *image.size)))], [1]), drawn, SAMPLES)
    text = Elements(page(result.report, [], {})).text
    every, positives = text.split("Mean per image with a finding")
    assert "silent (at the baseline)" in every
    assert "silent (under the baseline)" in positives  # the location prior finds something there


def test_the_page_needs_no_script_and_no_other_file(found: Result) -> None:
    text = written(found)
    tags = Elements(text).tags
    assert not {tag for tag, _ in tags} & {"script", "link", "iframe", "object", "base"}
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources(text))
    assert "http:" not in text
    assert "https:" not in text
    assert [a["content"] for tag, a in tags if a.get("http-equiv") == "Content-Security-Policy"] == [
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    ]


def test_names_of_strangers_stay_text() -> None:
    member = fake_member(EVIL, truth, labels=(EVIL,))
    settings = EnsembleConfig(EVIL, "binary", (EVIL,), (MemberReference("m", member.sha256, 1),))
    ensemble = Ensemble(settings, [member], [f"The member {EVIL} is damaged."])
    result = evaluate(ensemble, SAMPLES, TRAINING)
    report = {**result.report, "split": EVIL, "protocol": EVIL}
    shown = [dataclasses.replace(one, name=EVIL, group=EVIL) for one in show(ensemble, SAMPLES, result.scores)]
    elements = Elements(page(report, shown, {"Data": EVIL}))
    assert "script" not in {tag for tag, _ in elements.tags}
    assert not [a for _, a in elements.tags if "onerror" in a]
    assert elements.text.count(EVIL) > 6


def test_images_are_small_and_show_image_truth_and_answer(found: Result) -> None:
    large = np.zeros((700, 500, 3), np.float32)
    mask = np.zeros((1, 700, 500), bool)
    mask[0, 200:400, 100:300] = True
    sample = PaintedSample(Image(large), mask, "large", "test")
    blind = made_of([fake_member("blind", lambda image: np.zeros((1, *image.size)))], [1])
    (one,) = show(blind, [sample], evaluate(blind, [sample], TRAINING).scores)
    opened = [np.asarray(PIL.Image.open(io.BytesIO(b64decode(u.split(",")[1])))) for u in (one.image, one.truth)]
    assert [drawn.shape for drawn in opened] == [(320, 229, 3)] * 2
    assert opened[0].max() < 10
    assert opened[1][92:180, 50:130].mean() > 30, "the true mask is drawn"
    assert one.prediction == one.image, "nothing was found"
    assert (one.group, one.name, one.dice) == ("worst", "large.png", 0)


def test_the_worst_images_come_first_and_none_twice() -> None:
    chosen = choose([i / 20 for i in range(20)])
    assert chosen == {"worst": [0, 1, 2, 3, 4, 5], "in the middle": [8, 9, 10], "best": [19, 18, 17]}
    assert choose([0.5, 0.25]) == {"worst": [1, 0], "in the middle": [], "best": []}


def test_an_empty_group_has_no_heading(found: Result) -> None:
    one = Shown("worst", "a.png", 0.25, "data:,", "data:,", "data:,")
    text = Elements(page(found.report, [one], {})).text
    assert "Worst by Dice" in text
    assert "a.png: Dice 0.250" in text
    assert "Best by Dice" not in text


def test_labels_have_a_section_each_and_share_the_images() -> None:
    masks = np.zeros((2, 32, 32), bool)
    masks[0, :16] = masks[1, 16:] = True
    drawn = [PaintedSample(Image(np.zeros((32, 32, 1), np.float32)), masks, case, "test") for case in "ab"]
    member = fake_member("upper", lambda image: np.stack([masks[0], masks[0]]), labels=("up", "low"), task="multilabel")
    ensemble = made_of([member], [1])
    result = evaluate(ensemble, drawn, drawn)
    text = page(result.report, show(ensemble, drawn, result.scores), {})
    assert re.findall(r"<h2>(\w+)</h2>", text) == ["up", "low"]
    assert text.count("a.png: Dice 0.500") == 1


def test_weights_for_each_label_are_listed() -> None:
    weighted: dict[str, Any] = {**evaluate(two_members(), SAMPLES, TRAINING).report, "weights": [[0.25, 1], [0.75, 0]]}
    assert "perfect, weight 0.25 / 1" in Elements(page(weighted, [], {})).text
