"""Compare members, blends and baselines under one protocol: `medseg study chest-small`.

A study is a file of `train/studies/`: the data, a recipe that all members share, what each member changes in it, which
members are blended, and what learns to blend them. `accelerate launch -m medseg.training` trains every member, and all
are scored under one protocol. What has been done lies in `runs/studies/<name>/`, each step with the hash of what
went into it, so that the same command continues where it was stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg.errors import ConfigError, InputError
from medseg.places import shipped
from medseg.schema import from_json, require
from medseg.training.continued import held
from medseg.training.launch import ending_training
from medseg.training.recipe import Recipe, recipe_from_settings

LAUNCH = (sys.executable, "-m", "accelerate.commands.launch", "-m", "medseg.training")
"""The command that trains a member; `stack` after it trains a stacker."""


@dataclass(frozen=True)
class Study:
    """One file of `train/studies/`.

    `recipe`, `members` and `stackers` hold keys of `medseg.training.recipe.Recipe`; a member's stand before the shared
    ones. `source` says where the data set comes from; `classes` unites its classes under the recipe's label, `fold`
    chooses one of the folds of its splits.json. With `films` that many synthetic films are drawn instead, in the
    layout of SIIM-ACR. `ensemble` names the members that are blended, all where it is empty. `caption` stands under the
    table.
    """

    title: str
    caption: str
    recipe: dict[str, Any]
    members: tuple[dict[str, Any], ...]
    data: str = ""
    source: str = ""
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    fold: int = 0
    films: int = 0
    ensemble: tuple[str, ...] = ()
    stackers: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        names = [entry.get("name") for entry in (*self.members, *self.stackers)]
        require(len(self.members) > 0, "members: wanted one or more")
        named = all(isinstance(name, str) and name for name in names)
        require(named and len(set(names)) == len(names), "members and stackers need names of their own")
        require(set(self.ensemble) <= set(names), "ensemble names a member that is not there")
        require(bool(self.data) != bool(self.films), "wanted either data or films")
        labels = self.recipe.get("labels")
        require(isinstance(labels, list) and len(labels) == 1, "recipe: a study compares one label")
        require(not self.classes or list(self.classes) == labels, "classes unites under another label")

    @property
    def blended(self) -> Sequence[str]:
        """The names of the members that the ensemble is made of."""
        return self.ensemble or [entry["name"] for entry in self.members]

    def recipes(self, folder: Path) -> list[Recipe]:
        """The members' recipes, each with an output folder below `folder`. Raises ConfigError."""
        return [self._recipe(entry, folder / "members") for entry in self.members]

    def stacker_recipes(self, folder: Path) -> list[Recipe]:
        """The stackers' recipes likewise."""
        return [self._recipe(entry, folder / "stackers") for entry in self.stackers]

    def _recipe(self, entry: dict[str, Any], folder: Path) -> Recipe:
        places = {"data": str(folder.parent / "samples.json"), "output": str(folder / entry["name"])}
        return recipe_from_settings({**self.recipe, **entry, **places})


