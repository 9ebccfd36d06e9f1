"""Data that the tests share, made here: no network, no file from outside the repository."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

# before torch and gradio are imported anywhere: nothing in a test may ask the Hub or report usage
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # cores are shared: no process may spin while it waits
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="medseg-tests-") + "/gradio"  # as app.py claims one

from pathlib import Path

import hypothesis
import numpy as np
import PIL.Image
import pytest

from medseg import schema
from medseg.config import MemberConfig, Preprocess, Task, TrainingData

if TYPE_CHECKING:
    from medseg.fitting.fit import Fit
    from medseg.image import Image
    from tests.hub_server import Hub

sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment] # as tests/absent says
atexit.register(shutil.rmtree, Path(os.environ["GRADIO_TEMP_DIR"]).parent, ignore_errors=True)

# no property may fail because the machine was busy
hypothesis.settings.register_profile(
    "unhurried",
    max_examples=50,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize=True,
)
hypothesis.settings.load_profile("unhurried")

ROOT = Path(__file__).resolve().parents[1]
REAL_DATA = ROOT.parent / "shared" / "data"


LONGEST = [
    "browser/", "viewers/", "training/", "test_wheel.py", "test_channels.py", "test_without_torch.py", "app/",
    "inference/", "export/", "hub/", "data/",
]  # fmt: skip
"""Where the files lie that take longest. They begin, so that the processes of `-n 2` end together."""


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = (
        False  # xdist's order is by the number of tests: a file of one long test comes last
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`--dist loadfile`, but that one process gets all files of the browser, which share it and a server."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            place = str(super()._split_scope(nodeid))
            return "browser" if place.startswith("tests/browser/") else place

    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: [item.nodeid.startswith(f"tests/{place}") for place in LONGEST], reverse=True)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images with masks, where it lies beside the checkout."""
    if not REAL_DATA.is_dir():
        pytest.skip("the real data sets are not beside this checkout (../shared/data)")
    return REAL_DATA


