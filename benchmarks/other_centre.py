"""What an ensemble is worth at another centre: polyps of CVC-ClinicDB, which nothing that ships was trained on.

    python benchmarks/other_centre.py assets/ensembles/polyp ../shared/data/polyp/kvasir-seg \\
        ../shared/data/polyp/cvc-clinicdb

Every image of CVC-ClinicDB that is there is tested, none chosen on; the location prior is that of the training
centre. Frames of one sequence are alike, so intervals draw whole sequences: its images are numbered through 29 of
them, whose last frames the data set lists (Bernal et al. 2015). Prints the table of `medseg evaluate`.
"""

from __future__ import annotations

import argparse
import bisect
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm

from medseg.data.samples import Sample, load_data, select
from medseg.evaluation.evaluate import evaluate
from medseg.inference.ensemble import Ensemble
from medseg.report.evaluation_table import table

LAST_FRAMES = (
    25, 50, 67, 78, 103, 126, 151, 177, 199, 205, 227, 252, 277, 297, 317, 342, 363, 383, 408, 428, 447, 466, 478, 503,
    528, 546, 571, 591, 612,
)  # fmt: skip


def tested(sample: Sample) -> Sample:
    """The sample as one of the test split, its sequence as its case."""
    sequence = bisect.bisect_left(LAST_FRAMES, int(sample.image.stem))
    return replace(sample, split="test", case=f"sequence {sequence + 1}")


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
        report = evaluate(ensemble, samples, training, progress=lambda done, total: bar.update()).report
    print(f"{report['n']} images of {report['cases']} sequences; {report['protocol']}\n")
    for label in ensemble.config.labels:
        print(table(report, label))


if __name__ == "__main__":
    main()