def read_study(path: Path) -> Study:
    """The study of the TOML file `path`. Raises ConfigError in one sentence."""
    try:
        return from_json(Study, tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except OSError:
        raise ConfigError(f"There is no study {path.stem}; there are {_names()}.") from None
    except (ValueError, ConfigError) as error:
        raise ConfigError(f"The study {path.name} does not follow its form: {error}.") from None


def _names() -> str:
    return ", ".join(sorted(path.stem for path in shipped("train/studies").glob("*.toml")))


def run_study(study: Study, folder: Path, data: Path | None = None) -> None:
    """Train, blend and score what `study` names; table.csv, table.md, figure.png and study.json come into `folder`.

    `data` stands for the study's own data folder. A step that `folder` holds with the same hash of what went into it is
    not done again; a training that was stopped continues. Raises InputError for data that are not there, a training
    that refused (with its sentence, as where its folder holds a run of other settings), or where another process works
    in `folder`.
    """
    with held(folder) as lock:
        recipes, stackers = study.recipes(folder), study.stacker_recipes(folder)
        samples = _write_samples(study, folder, data)
        for recipe in recipes:
            _train(recipe, [samples], lock)
        ensemble = folder / "ensemble"
        blended = [folder / "members" / name / "member" for name in study.blended]
        _once(
            ensemble,
            [samples, *map(_described, blended)],
            lambda: fit_members(blended, folder, folder.name, choose="fitted"),
        )
        for recipe in stackers:
            _train(recipe, [samples, _described(ensemble)], lock, "stack", "--ensemble", str(ensemble))
        _report(study, folder, recipes, stackers, samples)


def _train(recipe: Recipe, inputs: list[str], lock: int, *more: str) -> None:
    described = [dataclasses.asdict(recipe), *inputs]
    _once(Path(recipe.output), described, lambda: _launch(recipe, lock, *more))


def _report(study: Study, folder: Path, recipes: Sequence[Recipe], stackers: Sequence[Recipe], samples: str) -> None:
    from medseg.training import study_report

    members = [Path(recipe.output) for recipe in recipes]
    stacked = [Path(recipe.output) for recipe in stackers]
    opened = [*(path / "member" for path in members), folder / "ensemble", *(path / "ensemble" for path in stacked)]
    scores = folder / "scores"
    _once(scores, [samples, *map(_described, opened)], lambda: study_report.score(folder, members, stacked, scores))
    study_report.write(folder, scores, [*members, *stacked], dataclasses.asdict(study))


def _once(folder: Path, inputs: list[Any], work: Callable[[], object]) -> None:
    """Do `work`, whose results lie in `folder`, unless they are there from the same `inputs`."""
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    mark = folder / "inputs.sha256"
    if mark.is_file() and mark.read_text(encoding="utf-8") == key:
        print(f"{folder.name}: done before", flush=True)
        return
    print(f"{folder.name}: begun", flush=True)
    work()
    mark.write_text(key, encoding="utf-8")


def _described(folder: Path) -> str:
    """The hash of a member's or an ensemble's description, which holds the hashes of all else."""
    path = next(folder / name for name in ("ensemble.json", "member.json") if (folder / name).is_file())
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_samples(study: Study, folder: Path, data: Path | None) -> str:
    """Write the manifest that every step reads, so that all see the same split; returns its hash."""
    from medseg.data.samples import load_data, write_manifest

    place = data or (_draw_films(study.films, folder / "films") if study.films else Path(study.data))
    if not place.exists():
        raise InputError(f"The data are not at {place}: get them from {study.source}, then name their place by --data.")
    loaded = load_data(place, labels=study.classes or study.recipe["labels"], fold=study.fold or None)
    path = folder / "samples.json"
    write_manifest(loaded.samples, loaded.labels, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _draw_films(count: int, folder: Path) -> Path:
    from medseg.data.films import write_siim

    if not folder.exists():
        drawing = folder.with_name(".films.writing")  # a study stopped while drawing must not leave half a data set
        shutil.rmtree(drawing, ignore_errors=True)
        write_siim(drawing, count, (256, 256))
        drawing.rename(folder)
    return folder


def _launch(recipe: Recipe, lock: int, *more: str) -> None:
    """Train under accelerate. Raises InputError with the sentence that it refused with."""
    output = Path(recipe.output)
    output.mkdir(parents=True, exist_ok=True)
    command = [*LAUNCH, *more, *_flags(recipe)]
    said = output / "stderr.txt"
    with said.open("w", encoding="utf-8") as stream:
        ended = subprocess.run(command, stderr=stream, pass_fds=(lock,), check=False)
    if ended.returncode:
        lines = said.read_text(encoding="utf-8").splitlines()
        refusal = next((line for line in lines if line.startswith("error: ")), f"{said} says why.")
        raise InputError(f"{recipe.name} stopped: {refusal.removeprefix('error: ')}")


def _flags(recipe: Recipe) -> Iterator[str]:
    """Every setting as the two trainings take it: what they would take by default differs."""
    for entry in dataclasses.fields(Recipe):
        value = getattr(recipe, entry.name)
        if value is not False:
            yield f"--{entry.name.replace('_', '-')}"
        if isinstance(value, bool):
            continue
        if isinstance(value, tuple) and entry.name in ("labels", "label_weights"):
            yield from map(str, value)
        else:
            yield value if isinstance(value, str) else json.dumps(value, default=_plain)


def _plain(value: Any) -> dict[str, Any]:
    return {name: part for name, part in dataclasses.asdict(value).items() if part is not None}


def fit_members(members: Sequence[Path], folder: Path, name: str, choose: str | None = None) -> None:
    """`medseg fit` on `folder`/samples.json, into `folder`/ensemble in place of what is there."""
    from medseg.__main__ import main as medseg

    shutil.rmtree(folder / "ensemble", ignore_errors=True)
    places = ["--data", str(folder / "samples.json"), "--output", str(folder / "ensemble")]
    medseg(["fit", *map(str, members), *places, "--name", name, *(["--choose", choose] if choose else [])])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study that the command line names; a refusal is one sentence on stderr and exit status 1."""
    parser = argparse.ArgumentParser(prog="medseg study", description=__doc__.split("\n\n")[0])
    parser.add_argument("name", help=_names())
    parser.add_argument("--data", type=Path, help="folder of the data set (default: as the study says)")
    parser.add_argument("--output", type=Path, default=Path("runs/studies"), help="default: runs/studies")
    options = parser.parse_args(arguments)
    with ending_training():
        study = read_study(shipped("train/studies") / f"{options.name}.toml")
        run_study(study, options.output / options.name, options.data)
