"""What the embedded ensembles are and say stays what it was, whatever is rebuilt around them.

The digests are of commit d153e84, those of ensemble.json of the fit under the rules of 0.2. Hashes of files within the
JSON do not count: a member may gain a file. The domain.json are new in 0.2 (`medseg calibrate --domain`); the
calibration.json of brain and chest got a predicted Dice (`medseg calibrate --with-test`); the
scores.json are those of the wider intervals of 0.2, with lesions and comparisons (`benchmarks/published.py`). Whoever
trains, fits, calibrates or scores anew puts the new digest here.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pytest

from medseg.inference.selftest import compare_selftest
from medseg.places import shipped

FAMILIES = ("brain", "chest", "polyp")
HASHES = ("sha256", "files", "ensemble_sha256")
SAME = {
    ("brain", "ensemble.json"): "fe513ee2b11172a7",
    ("brain", "calibration.json"): "a246f89702ef0680",
    ("brain", "scores.json"): "028f57816cf16963",
    ("brain", "golden.json"): "f5061d3e4c305a63",
    ("brain", "golden.png"): "425ed0f2cb81a76f",
    ("brain", "brain-deeplabv3plus-lite2/model.safetensors"): "c578f723a242e908",
    ("brain", "brain-fpn-lite1/model.safetensors"): "dd1f668a1e2845eb",
    ("brain", "brain-unet-lite0/model.safetensors"): "9723d4d913944ba1",
    ("brain", "domain.json"): "d5b364e950cf34ca",
    ("chest", "domain.json"): "ab66a8734a653bbd",
    ("polyp", "domain.json"): "3db77080c8597d2c",
    ("chest", "ensemble.json"): "14aadbb1c0083b74",
    ("chest", "calibration.json"): "0bd9532b9015c448",
    ("chest", "scores.json"): "c2057d7d7210bf18",
    ("chest", "golden.json"): "8913b0b8db3edd8b",
    ("chest", "golden.png"): "bb3d85f538c710bb",
    ("chest", "chest-deeplabv3plus-lite2/model.safetensors"): "57c7e788a1b8fce1",
    ("chest", "chest-fpn-lite1/model.safetensors"): "b6658f44a6cc0571",
    ("chest", "chest-unet-lite0/model.safetensors"): "719212bf85c73c9c",
    ("chest", "folds.json"): "281dc52c39395f6b",
    ("polyp", "ensemble.json"): "ac710563c452a195",
    ("polyp", "calibration.json"): "9b8eda38a91f2088",
    ("polyp", "scores.json"): "1bac7c593bdd6882",
    ("polyp", "golden.json"): "a58899be1ac13d19",
    ("polyp", "golden.png"): "60dd7b579d55caf4",
    ("polyp", "polyp-deeplabv3plus-lite2/model.safetensors"): "89502149aea65bd7",
    ("polyp", "polyp-fpn-lite1/model.safetensors"): "38099f8f85449e45",
    ("polyp", "polyp-unet-lite0/model.safetensors"): "a266e1cab70d6949",
}


def without_hashes(content: Any) -> Any:
    """`content` of a JSON file less the hashes of members and files."""
    if isinstance(content, dict):
        return {name: without_hashes(value) for name, value in content.items() if name not in HASHES}
    if isinstance(content, list):
        return [without_hashes(value) for value in content if not is_hash(value)]
    return None if is_hash(content) else content


def is_hash(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def digest(family: str, name: str) -> str:
    path = shipped("assets/ensembles") / family / name
    if path.suffix != ".json":
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    text = json.dumps(without_hashes(json.loads(path.read_text(encoding="utf-8"))), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize(("family", "name"), SAME)
def test_weights_fits_calibrations_and_scores_are_those_of_before(family: str, name: str) -> None:
    assert digest(family, name) == SAME[family, name]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_masks_are_those_of_before_to_the_pixel(family: str) -> None:
    drift = compare_selftest(shipped("assets/ensembles") / family)
    assert np.array(list(drift.masks.values())).min() == 1
    assert max(drift.members.values()) <= 1e-3  # golden.json keeps four digits