def disc(size: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    """A filled disc as a boolean mask (H, W)."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.hypot(rows - centre[0], columns - centre[1]) <= radius


def write_disc_pair(folder: Path, stem: str, seed: int, size: tuple[int, int] = (48, 64)) -> None:
    """A reddish image with a bright disc under images/, and the disc under masks/."""
    rng = np.random.default_rng(seed)
    mask = disc(size, (rng.uniform(14, size[0] - 14), rng.uniform(14, size[1] - 14)), rng.uniform(6, 12))
    image = rng.normal((150, 60, 50), 12, (*size, 3)) + mask[..., None] * 70
    for name, pixels in (("images", image), ("masks", mask * 255)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{stem}.png")


@pytest.fixture(scope="session")
def disc_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 pairs: bright discs on a reddish ground."""
    folder = tmp_path_factory.mktemp("discs")
    for number in range(24):
        write_disc_pair(folder, f"case{number:02d}", number)
    return folder


def make_member(
    folder: Path,
    name: str,
    seed: int,
    *,
    labels: tuple[str, ...] = ("blob",),
    task: str = "binary",
    plain: bool = False,
) -> str:
    """Save a small U-Net with random weights as a member folder; returns the hash of its member.json.

    It is smp's on timm's smallest encoder (some 100 kB), or with `plain` our own (16 kB).
    """
    from medseg.inference.member import file_sha256

    shutil.copytree(_saved_member(name, seed, labels, task, plain), folder, dirs_exist_ok=True)
    return file_sha256(folder / "member.json")


_SAVED = tempfile.TemporaryDirectory(prefix="medseg-members-")


@cache
def _saved_member(name: str, seed: int, labels: tuple[str, ...], task: str, plain: bool) -> Path:
    """A member that is made once in a process, to be copied."""
    import segmentation_models_pytorch as smp
    import torch

    from medseg.config import MemberConfig, Preprocess, TrainingData
    from medseg.inference.member import save_member
    from medseg.inference.unet import PlainUNet

    torch.manual_seed(seed)
    channels = len(labels) + (task == "multiclass")
    if plain:
        network = PlainUNet(classes=channels, depth=2, width=4).eval()
    else:
        network = smp.Unet(
            "tu-test_efficientnet",
            encoder_weights=None,
            encoder_depth=3,
            decoder_channels=(16, 8, 8),
            classes=channels,
        ).eval()
    data = TrainingData(name="discs", licence="Apache-2.0", modalities=("ES",), pictures="images of discs")
    member = MemberConfig(name, task, labels, Preprocess(64, 64), data, "Apache-2.0", files={})
    folder = Path(tempfile.mkdtemp(dir=_SAVED.name)) / "member"
    save_member(network, member, folder)
    return folder


def without_graph(*_: object) -> bytes:
    """Stands for `medseg.inference.member._graph_of` where a training is tested whose graph is not."""
    raise ValueError("not made here: it takes seconds")


def make_ensemble(
    folder: Path,
    weights: tuple[float, ...],
    *,
    labels: tuple[str, ...] = ("blob",),
    task: str = "binary",
    plain: bool = False,
) -> Path:
    """An ensemble folder of members with random weights."""
    from medseg.config import EnsembleConfig, MemberReference

    digests = [
        make_member(folder / f"m{i}", f"random-{i}", i, labels=labels, task=task, plain=plain)
        for i in range(len(weights))
    ]
    pairs = enumerate(zip(digests, weights, strict=True))
    references = tuple(MemberReference(f"m{i}", sha256, weight) for i, (sha256, weight) in pairs)
    schema.dump(EnsembleConfig(f"tiny-{task}", task, labels, references), folder / "ensemble.json")
    return folder


def with_stacker(folder: Path, *, labels: tuple[str, ...] = ("blob",), with_image: bool = False) -> Path:
    """Add a stacker with random weights over two members and one label to an ensemble folder, and blend by it."""
    import dataclasses

    import torch

    from medseg.config import EnsembleConfig, StackerReference
    from medseg.inference.member import file_sha256, save_member
    from medseg.inference.unet import PlainUNet

    channels = 2 + 3 * with_image
    torch.manual_seed(7)
    network = PlainUNet(channels, len(labels), depth=1, width=4).eval()
    preprocess = Preprocess(32, 32, channels, (0.5,) * channels, (0.5,) * channels)
    task: Task = "binary" if len(labels) == 1 else "multilabel"
    data = TrainingData("discs", "Apache-2.0")
    save_member(network, MemberConfig("stacker", task, labels, preprocess, data, "CC0-1.0", files={}), folder / "top")
    stacker = StackerReference("top", file_sha256(folder / "top" / "member.json"), with_image)
    settings = schema.load(EnsembleConfig, folder / "ensemble.json")
    settings = dataclasses.replace(settings, blend="stacking", stacker=stacker)
    schema.dump(settings, folder / "ensemble.json")
    return folder


@pytest.fixture(scope="session")
def tiny_ensemble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ensemble folder of two small members with random weights (binary, label "blob"), weights 0.75 and 0.25."""
    return make_ensemble(tmp_path_factory.mktemp("tiny-ensemble"), (0.75, 0.25))


@pytest.fixture(scope="session")
def plain_ensemble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `tiny_ensemble`, of two members of a few kB, with a card: quickly sent to a Hub and back."""
    folder = make_ensemble(tmp_path_factory.mktemp("plain-ensemble"), (0.75, 0.25), plain=True)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A card\n")
    return folder


@dataclass
class FakeMember:
    """Stands in for a LoadedMember: answers with a function of the image, on the image's own grid."""

    config: MemberConfig
    sha256: str
    answer: Callable[[Image], np.ndarray]
    network: ClassVar = SimpleNamespace(runtime="a function")

    def probabilities(self, image: Image, *, tta: bool = False) -> np.ndarray:
        return np.asarray(self.answer(image), dtype=np.float16)


def fake_member(
    name: str,
    answer: Callable[[Image], np.ndarray],
    *,
    labels: tuple[str, ...] = ("blob",),
    task: Task = "binary",
) -> FakeMember:
    """A member whose answer (K, H, W) can be worked out by hand."""
    data = TrainingData(name="discs", licence="Apache-2.0")
    member = MemberConfig(name, task, labels, Preprocess(32, 32), data, "Apache-2.0", files={})
    return FakeMember(member, uuid.uuid4().hex * 2, answer)  # never the same hash: answers are cached under it


@dataclass(frozen=True)
class PaintedSample:
    """Stands in for a Sample: an image and its masks that were never files."""

    drawn: Image
    masks: np.ndarray
    case: str
    split: str = "val"
    frame: int = 0

    @property
    def image(self) -> Path:
        return Path(f"{self.case}.png")

    def read(self, labels: Sequence[str]) -> tuple[Image, np.ndarray]:
        assert len(labels) == len(self.masks)
        return self.drawn, self.masks


def fit_to(members: Sequence[Any], samples: Sequence[Any], **settings: Any) -> Fit:
    """The fit of the members, observed on the samples."""
    from medseg.fitting.fit import fit
    from medseg.fitting.observations import observe

    return fit(observe(members, samples), **settings)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub on loopback that this process's client uses, with an empty cache and the token of the user "tester"."""
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    from tests.hub_server import Hub

    with Hub() as server:
        home = tmp_path / "hf-home"
        for name, value in {  # what the client reads from the environment at import
            "ENDPOINT": server.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": server.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_TOKEN_PATH": str(home / "token"),
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_DISABLE_TELEMETRY": True,
        }.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_TOKEN", "hf_tester")
        yield server
        close_session()
