"""An ensemble as one file for other runtimes: the same probabilities, in a process that has no medseg."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import PIL.Image
import pytest
import torch

from medseg import preprocess, schema
from medseg.__main__ import main
from medseg.arrays import Weight
from medseg.config import (
    Blend,
    Cleanup,
    EnsembleConfig,
    MemberConfig,
    MemberReference,
    Preprocess,
    StackerReference,
    Task,
    TrainingData,
)
from medseg.errors import InputError
from medseg.export import model, pipeline
from medseg.export.model import export_model, pipeline_of
from medseg.image import Image
from medseg.inference import member as members
from medseg.inference.blend import blend, normalise_weights
from medseg.inference.ensemble import Ensemble
from medseg.inference.unet import PlainUNet
from tests.conftest import ROOT

LABELS = ("lung", "heart", "finding")
INPUTS = (
    Preprocess(64, 96, resize="letterbox"),
    Preprocess(64, 64, intensity="evened"),
    Preprocess(96, 64, 1, (0.4,), (0.2,)),
)
"""Every way from an image to an input grid: letterbox, evened intensity, grey."""
PLAIN = ((1.0, 0.5, 2.0), (0.0, 1.0, 1.0))
PER_LABEL = ((1.0, 0.0, 2.0), (0.5, 1.0, 1.0), (0.0, 1.0, 1.0))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members on torch, since a graph.onnx for each takes seconds to make, and a small working grid."""

    def refuse(*_: Any) -> bytes:
        raise ValueError("not here")

    monkeypatch.setattr(members, "_graph_of", refuse)
    for module in (preprocess, pipeline):  # a canvas of 1024 × 1024 takes seconds
        monkeypatch.setattr(module, "WORKING_SIDE", 128)


def _save(folder: Path, seed: int, task: Task, preprocess: Preprocess) -> str:
    """A small member of all labels, whose probabilities vary; returns the hash of its member.json."""
    torch.manual_seed(seed)
    labels = LABELS if task != "binary" else LABELS[:1]
    data = TrainingData("drawn", "CC0-1.0")
    config = MemberConfig(folder.name, task, labels, preprocess, data, "Apache-2.0", files={})
    network = PlainUNet(preprocess.channels, config.channels_out, depth=1, width=4).eval()
    network.head.weight.data *= 6
    members.save_member(network, config, folder)
    return members.file_sha256(folder / "member.json")


def _ensemble(folder: Path, task: Task, blend: Blend, weights: tuple[Weight, ...], with_image: bool = False) -> Path:
    labels = LABELS if task != "binary" else LABELS[:1]
    digests = [_save(folder / f"m{i}", i, task, INPUTS[i]) for i in range(len(weights))]
    references = tuple(
        MemberReference(f"m{i}", digest, weight)  # type: ignore[arg-type]
        for i, (digest, weight) in enumerate(zip(digests, weights, strict=True))
    )
    stacker = None
    if blend == "stacking":
        channels = len(weights) * len(labels) + 3 * with_image
        top = Preprocess(64, 64, channels, (0.5,) * channels, (0.5,) * channels)
        stacker = StackerReference("top", _save(folder / "top", 9, task, top), with_image)
    threshold = tuple(np.linspace(0.35, 0.5, len(labels)).tolist()) if task == "multilabel" else 0.4
    settings = EnsembleConfig("three", task, labels, references, threshold, blend=blend, stacker=stacker)
    schema.dump(settings, folder / "ensemble.json")
    return folder


