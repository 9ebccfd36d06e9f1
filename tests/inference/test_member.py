"""A member folder: written, opened, and refused where it is hostile or damaged."""

import dataclasses
import functools
import json
import os
import pickle
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.torch
import segmentation_models_pytorch as smp
import torch

from medseg import schema
from medseg.config import MemberConfig
from medseg.errors import ConfigError, DamagedError, InputError, MedsegError, MedsegWarning
from medseg.hub.folders import read_settings
from medseg.image import Image
from medseg.inference import graph_export, networks, runtime, runtime_onnx
from medseg.inference.member import (
    add_graph,
    file_sha256,
    load_member,
    load_network,
    read_member,
    save_member,
    to_probabilities,
)
from medseg.inference.networks import build_network
from medseg.inference.unet import PlainUNet
from medseg.preprocess import to_tensor, to_working_grid
from tests.conftest import make_member

FILES = ("config.json", "model.safetensors", "graph.onnx")
IMAGE = Image(np.random.default_rng(0).random((48, 80, 3), dtype=np.float32))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A member folder that no test changes."""
    folder = tmp_path_factory.mktemp("saved") / "unet"
    make_member(folder, "unet", 0)
    return folder


@pytest.fixture
def member(saved: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "unet"))


def rehash(folder: Path) -> None:
    """Make member.json agree with the files, as an attacker would."""
    described = schema.load(MemberConfig, folder / "member.json")
    files = {name: file_sha256(folder / name) for name in described.files}
    schema.dump(dataclasses.replace(described, files=files), folder / "member.json")


def describe(folder: Path) -> MemberConfig:
    return schema.load(MemberConfig, folder / "member.json")


def network_of(folder: Path, **changed: Any) -> torch.nn.Module:
    return build_network(read_settings(folder / "config.json") | changed, describe(folder))


def refusal(folder: Path, kind: type[MedsegError]) -> str:
    with pytest.raises(kind) as caught:
        load_member(folder)
    assert "\n" not in str(caught.value)
    assert str(folder.parent) not in str(caught.value)
    return str(caught.value)


# --- the pair save and load


def test_a_member_folder_holds_four_files_and_its_card(saved: Path) -> None:
    names = ["README.md", "config.json", "graph.onnx", "member.json", "model.safetensors"]
    assert sorted(path.name for path in saved.iterdir()) == names
    assert "Research use only" in (saved / "README.md").read_text(encoding="utf-8")


def test_weights_come_back_within_half_precision(tmp_path: Path, saved: Path) -> None:
    torch.manual_seed(1)
    network = network_of(saved).eval()
    save_member(network, describe(saved), tmp_path / "again")
    loaded = load_network(tmp_path / "again").state_dict()
    assert loaded.keys() == network.state_dict().keys()
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(loaded[name], tensor, rtol=2**-10, atol=1e-7)


def test_saving_does_not_change_the_network_that_is_in_training(tmp_path: Path, saved: Path) -> None:
    network = network_of(saved).train()
    random_state = torch.get_rng_state()
    save_member(network, describe(saved), tmp_path / "again")
    assert network.training
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert torch.equal(torch.get_rng_state(), random_state)  # or a run with saves would not repeat one without


def test_save_returns_the_hashes_it_wrote(tmp_path: Path, saved: Path) -> None:
    written = save_member(network_of(saved), describe(saved), tmp_path / "again")
    assert written == describe(tmp_path / "again")
    assert written.files == {n: file_sha256(tmp_path / "again" / n) for n in FILES}


def test_smp_alone_opens_a_member_and_answers_the_same(saved: Path) -> None:
    network = smp.from_pretrained(str(saved)).eval()
    preprocess = describe(saved).preprocess
    with torch.inference_mode():
        answer = network(torch.from_numpy(to_tensor(IMAGE.pixels, preprocess))).sigmoid()[0]
    expected = to_working_grid(answer.numpy(), preprocess, IMAGE.size)
    found = load_member(saved, device="cpu").probabilities(IMAGE)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_encoder_weights_are_never_written_nor_asked_for(member: Path, tmp_path: Path) -> None:
    network = network_of(member, encoder_weights="imagenet")  # the Hub is out of reach: a download would raise
    network.config["encoder_weights"] = "imagenet"
    save_member(network, describe(member), tmp_path / "again")
    assert read_settings(tmp_path / "again" / "config.json")["encoder_weights"] is None


def test_a_weight_beyond_half_precision_is_not_saved(tmp_path: Path, saved: Path) -> None:
    network = network_of(saved)
    with torch.no_grad():
        next(network.parameters()).view(-1)[0] = 1e5  # half precision ends at 65504
    with pytest.raises(DamagedError, match="NaN or infinity"):
        save_member(network, describe(saved), tmp_path / "again")


def test_a_network_that_does_not_fit_its_description_is_not_saved(tmp_path: Path, saved: Path) -> None:
    two_labels = dataclasses.replace(describe(saved), task="multilabel", labels=("a", "b"))
    with pytest.raises(ConfigError, match=r"classes must be 2, as member\.json has it"):
        save_member(network_of(saved), two_labels, tmp_path / "again")


# --- what a member answers


@pytest.mark.parametrize("size", [(48, 80), (16, 16), (1100, 300)])
def test_a_member_answers_on_the_working_grid(saved: Path, size: tuple[int, int]) -> None:
    answer = load_member(saved).probabilities(Image(np.zeros((*size, 1), np.float32)))
    assert answer.dtype == np.float16
    assert answer.shape == ((1, 1024, 279) if size == (1100, 300) else (1, *size))
    assert ((answer >= 0) & (answer <= 1)).all()


def test_sigmoid_for_labels_that_may_overlap() -> None:
    assert to_probabilities(np.zeros((1, 2, 1, 1), np.float32), "multilabel").flatten().tolist() == [0.5, 0.5]


def test_logits_beyond_all_bounds_are_0_and_1() -> None:
    logits = np.array([-1e4, 1e4], np.float32).reshape(1, 2, 1, 1)
    assert to_probabilities(logits, "multilabel").flatten().tolist() == [0, 1]
    assert to_probabilities(logits, "multiclass").flatten().tolist() == [1]


def test_softmax_without_the_background_for_exclusive_labels() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.2], np.float32)).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(to_probabilities(logits, "multiclass").flatten(), [0.3, 0.2], rtol=1e-6)


def test_tta_is_the_mean_over_the_four_flips(saved: Path) -> None:
    loaded = load_member(saved, device="cpu")
    flipped = [
        loaded.probabilities(Image(IMAGE.pixels[::down, ::across].copy()))[:, ::down, ::across].astype(np.float32)
        for down in (1, -1)
        for across in (1, -1)
    ]
    np.testing.assert_allclose(loaded.probabilities(IMAGE, tta="flips"), np.mean(flipped, axis=0), atol=2e-3)


def test_an_answer_that_overflows_is_refused_not_shown_as_an_empty_mask(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "run", lambda network, batch: np.full((1, 1, 64, 64), np.nan, np.float32))
    with pytest.raises(DamagedError, match="The member unet predicts NaN for this image"):
        load_member(saved).probabilities(IMAGE)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="The device 'abacus' cannot be used"):
        runtime.choose_device("abacus")


# --- hostile descriptions of the network

HOSTILE_SETTINGS: list[dict[str, Any]] = [
    {"encoder_name": "tu-hf_hub:other/repo"},
    {"encoder_name": "tu-hf-hub:other/repo"},
    {"encoder_name": "hf_hub:other/repo"},
    {"encoder_name": "resnet18", "feature_cls": "getter"},  # for timm's encoders alone
    {"encoder_name": "tu-resnet18", "feature_cls": "fx"},
    {"encoder_name": "tu-local-dir:/etc"},
    {"encoder_name": "tu-local-dir:."},
    {"encoder_name": "tu-timm/resnet18"},
    {"encoder_name": "tu-../../etc/passwd"},
    {"encoder_name": "tu-https://example.org/x"},
    {"encoder_name": "tu-"},
    {"encoder_name": "tu-.a1_in1k"},
    {"encoder_name": "tu-no_such_network"},
    {"encoder_name": "no_such_encoder"},
    {"encoder_name": "resnet18\n"},
    {"encoder_name": "RESNET18"},
    {"encoder_name": ""},
    {"encoder_name": None},
    {"encoder_name": 18},
    {"encoder_name": ["resnet18"]},
    {"encoder_name": {"a": 1}},
    {"encoder_name": "r" * 100_000},
    {"_model_class": "Sequential"},
    {"_model_class": "DPT"},
    {"_model_class": "__init__"},
    {"_model_class": "os.system"},
    {"_model_class": ""},
    {"_model_class": None},
    {"_model_class": ["Unet"]},
    {"_model_class": {"Unet": 1}},
    {"decoder_channels": [4096, 4096, 4096]},
    {"decoder_channels": [10**9, 8, 8]},
    {"decoder_channels": [-1, 8, 8]},
    {"decoder_channels": [16, 8, "8"]},
    {"decoder_channels": [16, 8, 8.5]},
    {"decoder_channels": [16, 8]},
    {"decoder_channels": [[16], 8, 8]},
    {"decoder_channels": [8] * 1000},
    {"decoder_channels": [0, 0, 0]},
    {"encoder_depth": 10**9},
    {"encoder_depth": -3},
    {"encoder_depth": 0},
    {"encoder_depth": 1e300},
    {"classes": 0},
    {"classes": 2},
    {"classes": 4096},
    {"classes": 10**9},
    {"classes": float("nan")},
    {"in_channels": 1},
    {"in_channels": 0},
    {"in_channels": "3"},
    {"activation": "sigmoid"},
    {"activation": "softmax2d"},
    {"activation": "eval"},
    {"aux_params": {"classes": 2}},
    {"decoder_attention_type": "os.system"},
    {"decoder_interpolation": "telepathy"},
    {"pretrained": True},
    {"checkpoint_path": "/etc/passwd"},
    {"pretrained_cfg": {"url": "http://127.0.0.1/x"}},
    {"kwargs": {}},
    {"k" * 100_000: 1},
]


@pytest.mark.parametrize(
    "changed", HOSTILE_SETTINGS, ids=[f"{i}-{next(iter(c))[:30]}" for i, c in enumerate(HOSTILE_SETTINGS)]
)
def test_a_hostile_config_json_is_refused(saved: Path, changed: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^config\.json") as caught:
        network_of(saved, **changed)
    assert len(str(caught.value)) < 400


def test_an_upsampling_that_leaves_another_grid_is_refused(saved: Path) -> None:
    settings = {"_model_class": "FPN", "encoder_name": "resnet18", "upsampling": 1, "classes": 1}
    with pytest.raises(ConfigError, match=r"gives \(1, 1, 16, 16\)"):
        build_network(settings, describe(saved))


@pytest.mark.parametrize("architecture", ["Unet", "FPN", "DeepLabV3Plus", "PSPNet", "Segformer"])
@pytest.mark.parametrize("encoder", ["resnet18", "tu-tf_efficientnet_lite0", "tu-resnet18.a1_in1k"])
def test_honest_networks_are_built(saved: Path, architecture: str, encoder: str) -> None:
    settings = {"_model_class": architecture, "encoder_name": encoder, "encoder_weights": "imagenet", "classes": 1}
    assert isinstance(build_network(settings, describe(saved)), getattr(smp, architecture))


# --- damaged and hostile files


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, Path.unlink, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_what_member_json_promises_is_refused(
    member: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(member / name)
    sentence = refusal(member, DamagedError)
    assert sentence.startswith(f"The member unet is damaged: {name} ")
    assert " Fetch it again" in sentence


def test_a_member_json_that_is_not_the_one_promised_is_refused(member: Path) -> None:
    with pytest.raises(DamagedError, match=r"member.json is not the one that ensemble.json names"):
        load_member(member, sha256="0" * 64)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "member.json cannot be read" in refusal(tmp_path / "nothing", DamagedError)


def test_weights_without_a_hash_are_refused(member: Path) -> None:
    data = json.loads((member / "member.json").read_text(encoding="utf-8"))
    del data["files"]["model.safetensors"]
    (member / "member.json").write_text(json.dumps(data), encoding="utf-8")
    assert "model.safetensors is not what member.json promises" in refusal(member, DamagedError)


class Payload:
    """Creates the file "run" when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.folder / "run",)


