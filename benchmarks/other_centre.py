"""What an ensemble is worth at another centre: polyps of CVC-ClinicDB, which nothing that ships was trained on.

    python benchmarks/other_centre.py assets/ensembles/polyp ../shared/data/polyp/kvasir-seg \\
        ../shared/data/polyp/cvc-clinicdb

Every image of CVC-ClinicDB that is there is tested, none chosen on; the location prior is that of the training
centre. Frames of one sequence are alike, so intervals draw whole sequences: its images are numbered through 29 of
them, whose last frames the data set lists (Bernal et al. 2015). Prints the table of `medseg evaluate`, figures under
the convention of the polyp papers, what the calibration is worth there, and the Dice of the images that the domain
check doubts beside that of the others, with the AUROC of its distance for a Dice below 0.7.
"""

from __future__ import annotations

import argparse
import bisect
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from tqdm import tqdm

from medseg.calibration.calibrate import judge, load_calibration
from medseg.calibration.check import check
from medseg.calibration.check import report as calibration_report
from medseg.calibration.trust import FAILURE, auroc
from medseg.data.samples import Sample, load_data, select
from medseg.evaluation.conventions import PRANET_DICE, PRANET_IOU
from medseg.evaluation.evaluate import ENSEMBLE, evaluate
from medseg.inference.domain_check import WORDS
from medseg.inference.ensemble import Ensemble
from medseg.intervals import Estimate, interval_by_case, mean_interval
from medseg.report.evaluation_table import table

LAST_FRAMES = (
    25, 50, 67, 78, 103, 126, 151, 177, 199, 205, 227, 252, 277, 297, 317, 342, 363, 383, 408, 428, 447, 466, 478, 503,
    528, 546, 571, 591, 612,
)  # fmt: skip


def tested(sample: Sample) -> Sample:
    """The sample as one of the test split, its sequence as its case."""
    sequence = bisect.bisect_left(LAST_FRAMES, int(sample.image.stem))
    return replace(sample, split="test", case=f"sequence {sequence + 1}")


def domain(ensemble: Ensemble, samples: Sequence[Sample], dice: np.ndarray) -> str:
    """The Dice of the images by the domain check's verdict, and whether its distance finds the failures."""
    verdicts = [ensemble.verdict(sample.read_image()) for sample in samples]
    cases = [sample.case for sample in samples]
    lines = ["| domain check | images | sequences | Dice, mean per image |", "|---|---|---|---|"]
    for word in WORDS:
        of = [i for i, verdict in enumerate(verdicts) if verdict.word == word]
        if not of:
            continue
        here = mean_interval(dice[of].tolist(), [cases[i] for i in of])
        lines.append(f"| {word} | {here.n} | {here.cases} | {words(here)} |")
    distances = np.array([verdict.distance for verdict in verdicts])
    doubted = distances > 1
    failed = dice < FAILURE
    low, high = interval_by_case(lambda i: auroc(distances[i], failed[i]), cases)
    area = f"{auroc(distances.tolist(), failed.tolist()):.3f} [{low:.3f}, {high:.3f}]"
    lines += ["", f"AUROC of the distance for Dice < {FAILURE:g} ({np.count_nonzero(failed)} images): {area}"]
    low, high = interval_by_case(lambda i: dice[i][doubted[i]].mean() - dice[i][~doubted[i]].mean(), cases)
    gap = dice[doubted].mean() - dice[~doubted].mean()
    calibration = load_calibration(ensemble.folder or Path(), ensemble)
    predicted = [judge(calibration, ensemble.predict(sample.read_image())).dice for sample in samples]
    for name, where in (("doubted", doubted), ("others", ~doubted)):
        error = mean_interval(np.abs(predicted - dice)[where].tolist(), [cases[i] for i in np.flatnonzero(where)])
        lines.append(f"Mean error of the predicted Dice, {name}: {words(error)}")
    return "\n".join([*lines, f"Dice of doubted − others: {gap:+.3f} [{low:+.3f}, {high:+.3f}]"])


def words(estimate: Estimate) -> str:
    return f"{estimate.mean:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("ensemble", type=Path)
    parser.add_argument("training", type=Path, help="the data set that the members were trained on")
    parser.add_argument("other", type=Path, help="CVC-ClinicDB, its images named by their number")
    options = parser.parse_args()
    samples = [tested(sample) for sample in load_data(options.other).samples]
    training = select(load_data(options.training).samples, "train")
    with tqdm(total=len(samples), desc="scoring", disable=not sys.stderr.isatty()) as bar:
        ensemble = Ensemble.from_pretrained(options.ensemble)
        result = evaluate(ensemble, samples, training, progress=lambda done, total: bar.update())
    report = result.report
    print(f"{report['n']} images of {report['cases']} sequences; {report['protocol']}\n")
    for label in ensemble.config.labels:
        print(table(report, label), "\n")
        for convention in (PRANET_DICE, PRANET_IOU):
            print(f"{convention}: {words(Estimate(**report['conventions'][label][ENSEMBLE][convention]))}")
    figures = check(load_calibration(options.ensemble, ensemble), ensemble, samples)
    print(f"\nThe calibration there:\n\n{calibration_report(figures)}")
    dice = [scores["dice"] for scores in result.scores.scores[ENSEMBLE][ensemble.config.labels[0]]]
    print(f"\n{domain(ensemble, samples, np.array(dice))}")


if __name__ == "__main__":
    main()
