"""What a run that is continued, or was finished, must still be: made of the same bytes, and what it saved."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from medseg import schema
from medseg.config import MemberConfig
from medseg.data.manifest import Sample
from medseg.errors import DamagedError, InputError
from medseg.inference.member import file_sha256


def keep_to_data(samples: Sequence[Sample], output: Path) -> None:
    """Write the hash of all images and masks with the first run in `output`. Raises InputError where a run that is
    continued would go on with other bytes under the same names."""
    digests = sorted({file_sha256(path) for sample in samples for path in sample.files})
    digest, record = hashlib.sha256("".join(digests).encode()).hexdigest(), output / "data.sha256"
    if not (output / "checkpoints").exists():
        output.mkdir(parents=True, exist_ok=True)
        record.write_text(digest + "\n", encoding="utf-8")
    elif record.is_file() and record.read_text(encoding="utf-8").strip() != digest:
        raise InputError(
            f"Images or masks have changed since the run in {output} began: put them back, or begin another --output."
        )


def check_saved(folder: Path) -> None:
    """Raises DamagedError where a file of the member `folder` is not what the run saved there."""
    for name, digest in schema.load(MemberConfig, folder / "member.json").files.items():
        if file_sha256(folder / name) != digest:
            raise DamagedError(
                f"{folder / name} is not what this run saved: it was overwritten. Train into another --output."
            )
