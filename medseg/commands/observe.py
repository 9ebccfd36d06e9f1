"""The command that writes what fitting needs of a hospital's images, and no image: observe."""

from __future__ import annotations

import argparse
from pathlib import Path

from medseg.commands.evaluate import read_for
from medseg.commands.inspect import add_choice
from medseg.errors import InputError
from medseg.places import NAMED
from medseg.progress import Bar


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    observe = commands.add_parser("observe", help="what `fit` needs of these images, in a file without images or names")
    observe.add_argument("ensemble", help=NAMED)
    observe.add_argument(
        "data", type=Path, help="folder of pairs or manifest .json: its val split, or all without splits"
    )
    add_choice(observe)
    observe.add_argument("--output", required=True, type=Path, help="the .npz file to write, named after the site")
    observe.set_defaults(run=_observe)


def _observe(options: argparse.Namespace) -> None:
    from medseg.data.samples import select
    from medseg.fitting.observations import Observations, observe
    from medseg.fitting.site_file import FORMAT, About, refuse_few, write_site
    from medseg.inference.ensemble import Ensemble

    if options.output.suffix != ".npz":
        raise InputError(f"Wanted an --output that ends in .npz, got {options.output.name}.")
    ensemble = Ensemble.from_pretrained(options.ensemble)
    samples, _ = read_for(options, ensemble, "val", whole=True)
    samples = select(samples, "val")
    cases = [sample.case for sample in samples]
    refuse_few(cases)  # before hours of predicting
    with Bar(total=len(samples), desc="predicting") as bar:
        observations = Observations.of(observe(ensemble.members, samples, progress=bar.advance))
    hashes = tuple(member.sha256 for member in ensemble.members)
    config = ensemble.config
    write_site(observations, About(FORMAT, config.task, config.labels, ensemble.names, hashes, "val"), options.output)
    print(f"{options.output}: histograms of {len(samples)} images of {len(set(cases))} cases, no image, mask or name.")
