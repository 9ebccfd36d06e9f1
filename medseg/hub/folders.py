"""The files that make a member or ensemble folder; whatever else lies beside them is nobody's business."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from medseg import schema
from medseg.config import EnsembleConfig, MemberConfig
from medseg.errors import ConfigError, DamagedError, InputError
from medseg.hub.cache import has_digest

DESCRIPTION = "ensemble.json"
CALIBRATION = "calibration.json"
DOMAIN = "domain.json"
LEARNT = (CALIBRATION, DOMAIN)
"""What an ensemble folder may hold beside its description: what was learnt of it and of its images."""

WEIGHTS = "model.safetensors"
GRAPH = "graph.onnx"
MEMBER_FILES = ("member.json", "config.json", WEIGHTS, GRAPH)
"""The last is missing in folders of older versions, and where no graph could be made; then member.json has no hash of
it."""
PAPERS = ("README.md", "LICENSE")

MAX_WEIGHTS_BYTES = 900_000_000
"""The largest network that is built, 200 M parameters, in float32; members are saved in half of that."""
MAX_GRAPH_BYTES = 4_000_000
"""Ten times the graph of the largest network that smp knows."""


def networks(folder: Path) -> dict[str, str]:
    """The folders with networks in `folder`, as prefixes of paths, and what their member.json must hash to ("": any).

    Of an ensemble these are its members, unless they are Hub repositories, and its stacker.
    """
    if not (folder / DESCRIPTION).exists():
        schema.load(MemberConfig, folder / "member.json")
        return {"": ""}
    settings = schema.load(EnsembleConfig, folder / DESCRIPTION)
    local = [member for member in settings.members if member.revision is None]
    return {
        f"{reference.source}/": reference.sha256 for reference in [*local, settings.stacker] if reference is not None
    }


def member_files(folder: Path) -> tuple[str, ...]:
    """The names of a member's own files: `graph.onnx` only where member.json has a hash of it."""
    has_graph = GRAPH in schema.load(MemberConfig, folder / "member.json").files
    return MEMBER_FILES if has_graph else MEMBER_FILES[:-1]


def is_described(folder: Path, sha256: str) -> bool:
    """Whether weights are worth fetching: `load_member` refuses those without the right member.json."""
    try:
        schema.load(MemberConfig, folder / "member.json")
    except ConfigError:
        return False
    return not sha256 or has_digest(folder / "member.json", sha256)


def verified(folder: Path) -> dict[str, Path]:
    """The files to publish, by their path in the folder, after a look at every hash.

    Raises ConfigError and DamagedError where the folder could not be loaded again, InputError where README.md is
    missing.
    """
    members = networks(folder)
    for member, sha256 in members.items():
        description = folder / member / "member.json"
        promised = schema.load(MemberConfig, description).files
        checks = {description: sha256} if sha256 else {}
        names = member_files(folder / member)[1:]
        checks |= {folder / member / name: promised.get(name, "") for name in names}
        for path, digest in checks.items():
            if not has_digest(path, digest):
                raise DamagedError(f"{path} is not what its hash promises, and is not pushed: make the folder anew.")
    if not (folder / "README.md").is_file():
        raise InputError(f"{folder} has no README.md: write the card first, with `medseg card {folder}`.")
    published = [
        DESCRIPTION,
        *LEARNT,
        *PAPERS,
        *(member + name for member in members for name in (*member_files(folder / member), *PAPERS)),
    ]
    return {name: folder / name for name in published if (folder / name).is_file()}


def read_settings(path: Path) -> dict[str, Any]:
    """A config.json as it stands, for `build_network` to check. Raises ConfigError where it is no JSON object."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError("config.json is no ordinary file.")
        if path.stat().st_size > schema.MAX_FILE_BYTES:
            raise ConfigError(f"config.json is larger than {schema.MAX_FILE_BYTES} bytes.")
        settings = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"config.json cannot be read in {path.parent.name}: {error.strerror}.") from None
    except (ValueError, RecursionError):
        raise ConfigError("config.json is not valid JSON.") from None
    if not isinstance(settings, dict):
        raise ConfigError("config.json must be an object.")
    return settings
