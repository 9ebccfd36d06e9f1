"""The commands that describe and publish an ensemble: info, selftest, card, push, space."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from medseg.places import NAMED, ensemble_folder, own_folder


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    info = commands.add_parser("info", help="what an ensemble or member is; status 1 where a file is damaged")
    info.add_argument("ensemble", help=f"{NAMED} (a folder asks no Hub)")
    info.set_defaults(run=_info)
    selftest = commands.add_parser("selftest", help="does an ensemble predict here as where it was made? status 1: no")
    selftest.add_argument("ensemble", help="polyp, brain or chest, or an ensemble folder that has golden.json")
    selftest.add_argument("--write", type=Path, metavar="PNG", help="keep this image with what it predicts here")
    selftest.set_defaults(run=_selftest)
    card = commands.add_parser("card", help="write README.md of an ensemble or member folder from its JSON")
    card.add_argument("ensemble", help="ensemble or member folder")
    card.add_argument("--trained-on", metavar="NAME", help="the training data of members that do not know theirs")
    card.add_argument("--data-licence", metavar="LICENCE", help="their licence, as 'CC BY 4.0'")
    card.set_defaults(run=_card)
    push = commands.add_parser("push", help="push a member or ensemble folder to the Hugging Face Hub in one commit")
    push.add_argument(
        "folder", type=ensemble_folder, help="polyp, brain or chest, or a member or ensemble folder with its README.md"
    )
    push.add_argument("repository", help="owner/name")
    push.add_argument("--private", action="store_true", help="make the repository private where it is not there yet")
    push.set_defaults(run=_push)
    space = commands.add_parser("space", help="create a Hugging Face Space with this page, or bring one up to date")
    space.add_argument("repository", help="owner/name")
    space.add_argument("--ensemble", metavar="ID", help="shown first: polyp, brain or chest, or owner/name[@revision]")
    space.add_argument("--private", action="store_true", help="make the Space private where it is not there yet")
    space.set_defaults(run=_space)


def _info(options: argparse.Namespace) -> None:
    from medseg.cards.info import describe
    from medseg.hub.fetch import fetch

    text, intact = describe(fetch(options.ensemble))
    print(text)
    if not intact:
        sys.exit(1)


def _selftest(options: argparse.Namespace) -> None:
    from medseg.inference.selftest import LEAST_DICE, TOLERANCE, compare_selftest, write_selftest

    folder = own_folder(options.ensemble) if options.write else ensemble_folder(options.ensemble)
    if options.write:
        write_selftest(folder, options.write)
    drift = compare_selftest(folder)
    for name, moved in drift.members.items():
        print(f"{name}: probabilities within {moved:.4f} of those kept (allowed: {TOLERANCE:g})")
    for label, dice in drift.masks.items():
        print(f"mask of {label}: Dice {dice:.4f} with the one kept (at least {LEAST_DICE:g})")
    if not drift.is_small:
        sys.exit(1)


def _card(options: argparse.Namespace) -> None:
    from medseg.cards.folder import write_cards
    from medseg.cards.provenance import state_provenance

    folder = own_folder(options.ensemble)
    if options.trained_on is not None or options.data_licence is not None:
        members = state_provenance(folder, options.trained_on or "", options.data_licence or "")
        print(f"Trained on {options.trained_on} ({options.data_licence}): {', '.join(members)}")
    write_cards(folder)


def _push(options: argparse.Namespace) -> None:
    from medseg.hub.push import push

    print(push(options.folder, options.repository, private=options.private))


def _space(options: argparse.Namespace) -> None:
    from medseg.hub.space import fill_space

    print(fill_space(options.repository, ensemble=options.ensemble, private=options.private))
