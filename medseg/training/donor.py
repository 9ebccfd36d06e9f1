"""The member that a training starts from: where it lies, and the settings that a network needs to take its weights."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from medseg import schema
from medseg.config import EnsembleConfig, MemberConfig
from medseg.errors import ConfigError, InputError
from medseg.hub.fetch import fetch
from medseg.hub.folders import read_settings
from medseg.places import shipped

EMBEDDED = shipped("assets/ensembles")
_NOT_THE_DECODER = ("_model_class", "encoder_name", "encoder_weights", "in_channels", "classes", "activation")


@cache
def find_member(name: str) -> Path:
    """The folder of the member `name`: an embedded member's name, a folder, or a Hub repository (owner/name).

    Raises InputError for anything else, and for an ensemble, whose members it names; HubError as `fetch` does.
    """
    embedded = sorted(EMBEDDED.glob("*/*/member.json"))
    folder = next((path.parent for path in embedded if path.parent.name == name), None) or fetch(name)
    if (folder / "member.json").is_file():
        return folder
    if (folder / "ensemble.json").is_file():
        members = schema.load(EnsembleConfig, folder / "ensemble.json").members
        shipped_here = folder.parent == EMBEDDED
        places = [each.source if each.revision or shipped_here else str(folder / each.source) for each in members]
        raise InputError(f"init: {name} is an ensemble, a training starts from one member: {', '.join(places)}.")
    if (folder / "member" / "member.json").is_file():
        raise InputError(f"init: {name} is a run's output, its member lies in {folder / 'member'}: name that.")
    names = ", ".join(path.parent.name for path in embedded)
    raise InputError(f"init: {name!r} is no member: wanted {names}, the folder of a member or a Hub repository.")


def read_donor(folder: Path) -> MemberConfig:
    """The member's description. Raises ConfigError where it breaks the schema."""
    return schema.load(MemberConfig, folder / "member.json")


def donor_settings(folder: Path, chosen: dict[str, Any]) -> dict[str, Any]:
    """The recipe's settings that make a network like the member in `folder`, but for those that are `chosen` already.

    Another architecture gets the member's encoder, another decoder its architecture and encoder; where another encoder
    is chosen, nothing of the network is taken from the member. Raises ConfigError for a member that does not say what
    it is.
    """
    member, network = read_donor(folder), read_settings(folder / "config.json")
    preprocess = member.preprocess
    settings: dict[str, Any] = {
        "size": max(preprocess.height, preprocess.width),
        "channels": preprocess.channels,
        "resize": preprocess.resize,
        "intensity": preprocess.intensity,
        "weights_licence": member.weights_licence,  # its terms hold for what is made of them
    }
    if member.upright:
        settings["augmentation"] = "upright"
    if "_model_class" not in network:
        raise ConfigError(f"init: the config.json of {member.name} names no network (_model_class).")
    settings |= _network_settings(network, chosen)
    return {key: value for key, value in settings.items() if key not in chosen}


def _network_settings(network: dict[str, Any], chosen: dict[str, Any]) -> dict[str, Any]:
    """What a network shares with the one of the config.json `network`, where it is to be as `chosen` says."""
    own: dict[str, Any] = {
        "architecture": str(network["_model_class"]).lower(),
        "encoder": network.get("encoder_name", "none"),  # medseg's own U-Net has none
        "decoder": {key: value for key, value in network.items() if key not in _NOT_THE_DECODER and value is not None},
    }
    wanted = {**own, **chosen}
    architecture = str(wanted["architecture"]).lower()
    other = {name for name, value in own.items() if (architecture if name == "architecture" else wanted[name]) != value}
    if other <= {"decoder"}:
        return own
    if "encoder" in other or "plainunet" in (own["architecture"], architecture):
        return {}
    names = {key: value for key, value in own["decoder"].items() if key == "feature_cls"}  # its tensors' names
    return {"encoder": own["encoder"], "decoder": names}
