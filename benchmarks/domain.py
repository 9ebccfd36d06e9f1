"""How well the domain check tells images apart: each embedded family against the others, natural images, documents,
and other modalities.

    python benchmarks/domain.py ../shared/data

Reads the data sets as `medseg calibrate` does (polyp/kvasir-seg, brain/lgg-mri-segmentation, chest/chestx-det), learns
each family's domain.json from training and validation images, and judges its test images; the other families' test
images; what scikit-image, matplotlib and gradio ship (photographs, documents, textures, drawings); the DICOM files that
pydicom ships, by their looks alone, their modality unsaid; and the same organ of another centre. Prints for each the
AUROC of the distance against the family's own test images and the shares of the verdicts, with 95 % intervals by case.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from medseg.calibration.trust import auroc
from medseg.data.manifest import Sample
from medseg.data.samples import load_data
from medseg.errors import MedsegError, MedsegWarning
from medseg.inference.domain_check import FAR, WORDS, Domain, fit_domain
from medseg.inference.image_features import features
from medseg.intervals import interval_by_case, mean_interval
from medseg.reading.readers import read_image

FAMILIES = {"polyp": "polyp/kvasir-seg", "brain": "brain/lgg-mri-segmentation", "chest": "chest/chestx-det"}
OTHER_CENTRES = {"polyp, another centre": "polyp/cvc-clinicdb", "chest, another centre": "chest/covid-cxr"}
PACKAGES = {
    "natural images and documents": ("skimage/data", "matplotlib/mpl-data/sample_data", "gradio/media_assets/images"),
    "DICOM of other modalities": ("pydicom/data/test_files",),
}
Named = tuple[str, np.ndarray]
"""Case, and the image's features; its modality is left unsaid."""


def of_samples(samples: Sequence[Sample]) -> list[Named]:
    return [(sample.case, features(sample.read_image())) for sample in samples]


def of_packages(folders: Sequence[str]) -> list[Named]:
    """Every image that medseg reads in these folders of installed packages; a file is a case."""
    images = []
    for folder in folders:
        root = next((Path(place) / folder for place in sys.path if (Path(place) / folder).is_dir()), None)
        for path in sorted(root.rglob("*")) if root else ():
            try:
                images.append((path.name, features(read_image(path))))
            except MedsegError:
                continue
    return images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("data", type=Path, help="the folder of the data sets")
    options = parser.parse_args()
    warnings.simplefilter("ignore", MedsegWarning)
    samples = {family: load_data(options.data / place).samples for family, place in FAMILIES.items()}
    tested = {name: of_samples([one for one in every if one.split == "test"]) for name, every in samples.items()}
    tested |= {name: of_samples(load_data(options.data / place).samples) for name, place in OTHER_CENTRES.items()}
    tested |= {name: of_packages(folders) for name, folders in PACKAGES.items()}
    for family, every in samples.items():
        learnt = [sample for sample in every if sample.split != "test"]
        values = np.array([features(sample.read_image()) for sample in learnt])
        domain = fit_domain(values, [sample.case for sample in learnt], family, "")
        print(f"\n{family}: learnt from {domain.n} images of {domain.cases} cases\n")
        print(f"| images | n | AUROC | {' | '.join(WORDS)} |\n|---|---|---|---|---|---|")
        for name, images in tested.items():
            print(row(name, images, tested[family], domain))


def row(name: str, images: Sequence[Named], own: Sequence[Named], domain: Domain) -> str:
    """One line of the table."""
    distances = domain.distance(np.array([values for _, values in images]))
    verdicts = [WORDS[int(distance > 1) + int(distance > FAR)] for distance in distances]
    cases = [case for case, _ in images]
    shares = []
    for word in WORDS:
        share = mean_interval([float(one == word) for one in verdicts], cases)
        shares.append(f"{share.mean:.3f} [{share.low:.3f}, {share.high:.3f}]")
    return f"| {name} | {len(images)} | {separation(distances, cases, own, domain)} | {' | '.join(shares)} |"


def separation(theirs: np.ndarray, cases: Sequence[str], own: Sequence[Named], domain: Domain) -> str:
    """The AUROC of the distances against those of the family's own test images; – for these themselves."""
    ours = domain.distance(np.array([values for _, values in own]))
    if np.array_equal(theirs, ours):
        return "–"
    distances, far = np.concatenate([ours, theirs]), np.repeat([False, True], [len(ours), len(theirs)])
    every = [f"own {case}" for case, _ in own] + [f"other {case}" for case in cases]
    low, high = interval_by_case(lambda chosen: auroc(distances[chosen], far[chosen]), every)
    return f"{auroc(distances, far):.4f} [{low:.4f}, {high:.4f}]"


if __name__ == "__main__":
    main()
