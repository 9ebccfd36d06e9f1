"""What a member was trained on, where nobody said so before: only the user knows, and nothing is guessed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medseg import schema
from medseg.config import EnsembleConfig, MemberConfig, TrainingData
from medseg.errors import InputError
from medseg.inference.member import file_sha256


def state_provenance(folder: Path, name: str, licence: str) -> list[str]:
    """Write training data and licence into every member of a member or ensemble folder that does not know them, and
    the hashes of these into ensemble.json; returns their names. Raises InputError where none is unknown."""
    if not TrainingData(name, licence).is_known:
        raise InputError("Name the training data and their licence, both: --trained-on NAME --data-licence LICENCE.")
    paths = sorted([*folder.glob("member.json"), *folder.glob("*/member.json")])
    changed: dict[str, str] = {}
    for path in paths:
        member = schema.load(MemberConfig, path)
        if not member.training_data.is_known:
            stated = replace(member.training_data, name=name, licence=licence)
            before = file_sha256(path)
            schema.dump(replace(member, training_data=stated), path)
            changed[before] = file_sha256(path)
    if not changed:
        raise InputError(f"Every member of {folder.name} knows its training data: edit member.json to change them.")
    if (folder / "ensemble.json").is_file():
        settings = schema.load(EnsembleConfig, folder / "ensemble.json")
        members = tuple(
            replace(reference, sha256=changed.get(reference.sha256, reference.sha256)) for reference in settings.members
        )
        schema.dump(replace(settings, members=members), folder / "ensemble.json")
    return sorted(schema.load(MemberConfig, path).name for path in paths if file_sha256(path) in changed.values())