@pytest.mark.parametrize("write", [lambda p, path: path.write_bytes(pickle.dumps(p)), torch.save])
def test_a_pickle_in_place_of_the_weights_is_refused_and_not_run(
    member: Path, write: Callable[[Any, Path], None]
) -> None:
    write({"weights": Payload(member)}, member / "model.safetensors")
    rehash(member)
    assert "model.safetensors does not fit config.json" in refusal(member, DamagedError)
    assert not (member / "run").exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "model.ckpt", "weights.h5"])
def test_weights_in_another_format_are_not_taken_instead(member: Path, name: str) -> None:
    (member / "model.safetensors").unlink()
    torch.save({"weights": Payload(member)}, member / name)
    assert "model.safetensors cannot be read" in refusal(member, DamagedError)
    assert not (member / "run").exists()


def test_a_pickle_beside_the_weights_is_left_alone(member: Path) -> None:
    torch.save({"weights": Payload(member)}, member / "pytorch_model.bin")
    load_member(member)
    assert not (member / "run").exists()


def tampered(member: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    """The member, without its graph, with its tensors changed and every hash made good."""
    (member / "graph.onnx").unlink()
    described = describe(member)
    files = {name: digest for name, digest in described.files.items() if name != "graph.onnx"}
    schema.dump(dataclasses.replace(described, files=files), member / "member.json")
    state = safetensors.torch.load_file(member / "model.safetensors")
    change(state)
    safetensors.torch.save_file(state, member / "model.safetensors")
    rehash(member)
    return member


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(member: Path, value: float) -> None:
    tampered(member, lambda state: state["encoder.model.conv_stem.weight"].view(-1)[7:8].fill_(value))
    assert "NaN or infinity in encoder.model.conv_stem.weight" in refusal(member, DamagedError)


def test_weights_of_another_shape_are_refused(member: Path) -> None:
    tampered(member, lambda state: state.update({"encoder.model.conv_stem.weight": torch.zeros(64, 3, 3, 3)}))
    assert "does not fit config.json" in refusal(member, DamagedError)


def test_weights_without_a_tensor_are_refused(member: Path) -> None:
    tampered(member, lambda state: state.pop("encoder.model.conv_stem.weight"))
    assert "does not fit config.json" in refusal(member, DamagedError)


def test_weights_with_a_tensor_too_many_are_refused(member: Path) -> None:
    tampered(member, lambda state: state.update(extra=torch.zeros(1)))
    assert "does not fit config.json" in refusal(member, DamagedError)


def test_a_network_with_tables_of_its_own_is_built_whole(member: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that no weights file holds has no values in the sketch."""

    class Tabled(smp.Unet):
        @functools.wraps(smp.Unet.__init__)
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__(*arguments, **settings)
            self.register_buffer("table", torch.arange(3), persistent=False)

    expected = load_network(member).state_dict()
    monkeypatch.setitem(networks.ARCHITECTURES, "Unet", Tabled)
    network = load_network(member)
    assert network.table.tolist() == [0, 1, 2]
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())
    assert {value.dtype for value in network.parameters()} == {torch.float32}


def test_a_network_that_its_weights_do_not_fit_is_never_built(member: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = []

    class Watched(smp.Unet):
        @functools.wraps(smp.Unet.__init__)
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            devices.append(torch.empty(0).device.type)
            super().__init__(*arguments, **settings)

    monkeypatch.setitem(networks.ARCHITECTURES, "Unet", Watched)
    load_network(member)
    assert devices == ["meta"]  # the sketch takes the weights: nothing is built twice
    tampered(member, lambda state: state.update(extra=torch.zeros(1)))
    assert "'extra' is [1], wanted nothing" in refusal(member, DamagedError)
    assert devices == ["meta", "meta"]


def linked(target: Path) -> Callable[[Path], None]:
    def link(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return link


def folder_in_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


FAULTS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "gone": ("cannot be read", Path.unlink),
    "cut": ("is not what member.json promises", lambda path: path.write_bytes(path.read_bytes()[:-1])),
    "longer": ("is not what member.json promises", lambda path: path.write_bytes(path.read_bytes() + b"\0")),
    "empty": ("is not what member.json promises", lambda path: path.write_bytes(b"")),
    "a folder": ("is no ordinary file", folder_in_place),
    "a link to nothing": ("cannot be read", linked(Path("nothing"))),
    "a link to a device": ("is no ordinary file", linked(Path("/dev/zero"))),
    "a link to another file": ("is not what member.json promises", linked(Path("/etc/passwd"))),
    "a link to itself": ("cannot be read", lambda path: linked(path)(path)),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "graph.onnx"])
def test_a_file_that_is_not_the_one_that_was_hashed_is_refused(member: Path, name: str, fault: str) -> None:
    words, damage = FAULTS[fault]
    damage(member / name)
    assert f"{name} {words}" in refusal(member, DamagedError)


def test_a_member_of_links_to_its_files_opens_as_in_the_cache_of_the_hub(saved: Path, tmp_path: Path) -> None:
    for path in saved.iterdir():
        (tmp_path / path.name).symlink_to(path)
    expected = load_member(saved, device="cpu").probabilities(IMAGE)
    assert np.array_equal(load_member(tmp_path, device="cpu").probabilities(IMAGE), expected)


@pytest.mark.parametrize("name", ["member.json", "config.json", "model.safetensors", "graph.onnx"])
def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(member: Path, name: str) -> None:
    (member / name).unlink()
    os.mkfifo(member / name)
    assert f"{name} is no ordinary file" in refusal(member, DamagedError)


def test_a_device_in_place_of_a_description_is_refused() -> None:
    with pytest.raises(ConfigError, match="zero: no ordinary file"):
        schema.load(MemberConfig, Path("/dev/zero"))


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"[" * 100_000, b" " * 1_000_001])
def test_a_config_json_that_is_none_is_refused(member: Path, content: bytes) -> None:
    (member / "config.json").write_bytes(content)
    rehash(member)
    assert refusal(member, ConfigError).startswith("config.json ")


# --- the graph


def test_a_cpu_runs_the_graph_and_answers_as_torch_does(saved: Path) -> None:
    loaded = load_member(saved, device="cpu")
    assert loaded.network.runtime == "onnxruntime"
    batch = to_tensor(IMAGE.pixels, loaded.config.preprocess)
    with torch.inference_mode():
        expected = load_network(saved)(torch.from_numpy(batch)).sigmoid().numpy()
    found = to_probabilities(loaded.network.logits(batch), "binary")
    np.testing.assert_allclose(found, expected, atol=1e-5)
    again = to_probabilities(load_member(saved, device="cpu").network.logits(batch), "binary")
    assert np.array_equal(found, again)


def test_a_batch_is_run_image_by_image(saved: Path) -> None:
    network = load_member(saved, device="cpu").network
    batch = np.random.default_rng(0).random((3, 3, 64, 64), dtype=np.float32)
    assert np.array_equal(network.logits(batch), np.concatenate([network.logits(batch[i : i + 1]) for i in range(3)]))


def test_a_folder_of_an_older_version_runs_on_torch_and_export_adds_its_graph(member: Path) -> None:
    tampered(member, lambda state: None)
    loaded = load_member(member, device="cpu")
    assert loaded.network.runtime == "torch on cpu"
    before = loaded.probabilities(IMAGE)
    add_graph(member)
    assert describe(member).files.keys() == set(FILES)
    again = load_member(member, device="cpu")
    assert again.network.runtime == "onnxruntime"
    np.testing.assert_allclose(again.probabilities(IMAGE), before, atol=1e-3)


def test_a_graph_without_a_hash_is_left_alone(member: Path) -> None:
    content = (member / "graph.onnx").read_bytes()
    tampered(member, lambda state: None)
    (member / "graph.onnx").write_bytes(content)
    assert load_member(member, device="cpu").network.runtime == "torch on cpu"


def test_a_graph_that_answers_otherwise_is_not_saved(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_export, "MAX_DIFFERENCE", -1)
    with pytest.warns(MedsegWarning, match=r"has no graph\.onnx, and runs on torch: its probabilities differ"):
        written = save_member(network_of(saved), describe(saved), tmp_path / "again")
    assert not (tmp_path / "again" / "graph.onnx").exists()
    assert written == load_member(tmp_path / "again").config


def test_without_the_tools_a_member_is_saved_without_a_graph_and_says_so(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_export, "_graphs", {})
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.warns(MedsegWarning, match=r"has no graph\.onnx.*onnxscript"):
        save_member(network_of(saved), describe(saved), tmp_path / "again")
    assert load_member(tmp_path / "again").network.runtime == "torch on cpu"


def test_the_members_of_one_training_are_exported_once(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_member(network_of(saved), describe(saved), tmp_path / "first")
    save_member(PlainUNet(classes=1, depth=1, width=2), describe(saved), tmp_path / "another")  # of the same folds
    monkeypatch.setattr(graph_export, "make_graph", None)  # would raise
    save_member(network_of(saved), describe(saved), tmp_path / "second")
    graphs = [(tmp_path / name / "graph.onnx").read_bytes() for name in ("first", "second")]
    assert graphs[0] == graphs[1]
    assert load_member(tmp_path / "second", device="cpu").network.runtime == "onnxruntime"


def test_no_batch_norm_and_no_cast_is_left_once_the_graph_is_open(saved: Path, tmp_path: Path) -> None:
    opened = read_member(saved)
    options = runtime_onnx._options(opened.weights)
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(opened.graph, options, providers=["CPUExecutionProvider"])
    left = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert not left.keys() & {"BatchNormalization", "Cast", "Expand", "Constant", "Shape"}
    assert sum(left.values()) <= 50  # 34 convolutions and what joins them; unfolded there are over 500
