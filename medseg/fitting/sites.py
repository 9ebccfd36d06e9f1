"""Weights over hospitals that share no image: their observations joined, and what the weights are worth at each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medseg.config import Task
from medseg.errors import InputError
from medseg.fitting.fit import Choice, Fit, fit
from medseg.fitting.observations import Observations
from medseg.fitting.site_file import read_site
from medseg.fitting.thresholds import at, index_of
from medseg.intervals import Estimate


@dataclass(frozen=True)
class SiteReport:
    """One hospital: equal weights, the weights chosen on all hospitals' images (its own had a part in that), and those
    that are recommended where its images are left out, with what they gain over equal weights here; None where there
    is no other hospital."""

    name: str
    images: int
    cases: int
    equal: Estimate
    chosen: Estimate
    elsewhere: Estimate | None
    gain: Estimate | None


def read_sites(
    paths: Sequence[Path], hashes: Sequence[str], labels: Sequence[str], task: Task
) -> tuple[dict[str, Observations], str]:
    """The observations by the names of their files, and a hash of all files.

    Raises InputError for those of members with other `hashes`, of other labels, and for one file given twice.
    """
    sites: dict[str, Observations] = {}
    contents = []
    for path in paths:
        observations, about = read_site(path)
        if ([*about.sha256], [*about.labels], about.task) != ([*hashes], [*labels], task):
            raise InputError(
                f"{path.name} was made by other members, or in another order: {', '.join(about.members)} for "
                f"{', '.join(about.labels)}. Name the folders of these members in that order."
            )
        contents.append(hashlib.sha256(path.read_bytes()).hexdigest())
        if path.stem in sites or len(set(contents)) < len(contents):
            raise InputError(f"{path.name} is there twice: give each site's file once, named after the site.")
        sites[path.stem] = observations
    return sites, hashlib.sha256("".join(sorted(contents)).encode()).hexdigest()


def join(sites: Mapping[str, Observations]) -> Observations:
    """The observations of all sites, by name; a case is known by its site and its number there, so folds never split
    one. What the mean mask of other cases marks of an image was counted at its own site."""
    every = [*sites.values()]
    if len({each.members for each in every}) > 1 or len({each.task for each in every}) > 1:
        raise InputError("The observations are of other members or tasks: observe with one ensemble everywhere.")
    splits = {each.split for each in every}
    return Observations(
        tuple(image for each in every for image in each.histograms),
        np.concatenate([each.prior for each in every]),
        tuple(f"{name}/{case}" for name, each in sites.items() for case in each.cases),
        splits.pop() if len(splits) == 1 else "several",
        every[0].task,
    )


def site_reports(
    sites: Mapping[str, Observations], everywhere: Fit, chosen: Choice, **settings: Any
) -> list[SiteReport]:
    """What `chosen`, and the recommended weights of a fit without each site, are worth there; `settings` are those of
    `fit`."""
    joined, reports = join(sites), []
    for name, own in sites.items():
        cases = {f"{name}/{case}" for case in own.cases}
        without = fit(joined.without(cases), **settings) if len(sites) > 1 else None
        reports.append(_report(name, own, everywhere.equal, chosen, without))
    return reports


def _report(name: str, own: Observations, equal: Choice, chosen: Choice, without: Fit | None) -> SiteReport:
    measure = chosen.measure
    of = [
        at(own.curves(range(len(own.cases)), choice.weights), index_of(choice.threshold))
        for choice in (equal, chosen, *([without.choice(without.recommended), without.equal] if without else []))
    ]
    estimates = [measure.estimate(counts, own.cases) for counts in of[:3]]
    gain = measure.difference(of[2], of[3], own.cases) if without else None
    here = SiteReport(name, len(own.cases), len(set(own.cases)), estimates[0], estimates[1], None, gain)
    return replace(here, elsewhere=estimates[2]) if without else here


def site_table(reports: Sequence[SiteReport]) -> str:
    """The reports in lines."""
    head = (
        "| site | images | cases | equal weights | chosen on all | chosen elsewhere | elsewhere − equal |",
        "|---|---|---|---|---|---|---|",
    )
    rows = [
        f"| {each.name} | {each.images} | {each.cases} | {_words(each.equal)} | {_words(each.chosen)} | "
        f"{_words(each.elsewhere)} | {_words(each.gain, '+')} |"
        for each in reports
    ]
    return "\n".join((*head, *rows))


def _words(estimate: Estimate | None, sign: str = "") -> str:
    if estimate is None:
        return "–"
    words = f"{estimate.mean:{sign}.4f} [{estimate.low:{sign}.4f}, {estimate.high:{sign}.4f}]"
    return words.replace("-", "−")
