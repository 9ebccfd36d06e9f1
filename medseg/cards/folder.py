"""The cards of a whole folder, from all the JSON that lies in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medseg import config, schema
from medseg.cards.card import distilled_section, ensemble_card, member_card
from medseg.config import EnsembleConfig, MemberConfig
from medseg.errors import InputError
from medseg.hub.fetch import fetch
from medseg.hub.folders import read_settings
from medseg.inference.blend import normalise_weights
from medseg.report.evaluation_table import table


def write_cards(folder: Path) -> None:
    """Write README.md of an ensemble and of its members; a member folder alone has one card.

    An ensemble's card shows its scores.json, as `medseg.evaluation.evaluate` made it, and its folds.json, as
    `medseg.training.folds` did, where they are there. Raises ConfigError for JSON that breaks its schema, InputError
    for a scores.json of other members or settings, or a folds.json of other members.
    """
    settings, root = config.load_ensemble(folder)
    members = [
        _write_member_card(root / member.source)
        if member.revision is None
        else schema.load(MemberConfig, fetch(member.source, revision=member.revision) / "member.json")
        for member in settings.members
    ]
    if (folder / "ensemble.json").exists():
        report, tables = read_scores(folder / "scores.json", settings)
        card = ensemble_card(settings, members, report, tables, _folds(folder / "folds.json", settings))
        (folder / "README.md").write_text(card, encoding="utf-8")


def _write_member_card(folder: Path) -> MemberConfig:
    member = schema.load(MemberConfig, folder / "member.json")
    network = read_settings(folder / "config.json")
    card = member_card(member, str(network.get("_model_class")), str(network.get("encoder_name")))
    if (folder / "distilled.json").is_file():
        try:
            card += "\n" + distilled_section(json.loads((folder / "distilled.json").read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError):
            raise InputError("distilled.json is not what `distill` writes: delete it.") from None
    (folder / "README.md").write_text(card, encoding="utf-8")
    return member


def read_scores(path: Path, settings: EnsembleConfig) -> tuple[dict[str, Any] | None, list[str]]:
    """What `evaluate` wrote, and its tables; refused where it scored other members, weights, threshold or blend."""
    if not path.is_file():
        return None, []
    own = [member.weight for member in settings.members]
    weights = json.loads(json.dumps(normalise_weights(own, len(own), len(settings.labels))))  # tuples are lists there
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        scored = (report["members"], report["weights"], report["threshold"])
        blended = (report.get("blend", "weighted mean"), report.get("stacker"))
        tables = [table(report, label) for label in settings.labels]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path.name} is not a report of `evaluate`: run it again, or delete the file.") from None
    stacker = settings.stacker.sha256 if settings.stacker else None
    described = ([member.sha256 for member in settings.members], weights, json.loads(json.dumps(settings.threshold)))
    if (scored, blended) != (described, (settings.blend, stacker)):
        raise InputError(f"{path.name} scored other members, weights, threshold or blend: run `evaluate` again.")
    return report, tables


def _folds(path: Path, settings: EnsembleConfig) -> list[str]:
    """The tables that `medseg.training.folds` made, each with what it counts; refused where it scored other members."""
    if not path.is_file():
        return []
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        rows = set(report["rows"])
        counted = f"Test parts of {len(report['folds'])} folds, n = {report['n']} of {report['cases']} cases"
        tables = [f"{counted}, {label}:\n\n{table(report, label)}" for label in settings.labels]
        protocol = f"\nProtocol: {report['protocol']}."
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{path.name} is not a report of `medseg.training.folds`: run it again, or delete the file."
        ) from None
    if not {member.source for member in settings.members} <= rows:
        raise InputError(f"{path.name} scored other members: run `medseg.training.folds` again.")
    return [*tables, protocol]
