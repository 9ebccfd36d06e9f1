"""Cross-validate an ensemble: `medseg folds train/recipes/chest-*.toml --output runs/folds/chest`.

Each fold trains every recipe on its train part (`accelerate launch -m medseg.training --fold K`), fits weights and
threshold on its val part and scores on its test part, which neither has seen. The test parts together are the whole
data set once: a small one gives an interval that a single division could not. A stopped run continues with the same
command.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg.data.samples import Sample, count_folds, select, write_manifest
from medseg.errors import InputError
from medseg.evaluation.evaluate import ENSEMBLE, EQUAL, evaluate
from medseg.evaluation.rows import EMPTY, PRIOR, Evaluation, plain_estimate
from medseg.inference.ensemble import Ensemble
from medseg.progress import Bar
from medseg.report.evaluation_table import table
from medseg.training.data import read_recipe_samples
from medseg.training.launch import ending_training
from medseg.training.recipe import Recipe, recipe_from_arguments
from medseg.training.study import LAUNCH, fit_members

SINGLE = "best single of val"
PROTOCOL = (
    "each fold's networks, weights and threshold are chosen without its test part, and the location prior too; each "
    "image's own grid; both masks empty: overlap 1, distance 0; 95 % bootstrap by case over all folds; members, the "
    "best of them on val and equal weights at threshold 0.5, ensemble at that of each fold; no TTA"
)


def cross_validate(recipes: Sequence[Path], folds: int | None, output: Path) -> dict[str, Any]:
    """The report of all folds, as `medseg.evaluation.evaluate` makes one of a split; folds.json comes into `output`.

    Each fold leaves its members and its ensemble in `output`/fold-K. Raises InputError, before anything is trained, for
    recipes of several data sets or labels, and data that come in no folds, or in others than `folds`; and for a
    training that refused.
    """
    count, weights = _count(recipes, folds), []
    whole = Evaluation(_recipe(recipes[0], 0, output).labels)
    for fold in range(count):
        folder = output / f"fold-{fold}"
        described = [_recipe(path, fold, folder) for path in recipes]
        for path, recipe in zip(recipes, described, strict=True):
            _train(path, recipe)
        ensemble, scores = _score(described, folder)
        whole.extend(scores)
        weights.append({"weights": list(ensemble.weights), "threshold": ensemble.config.threshold})
    report = _report(whole, weights)
    text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False)
    (output / "folds.json").write_text(text + "\n", encoding="utf-8")
    return report


def _count(paths: Sequence[Path], wanted: int | None) -> int:
    """The folds of the one data set that all recipes are for."""
    recipes = [_recipe(path, 0, Path()) for path in paths]
    if len({(recipe.data, recipe.labels) for recipe in recipes}) > 1:
        raise InputError("The recipes must be for one data set and the same labels.")
    data = Path(recipes[0].data)
    if not (count := count_folds(data)):
        deal = f"medseg inspect {data} --write-splits {data / 'splits.json'} --folds 5"
        raise InputError(f"{data} comes in no folds: `{deal}` deals its cases into five.")
    if wanted not in (None, count):
        raise InputError(f"{data} comes in {count} folds, not in {wanted}: leave --folds out.")
    return count


def _recipe(path: Path, fold: int, folder: Path) -> Recipe:
    name = recipe_from_arguments(["--recipe", str(path)]).name
    return recipe_from_arguments(["--recipe", str(path), "--fold", str(fold), "--output", str(folder / name)])


def _train(path: Path, recipe: Recipe) -> None:
    command = [*LAUNCH, "--recipe", str(path), "--fold", str(recipe.fold), "--output", recipe.output]
    if subprocess.run(command, check=False).returncode:
        raise InputError(f"The training of {recipe.name} for fold {recipe.fold} stopped; what it said stands above.")


def _score(recipes: Sequence[Recipe], folder: Path) -> tuple[Ensemble, Evaluation]:
    """The ensemble fitted on the fold's val part, and the rows of the report on its test part."""
    samples = read_recipe_samples(recipes[0])
    ensemble = _fit(recipes, samples, folder)
    test = select(samples, "test")
    with Bar(total=len(test), desc=f"scoring {folder.name}") as bar:
        scores = evaluate(ensemble, test, select(samples, "train"), progress=bar.advance).scores
    return ensemble, _renamed(scores, ensemble)


def _fit(recipes: Sequence[Recipe], samples: Sequence[Sample], folder: Path) -> Ensemble:
    write_manifest(samples, recipes[0].labels, folder / "samples.json")
    fit_members([Path(recipe.output) / "member" for recipe in recipes], folder, folder.parent.name)
    return Ensemble.from_pretrained(folder / "ensemble")


def _renamed(scores: Evaluation, ensemble: Ensemble) -> Evaluation:
    """The rows that every fold has; the member that is best on val may be another in each."""
    fitted = ensemble.config.fitted
    single = fitted.best_single_member if fitted else ensemble.names[0]
    taken = {row: row for row in (EMPTY, PRIOR, *ensemble.names)} | {SINGLE: single, EQUAL: EQUAL, ENSEMBLE: ENSEMBLE}
    return scores.taken(taken)


def _report(whole: Evaluation, folds: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "n": len(whole.cases),
        "cases": len(set(whole.cases)),
        "split": f"test parts of {len(folds)} folds",
        "protocol": PROTOCOL,
        "folds": folds,
        "rows": whole.summary(),
        "lesions": whole.per_lesion(),
        "differences": {
            f"{row} − {other}": {label: plain_estimate(whole.difference(row, other, label)) for label in whole.labels}
            for row, other in ((ENSEMBLE, PRIOR), (ENSEMBLE, SINGLE), (ENSEMBLE, EQUAL), (EQUAL, SINGLE))
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Cross-validate what the command line names; a refusal is one sentence on stderr and exit status 1."""
    parser = argparse.ArgumentParser(prog="medseg folds", description=__doc__.split("\n\n")[0])
    parser.add_argument("recipes", nargs="+", type=Path, help="recipe files, one for each member")
    parser.add_argument("--folds", type=int, help="how many the data set's splits.json must have (default: as it has)")
    parser.add_argument("--output", type=Path, required=True, help="folder for members, ensembles and folds.json")
    options = parser.parse_args(arguments)
    with ending_training():
        report = cross_validate(options.recipes, options.folds, options.output)
        for label in report["rows"][EMPTY]:
            print(f"\n{label}, n = {report['n']} images of {report['cases']} cases\n\n{table(report, label)}")
