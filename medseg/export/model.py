"""An ensemble as one file for other runtimes: ONNX, or torch.export; neither needs medseg, smp or timm to be opened.

The file takes an image (H, W, C), float32 in [0, 1], of any size from MIN_SIDE on, and gives its probabilities
(K, H, W) float32 and masks (K, H, W) bool. Its metadata hold, as JSON under the name `medseg`, what the ensemble is.
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from medseg import config
from medseg.config import Cleanup, EnsembleConfig, MemberConfig
from medseg.errors import InputError
from medseg.export.pipeline import Model, Pipeline
from medseg.hub.fetch import Fetcher
from medseg.image import Image
from medseg.inference.ensemble import MIN_SIDE, Ensemble
from medseg.inference.member import load_network, read_member
from medseg.inference.record import NOTICE, versions
from medseg.writing import replacing

Kind = Literal["onnx", "torch"]

OPSET = 20
TOLERANCE = 1e-3
"""Largest difference in probability from medseg that is accepted."""


def export_model(source: str | Path, path: Path, kind: Kind = "onnx") -> list[str]:
    """Write the ensemble or member `source` (a name, folder or Hub repository) as one file; returns what to know of it.

    The file is opened in its runtime and compared with medseg on an image of its own before it takes its name. Raises
    InputError for a file of another ending that is there already, for what cannot be inside (STAPLE, a member that is
    left out) and where the two differ by more than TOLERANCE, ModuleNotFoundError without the tools (the extra
    `train`), and what opening an ensemble raises.
    """
    ending = {"onnx": ".onnx", "torch": ".pt2"}[kind]
    if path.is_file() and path.suffix.lower() != ending:
        raise InputError(f"{path} is there already, and does not end in {ending}: name another file.")
    ensemble = Ensemble.from_pretrained(source)
    if ensemble.quarantined:
        raise InputError(f"{ensemble.config.name} is not whole, so it is not exported. {ensemble.quarantined[0]}")
    if ensemble.config.blend == "STAPLE":
        raise InputError("STAPLE is no network's operator: write the ensemble with another blend, then export it.")
    pipeline, members = pipeline_of(source)
    described = json.dumps(_describe(ensemble, members), ensure_ascii=False)
    write = {"onnx": _write_onnx, "torch": _write_torch}[kind]
    with replacing(path) as writing, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own deprecations
        write(pipeline.eval(), described, writing)
        largest = _difference(ensemble, writing, kind, pipeline.channels)
        if not largest <= TOLERANCE:
            raise InputError(f"{path.name} is not written: it differs by {largest:.1e} in probability from medseg.")
    what = f"ONNX of opset {OPSET}" if kind == "onnx" else f"torch.export of torch {torch.__version__}"
    size = path.stat().st_size / 1e6
    sentence = f"{path}: {what}, {size:.1f} MB, probabilities within {largest:.0e} of medseg's."
    return [sentence, *_outside(ensemble.config)]


def _outside(settings: EnsembleConfig) -> list[str]:
    """What of the ensemble is not in the file."""
    if settings.cleanup == Cleanup():
        return []
    asked = ", ".join(f"{name} {value}" for name, value in dataclasses.asdict(settings.cleanup).items())
    return [f"note: the clean-up of its masks ({asked}) is not inside: its metadata name it."]


def pipeline_of(source: str | Path) -> tuple[Pipeline, list[MemberConfig]]:
    """The ensemble or member as a torch module, and what its members are."""
    fetcher = Fetcher()
    settings, root = config.load_ensemble(fetcher.fetch(source))
    folders = [
        root / member.source if member.revision is None else fetcher.pull(member.source, member.revision)
        for member in settings.members
    ]
    members = [read_member(folder).config for folder in folders]
    models = [Model(load_network(folder), member) for folder, member in zip(folders, members, strict=True)]
    stacker = None
    if settings.blend == "stacking" and settings.stacker is not None:
        folder = root / settings.stacker.source
        stacker = Model(load_network(folder), read_member(folder).config)
    return Pipeline(settings, models, stacker), members


def _describe(ensemble: Ensemble, members: list[MemberConfig]) -> dict[str, Any]:
    """The metadata: labels in the order of the output, threshold, clean-up, weights, members with hash and licence."""
    settings = ensemble.config
    return {
        "name": settings.name,
        "task": settings.task,
        "labels": list(settings.labels),
        "threshold": settings.threshold,
        "blend": settings.blend,
        "cleanup": {**dataclasses.asdict(settings.cleanup), "applied": False},
        "members": [
            {
                "name": member.name,
                "sha256": reference.sha256,
                "weight": weight,
                "weights_licence": member.weights_licence,
                "training_data": member.training_data.name,
                "training_data_licence": member.training_data.licence,
            }
            for member, reference, weight in zip(members, settings.members, ensemble.weights, strict=True)
        ],
        "opset": OPSET,
        "versions": versions(),
        "notice": NOTICE,
    }


def _dynamic() -> dict[str, Any]:
    sides = [torch.export.Dim(name, min=MIN_SIDE) for name in ("height", "width")]
    return {"image": dict(enumerate(sides))}


def _write_onnx(pipeline: Pipeline, described: str, path: Path) -> None:
    program: Any = torch.onnx.export(
        pipeline, (_example(pipeline.channels),), dynamo=True, verbose=False, opset_version=OPSET,
        dynamic_shapes=_dynamic(), input_names=["image"], output_names=["probabilities", "masks"],
    )  # fmt: skip
    program.model.metadata_props["medseg"] = described
    program.save(path, external_data=False)


def _write_torch(pipeline: Pipeline, described: str, path: Path) -> None:
    program = torch.export.export(pipeline, (_example(pipeline.channels),), dynamic_shapes=_dynamic())
    with path.open("wb") as stream:
        torch.export.save(program, stream, extra_files={"medseg": described})


def _example(channels: int, size: tuple[int, int] = (96, 80)) -> torch.Tensor:
    """Waves (H, W, C) in [0, 1]."""
    rows, columns = np.mgrid[: size[0], : size[1]] / 9
    waves = [np.sin(rows + channel) * np.cos(columns * (1 + channel / 3)) for channel in range(channels)]
    return torch.from_numpy((np.stack(waves, axis=2) / 2 + 0.5).astype(np.float32))


def _difference(ensemble: Ensemble, path: Path, kind: Kind, channels: int) -> float:
    """The largest, over an image smaller and one larger than the networks' input; of a majority vote that of 99.9 % of
    the pixels: where a member's probability is all but 1/2, rounding turns its vote."""
    run = _opened(path, kind)
    images = [_example(channels, size).numpy() for size in ((75, 110), (610, 440))]
    wanted = [ensemble.predict(Image(pixels)).probabilities for pixels in images]
    share = 0.999 if ensemble.config.blend == "majority vote" else 1.0
    return float(
        max(np.quantile(np.abs(run(pixels) - ours), share) for pixels, ours in zip(images, wanted, strict=True))
    )


def _opened(path: Path, kind: Kind) -> Any:
    if kind == "torch":
        with path.open("rb") as stream:
            module = torch.export.load(stream).module()
        return lambda pixels: module(torch.from_numpy(pixels))[0].detach().numpy()
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(["probabilities"], {"image": pixels})[0]
