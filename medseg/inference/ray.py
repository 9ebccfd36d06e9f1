"""An archive too large for one machine: the files as a Ray Data job, each exactly once although workers may die.

Actors hold the ensemble and write into the output folder as `medseg.inference.batch` does, which is what makes it
safe: a batch whose worker died is given to another one, and that does only what is missing. So does a repeated command.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from medseg.errors import InputError
from medseg.inference.batch import Settings, predict_jobs
from medseg.inference.ensemble import Ensemble
from medseg.inference.jobs import Job
from medseg.reading.studies import series_among

BATCH = 4
"""Files that a worker takes at once: what is looked through again when it dies."""


class Segmenter:
    """A worker: the ensemble, loaded once, and where its results go."""

    def __init__(self, source: str, output: Path, settings: Settings, device: str | None) -> None:
        self.ensemble = Ensemble.from_pretrained(source, device=device)
        self.output = output
        self.settings = settings

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """`batch` has the columns paths, those of a series in lines, and stem, a row for each job."""
        jobs = [_job(paths.split("\n"), stem) for paths, stem in zip(batch["paths"], batch["stem"], strict=True)]
        predict_jobs(self.ensemble, jobs, self.output, self.settings)
        return batch


def predict_on_cluster(
    source: str, jobs: Sequence[Job], output: Path, settings: Settings, progress: Callable[[], object] = lambda: None
) -> None:
    """Segment the `jobs` that `output` does not hold yet, on the cluster that RAY_ADDRESS names, else on this machine.

    `source` is the ensemble's folder or Hub id. Every machine needs medseg, and source, files and `output` under the
    same paths. There is a worker for each GPU, or for each CPU but one where there is no GPU. Raises InputError where
    Ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # reports to its makers unless told not to
    try:
        import ray
    except ImportError:
        raise InputError("Ray is not installed: pip install 'medseg[ray]', or leave out --ray.") from None
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    resources = ray.cluster_resources()
    gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
    rows = [{"paths": "\n".join(str(path.resolve()) for path in job.files), "stem": job.stem} for job in jobs]
    done = ray.data.from_items(rows).map_batches(
        Segmenter,
        fn_constructor_args=(_absolute(source), output.resolve(), settings, "cuda" if gpus else None),
        batch_size=BATCH,
        concurrency=min(gpus or max(1, cpus - 1), len(rows)),
        num_gpus=1 if gpus else 0,
        num_cpus=0 if gpus else 1,
    )
    for _ in done.iter_rows():
        progress()


def _job(paths: Sequence[str], stem: str) -> Job:
    files = [Path(path) for path in paths]
    return Job(files[0], stem, series_among(files)[0][0] if len(files) > 1 else None)


def _absolute(source: str) -> str:
    """A worker has another working folder."""
    return str(Path(source).resolve()) if Path(source).exists() else source