def _image(height: int, width: int) -> np.ndarray:
    """Patches of colour with noise (H, W, 3) float32 in [0, 1]."""
    rng = np.random.default_rng(height)
    patches = rng.random((height // 9 + 1, width // 9 + 1, 3)).repeat(9, axis=0).repeat(9, axis=1)[:height, :width]
    return (0.8 * patches + 0.2 * rng.random((height, width, 3))).astype(np.float32)


@pytest.mark.filterwarnings("ignore:The member .* has no graph.onnx")
@pytest.mark.parametrize(
    ("task", "blend", "weights"),
    [
        ("binary", "weighted mean", PLAIN[1]),
        ("multilabel", "geometric", PER_LABEL),
        ("multilabel", "median", PER_LABEL),
        ("multiclass", "majority vote", PLAIN[0]),
        ("multiclass", "geometric", PER_LABEL),
        ("multiclass", "median", (1.0, 1.0, 1.0)),
        ("multilabel", "stacking", PLAIN[0]),
        ("binary", "stacking", PLAIN[1]),
    ],
)
def test_the_module_predicts_what_the_ensemble_predicts(
    tmp_path: Path, task: Task, blend: Blend, weights: tuple[Weight, ...]
) -> None:
    folder = _ensemble(tmp_path, task, blend, weights, with_image=task == "binary")
    ensemble, (module, _) = Ensemble.from_pretrained(folder), pipeline_of(folder)
    for size in ((75, 110), (200, 40)):  # smaller than the input, and longer than the working grid
        pixels = _image(*size)
        wanted = ensemble.predict(Image(pixels))
        with torch.inference_mode():
            probabilities, masks = (tensor.numpy() for tensor in module(torch.from_numpy(pixels)))
        assert probabilities.shape == wanted.probabilities.shape
        assert wanted.probabilities.std() > 0.005
        difference = np.abs(probabilities - wanted.probabilities)
        if blend == "majority vote":  # a member's vote may turn where its probability is all but the decision
            assert (difference > 1e-3).mean() < 1e-3
        else:
            assert difference.max() < 1e-3
            assert (masks != wanted.masks).mean() < 1e-3


HALVED: tuple[tuple[Weight, ...], ...] = (
    (0.5, 0.5),
    (1.0, 1.0, 2.0),
    (0.2, 0.3, 0.5),
    (0.4999999, 0.5000001),  # no halves, and in float32 all but halves
    ((0.2, 1.0, 0.0), (0.3, 1.0, 0.7), (0.5, 1.0, 0.7)),
)


class _Medians(torch.nn.Module):
    """Of a stack (4, 3, h, w), the medians of its first members under every one of `weights`."""

    def __init__(self, weights: Sequence[tuple[Weight, ...]]) -> None:
        super().__init__()
        self.shares = [
            np.reshape(normalise_weights(entry, len(entry), 3), (len(entry), -1)).tolist() for entry in weights
        ]

    def forward(self, stack: torch.Tensor) -> tuple[torch.Tensor, ...]:
        settings = EnsembleConfig("some", "multilabel", LABELS, (MemberReference("m", "0" * 64, 1.0),), blend="median")
        return tuple(pipeline.blend(stack[: len(table), : len(table[0])], table, settings) for table in self.shares)


def test_medians_of_weights_that_split_in_half_are_the_librarys_in_onnx(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = [*HALVED, tuple(rng.random(3).tolist()), tuple(rng.random(4).tolist())]
    stack = (rng.integers(0, 20, (4, 3, 40, 50)) / 19).astype(np.float16)  # several members say the same at a pixel
    medians = _Medians(weights).eval()
    inputs = (torch.zeros(4, 3, 40, 50),)
    program: Any = torch.onnx.export(medians, inputs, dynamo=True, verbose=False, opset_version=model.OPSET)
    program.save(tmp_path / "medians.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "medians.onnx", providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: stack.astype(np.float32)})
    for entry, ours in zip(weights, found, strict=True):
        part = stack[: len(entry), : len(ours)]
        np.testing.assert_array_equal(ours, blend(part, "median", entry), err_msg=str(entry))


_TELL = """
import sys
import numpy
assert not {"medseg", "segmentation_models_pytorch", "timm"} & set(sys.modules)
numpy.savez("result.npz", probabilities=numpy.asarray(probabilities), masks=numpy.asarray(masks))
open("about.json", "w").write(about if isinstance(about, str) else json.dumps(about))
"""


def _program(kind: str) -> str:
    """The guide's program for `kind`, with a last part that tells its results."""
    guide = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    (code,) = re.findall(rf"<!-- command: {kind} -->\n```python\n(.*?)```", guide, re.DOTALL)
    if kind == "torch":
        load = "numpy.load('image.npy')"
        code = f"import numpy\n{code.replace('torch.rand(480, 640, 3)', f'torch.from_numpy({load})')}"
        code += "probabilities, masks = probabilities.detach(), masks.detach()\nabout = extra['medseg']\n"
    assert len(code.splitlines()) <= 20
    return code + _TELL


@pytest.mark.filterwarnings("ignore:The member .* has no graph.onnx")
@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_the_file_runs_without_medseg_and_says_what_it_is(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _ensemble(tmp_path, "multilabel", "median", (1.0, 1.0, 2.0))  # halves of the weight
    main(["export", str(folder), f"--{kind}", str(tmp_path / ("polyp.onnx" if kind == "onnx" else "mine.pt2"))])
    assert ("ONNX of opset 20" if kind == "onnx" else "torch.export of torch") in capsys.readouterr().out
    stored = np.rint(_image(130, 90) * 255).astype(np.uint8)
    PIL.Image.fromarray(stored).save(tmp_path / "image.png")
    pixels = stored.astype(np.float32) / 255
    np.save(tmp_path / "image.npy", pixels)
    subprocess.run([sys.executable, "-I", "-c", _program(kind)], check=True, cwd=tmp_path)
    about = json.loads((tmp_path / "about.json").read_text(encoding="utf-8"))
    assert (about["labels"], about["threshold"], about["blend"]) == (list(LABELS), [0.35, 0.425, 0.5], "median")
    assert [entry["weight"] for entry in about["members"]] == [0.25, 0.25, 0.5]
    assert about["notice"] == "Research use only, not for diagnosis."
    wanted = Ensemble.from_pretrained(folder).predict(Image(pixels))
    with np.load(tmp_path / "result.npz") as ours:
        np.testing.assert_allclose(ours["probabilities"], wanted.probabilities, atol=1e-3)
        assert (ours["masks"] != wanted.masks).mean() < 1e-3


@pytest.mark.filterwarnings("ignore:The member .* has no graph.onnx")
def test_what_cannot_be_inside_is_refused_or_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _ensemble(tmp_path, "binary", "STAPLE", PLAIN[0])
    with pytest.raises(InputError, match="STAPLE is no network's operator"):
        export_model(folder, tmp_path / "no.onnx")
    assert not (tmp_path / "no.onnx").exists()
    with pytest.raises(InputError, match=r"is there already, and does not end in \.onnx"):
        export_model(folder, folder / "ensemble.json")
    settings = schema.load(EnsembleConfig, folder / "ensemble.json")
    settings = EnsembleConfig("three", "binary", settings.labels, settings.members, cleanup=Cleanup(30))
    schema.dump(settings, folder / "ensemble.json")
    monkeypatch.setattr(model, "_write_torch", lambda _pipeline, _described, path: path.touch())
    monkeypatch.setattr(model, "_difference", lambda *_: 2e-3)
    with pytest.raises(InputError, match=r"is not written: it differs by 2\.0e-03"):
        export_model(folder, tmp_path / "no.pt2", "torch")
    assert not list(tmp_path.glob("*no*"))
    for path, words in ((tmp_path / "no" / "x.pt2", "no such folder"), (folder, "no ordinary file")):
        with pytest.raises(OSError, match=words):
            export_model(folder, path, "torch")
    monkeypatch.setattr(model, "_difference", lambda *_: 1e-4)
    sentences = export_model(folder, tmp_path / "yes.pt2", "torch")
    assert "clean-up of its masks (min_area_px 30" in sentences[1]
    (folder / "m0" / "config.json").unlink()
    with pytest.warns(match="goes on without"), pytest.raises(InputError, match="is not whole, so it is not exported"):
        export_model(folder, tmp_path / "no.pt2", "torch")


def test_without_the_exporter_export_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "medseg.export.model", None)
    with pytest.raises(SystemExit, match=r"medseg\.export\.model is not installed: export with `pip install"):
        main(["export", "polyp", "--onnx", str(tmp_path / "x.onnx")])


def test_export_wants_one_thing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="Wanted `medseg export ENSEMBLE --onnx FILE`"):
        main(["export", "--onnx", "x.onnx"])
    with pytest.raises(SystemExit):
        main(["export", "polyp"])
    assert "one of the arguments --onnx --torch --graph is required" in capsys.readouterr().err
