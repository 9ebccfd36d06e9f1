"""What the loop is fed: every sample once an epoch, whatever the order of asking; phantoms whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import medseg.data.phantoms
from medseg.config import Preprocess
from medseg.data.samples import load_data, select
from medseg.errors import InputError
from medseg.training import data
from medseg.training.data import (
    BalancedEpochs,
    Pairs,
    ShuffledEpochs,
    read_recipe_samples,
    training_loader,
    validation_loader,
)
from medseg.training.recipe import Recipe


def pairs_of(folder: Path, split: str, count: int) -> Pairs:
    samples = select(load_data(folder).samples, split)[:count]
    return Pairs(samples, ("disc",), Preprocess(32, 32))


def test_an_epoch_holds_every_sample_once_in_an_order_of_its_own() -> None:
    sampler = ShuffledEpochs(10, seed=0)
    orders = []
    for epoch in (0, 1, 2):
        sampler.set_epoch(epoch)
        orders.append([index - 10 * epoch for index in sampler])
        assert [index - 10 * epoch for index in sampler] == orders[-1]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert list(ShuffledEpochs(10, seed=1)) != orders[0]


@pytest.mark.parametrize(("rate", "positives"), [(0.5, 5), (0.8, 8), (1.0, 10)])
def test_a_balanced_epoch_has_the_wanted_share_and_repeats_as_little_as_it_can(rate: float, positives: int) -> None:
    sampler = BalancedEpochs([number < 3 for number in range(10)], rate, seed=0)
    orders = []
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
        assert list(sampler) == orders[-1]
        times = [sum(index % 10 == sample for index in orders[-1]) for sample in range(10)]
        assert sum(times[:3]) == positives
        assert max(times[:3]) - min(times[:3]) <= 1
        assert max(times[3:]) <= 1
        assert len(set(orders[-1])) == len(orders[-1]) == 10  # what comes again is varied anew
    assert not set(orders[0]) & set(orders[1])


def test_a_positive_rate_needs_both_kinds() -> None:
    with pytest.raises(InputError, match=r"positive_rate = 0\.5 needs samples with and without a marked pixel"):
        BalancedEpochs([True] * 4, 0.5, seed=0)


def test_a_sample_varies_by_epoch_and_not_by_when_it_is_asked_for(disc_pairs: Path) -> None:
    pairs = pairs_of(disc_pairs, "train", 4)
    plain = pairs[1][0]
    assert torch.equal(plain, pairs[5][0])
    varied = pairs.augmented("medium", seed=0)
    first, later = varied[1], varied[5]
    assert not torch.equal(first[0], plain)
    assert not torch.equal(first[0], later[0])
    assert all(torch.equal(a, b) for a, b in zip(varied[1], first, strict=True))
    assert torch.equal(pairs[1][0], plain)


@pytest.mark.parametrize(("count", "sizes"), [(4, [2, 2]), (5, [2, 2]), (6, [2, 2, 2])])
def test_a_last_training_batch_of_one_is_left_out(disc_pairs: Path, count: int, sizes: list[int]) -> None:
    train, val = pairs_of(disc_pairs, "train", count), pairs_of(disc_pairs, "val", 3)
    recipe = Recipe(batch_size=2)
    shuffled, in_order = training_loader(recipe, train), validation_loader(recipe, val)
    assert [len(masks) for _, masks in shuffled] == sizes
    assert sum(len(masks) for _, masks in in_order) == 3


@pytest.mark.filterwarnings("ignore::medseg.errors.MedsegWarning")  # the other discs are no part of it
def test_cases_are_numbered_so_that_no_name_leaves_the_data_set(tmp_path: Path, disc_pairs: Path) -> None:
    entries = [
        {"image": str(path), "mask": str(disc_pairs / "masks" / path.name), "case": case, "split": "val"}
        for path, case in zip(sorted((disc_pairs / "images").iterdir()), ("ann", "bob", "ann"), strict=False)
    ]
    (tmp_path / "manifest.json").write_text(json.dumps({"labels": ["disc"], "samples": entries}), encoding="utf-8")
    assert pairs_of(tmp_path / "manifest.json", "val", 3).cases == ["0", "1", "0"]


def test_phantoms_are_drawn_once_and_a_stopped_drawing_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "PHANTOM_COUNT", 12)
    recipe, write_pairs = Recipe(output=str(tmp_path)), medseg.data.phantoms.write_pairs

    def stopped(folder: Path, _count: int, *others: Any) -> None:
        write_pairs(folder, 5, *others)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(medseg.data.phantoms, "write_pairs", stopped)
        with pytest.raises(KeyboardInterrupt):
            read_recipe_samples(recipe)
    drawn = read_recipe_samples(recipe)
    assert len(drawn) == 12
    assert {sample.split for sample in drawn} == {"train", "val", "test"}
    monkeypatch.setattr(medseg.data.phantoms, "write_pairs", stopped)  # the second time none are drawn
    assert read_recipe_samples(recipe) == drawn


def test_the_member_has_not_seen_the_examples() -> None:
    seeds = range(data.PHANTOM_SEED, data.PHANTOM_SEED + data.PHANTOM_COUNT)
    assert not set(medseg.data.phantoms.EXAMPLES["endoscopy"]) & set(seeds)
