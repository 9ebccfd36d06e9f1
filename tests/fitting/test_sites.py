"""Hospitals that share no image: their files hold no names, are fitted as the images together, and are distrusted."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.__main__ import main
from medseg.config import Task
from medseg.errors import InputError
from medseg.fitting.fit import fit
from medseg.fitting.observations import Observation, Observations
from medseg.fitting.site_file import FORMAT, About, read_site, write_site
from medseg.fitting.sites import join, read_sites, site_reports, site_table
from medseg.fitting.thresholds import at, index_of
from medseg.image import Image
from tests.conftest import PaintedSample, disc, write_disc_pair

Arrays = dict[str, np.ndarray]
MEMBERS = 3


def about(task: Task = "binary", labels: tuple[str, ...] = ("blob",)) -> About:
    return About(FORMAT, task, labels, ("a", "b", "c"), ("1" * 64, "2" * 64, "3" * 64), "val")


def images(seed: int, task: Task = "binary", labels: int = 1, cases: int = 10) -> list[Observation]:
    """Two images of each case; member number m is off by noise, all of them better than a mask that never looks."""
    rng, made = np.random.default_rng(seed), []
    for number in range(2 * cases):
        truth = np.stack([disc((24, 24), rng.uniform(4, 20, 2), 3) for _ in range(labels)])
        truth &= (
            ~np.cumsum(truth, axis=0)[[0, *range(labels - 1)]].astype(bool) | (np.arange(labels) == 0)[:, None, None]
        )
        noise = [rng.normal(0, sigma, truth.shape) for sigma in (0.2, 0.3, 0.4)]
        stack = np.clip([truth * 0.6 + 0.2 + each for each in noise], 0, 1) / (labels if task == "multiclass" else 1)
        sample: Any = PaintedSample(Image(np.zeros((24, 24, 1), np.float32)), truth, f"patient {number // 2}")
        made.append(Observation(sample, task, stack.astype(np.float16), truth))
    return made


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("site") / "a.npz"
    write_site(Observations.of(images(0)), about(), path)
    return path


@pytest.mark.parametrize(("task", "labels"), [("binary", 1), ("multilabel", 2), ("multiclass", 2)])
def test_fitting_the_files_is_fitting_the_images_together(task: Task, labels: int, tmp_path: Path) -> None:
    names, seeds = ("blob", "spot")[:labels], {"a": 0, "b": 1}
    for name, seed in seeds.items():
        write_site(Observations.of(images(seed, task, labels)), about(task, names), tmp_path / f"{name}.npz")
    read = {name: read_site(tmp_path / f"{name}.npz")[0] for name in seeds}
    together = []
    for name, seed in seeds.items():  # the images themselves, in the files' order and by its names of cases
        own = {o.stack.tobytes(): o for o in images(seed, task, labels)}
        by_content = {
            tuple(part.probabilities.tobytes() for part in Observations.of([o]).histograms[0]): o for o in own.values()
        }
        for histograms, case in zip(read[name].histograms, read[name].cases, strict=True):
            image = by_content[tuple(part.probabilities.tobytes() for part in histograms)]
            sample: Any = PaintedSample(Image(np.zeros((24, 24, 1), np.float32)), image.truth, f"{name}/{case}")
            together.append(Observation(sample, task, image.stack, image.truth))
    pooled, joined = fit(Observations.of(together)), fit(join(read))
    assert joined.nested == pooled.nested
    assert [joined.choice(name) for name in ("fitted", "equal", "best single")] == [
        pooled.choice(name) for name in ("fitted", "equal", "best single")
    ]
    assert (joined.per_label, joined.broken, joined.positives) == (pooled.per_label, pooled.broken, pooled.positives)
    np.testing.assert_array_equal(joined.fitted.counts, pooled.fitted.counts)


def test_the_file_holds_no_names_and_its_order_is_not_that_of_the_images(site: Path, tmp_path: Path) -> None:
    write_site(Observations.of(images(0)[::-1]), about(), tmp_path / "a.npz")
    again, written = ({n: a.tobytes() for n, a in np.load(path).items()} for path in (tmp_path / "a.npz", site))
    assert again == written
    assert not any(b"patient" in content for content in written.values())
    observations, _ = read_site(site)
    assert sorted(observations.cases) == sorted([*map(str, range(10))] * 2)


def test_two_images_of_a_case_keep_one_number(site: Path) -> None:
    read, _ = read_site(site)
    case_of = {Observations.of([o]).histograms[0][0].pixels.tobytes(): o.sample.case for o in images(0)}
    pairs = {
        (case_of[image[0].pixels.tobytes()], case) for image, case in zip(read.histograms, read.cases, strict=True)
    }
    assert len(pairs) == 10


def test_a_group_of_fewer_than_ten_cases_leaves_no_hospital(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="9 cases are too few to leave a hospital: wanted 10 or more"):
        write_site(Observations.of(images(0, cases=9)), about(), tmp_path / "a.npz")
    assert not (tmp_path / "a.npz").exists()


def test_each_site_is_scored_by_weights_chosen_elsewhere(site: Path) -> None:
    sites = {"a": read_site(site)[0], "b": Observations.of(images(1))}
    everywhere = fit(join(sites))
    reports = site_reports(sites, everywhere, everywhere.choice("fitted"))
    other = fit(join({"b": sites["b"]}))
    weights = other.choice(other.recommended)
    own = at(sites["a"].curves(range(20), weights.weights), index_of(weights.threshold))
    assert reports[0].elsewhere is not None
    assert reports[0].elsewhere.mean == pytest.approx(weights.measure.mean(own))
    assert (reports[0].images, reports[0].cases) == (20, 10)
    assert site_table(reports).splitlines()[3].startswith("| b | 20 | 10 | 0.")
    alone = site_reports({"a": sites["a"]}, everywhere, everywhere.equal)
    assert alone[0].elsewhere is None
    assert site_table(alone).endswith("| – | – |")


def test_files_of_other_members_and_files_given_twice_are_refused(site: Path, tmp_path: Path) -> None:
    hashes = [*about().sha256]
    sites, digest = read_sites([site], hashes, ["blob"], "binary")
    assert [*sites] == ["a"]
    assert len(digest) == 64
    for others, labels in ((hashes[::-1], ["blob"]), (hashes, ["spot"])):
        with pytest.raises(InputError, match="made by other members"):
            read_sites([site], others, labels, "binary")
    copied = shutil.copy(site, tmp_path / "b.npz")
    for twice in (site, copied):
        with pytest.raises(InputError, match="is there twice"):
            read_sites([site, twice], hashes, ["blob"], "binary")


def change(name: str, place: Any, value: Any) -> Callable[[Arrays], None]:
    def act(arrays: Arrays) -> None:
        arrays[name] = arrays[name].copy()
        arrays[name][place] = value

    return act


def put(name: str, value: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], None]:
    def act(arrays: Arrays) -> None:
        arrays[name] = value(arrays[name])

    return act


def say(**values: Any) -> Callable[[Arrays], None]:
    def act(arrays: Arrays) -> None:
        content = json.loads(arrays["about"].tobytes()) | values
        arrays["about"] = np.frombuffer(json.dumps(content).encode(), np.uint8)

    return act


HOSTILE: dict[str, tuple[Callable[[Arrays], Any], str]] = {
    "an object": (put("case", lambda a: a.astype(object)), "case is no array of int32"),
    "other kind": (put("pixels", lambda a: a.astype(np.int64)), "pixels is no array of uint32"),
    "not a number": (change("probabilities", (0, 0, 0), np.nan), "no probabilities"),
    "negative": (change("probabilities", (0, 0, 0), -0.5), "no probabilities"),
    "negative counts": (change("prior", (0, 0, 0), -1), "mean mask are impossible"),
    "counts too large": (change("prior", (0, 0, 0), 2**40), "mean mask are impossible"),
    "more marked than pixels": (change("marked", (0, 0), 2**31), "marks more pixels"),
    "an empty cell": (change("pixels", 0, 0), "more pixels than there are|no one size"),
    "a giant image": (change("pixels", 0, 2**31), "no one size"),
    "negative cells": (change("cells", (0, 0), -1), "do not add up"),
    "overflowing cells": (change("cells", (slice(None), 0), 2**31 - 1), "do not add up"),
    "gaps in the numbers": (change("case", 0, 99), "not numbered"),
    "too few cases": (put("case", np.zeros_like), "holds 1 cases"),
    "another shape": (put("prior", lambda a: a[:, :, :5]), "prior is of the shape"),
    "no images": (put("case", lambda a: a[:0]), "is of the shape"),
    "a missing array": (lambda arrays: arrays.pop("prior"), "other arrays"),
    "one more array": (lambda arrays: arrays.update(names=np.zeros(3)), "other arrays"),
    "another format": (say(format="x"), "not of the format"),
    "an unknown key": (say(patients=["Jane"]), "unknown key"),
    "more labels": (say(labels=["blob", "spot"], task="multilabel"), "is of the shape"),
    "no labels": (say(labels=[]), "no labels"),
    "another number of hashes": (say(sha256=["1" * 64]), "differ in number"),
    "no JSON": (put("about", lambda a: a[:-3]), "cannot be read"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_refused_in_a_sentence(kind: str, site: Path, tmp_path: Path) -> None:
    arrays = dict(np.load(site))
    act, sentence = HOSTILE[kind]
    act(arrays)
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(InputError, match=rf"^x.npz is not what `medseg observe` writes: .*({sentence}).*\.$"):
        read_site(tmp_path / "x.npz")


def header(shape: str) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.zeros(1, np.int32))
    return stream.getvalue().replace(b"(1,)", shape.encode()[:4].ljust(4))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", header("(9e9"), header("(-1,"), b"\x93NUMPY\x03\x00"])
def test_broken_archives_and_lying_headers_are_refused(content: bytes, site: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not what `medseg observe` writes"):
        read_site(path)
    with zipfile.ZipFile(site) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            target.writestr(name, content if name == "case.npy" else source.read(name))
    with pytest.raises(InputError, match="is not what `medseg observe` writes"):
        read_site(path)
    with pytest.raises(InputError, match="no such file"):
        read_site(tmp_path)


def test_what_says_to_be_huge_is_not_unpacked(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medseg.fitting.site_file.MAX_BYTES", 1000)
    monkeypatch.setattr(zipfile.ZipFile, "read", pytest.fail)
    with pytest.raises(InputError, match="unpacks to more than 1000 bytes"):
        read_site(site)


def test_the_commands_observe_and_fit(plain_ensemble: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(11):
        write_disc_pair(tmp_path / "data", f"c{number:02d}", number)
    files = [tmp_path / f"{site}.npz" for site in ("north", "south")]
    main(["observe", str(plain_ensemble), str(tmp_path / "data"), "--output", str(files[0])])
    observations, said = read_site(files[0])
    write_site(observations.without(["3"]), said, files[1])
    assert "histograms of 11 images of 11 cases, no image, mask or name" in capsys.readouterr().out
    settings = json.loads((plain_ensemble / "ensemble.json").read_text())
    members = [str(plain_ensemble / member["source"]) for member in settings["members"]]
    rest = ["--output", str(tmp_path / "out"), "--name", "both"]
    main(["fit", *members, "--observations", *map(str, files), *rest])
    shown = capsys.readouterr().out
    assert "| south | 10 | 10 |" in shown
    record = json.loads((tmp_path / "out" / "ensemble.json").read_text())["fitted"]
    assert record["data"] == "observations of 2 sites: north, south"
    for words in ([*members, "--data", "d", "--observations", *map(str, files)], [*members]):
        with pytest.raises(SystemExit, match="Wanted --data DATA, or --observations"):
            main(["fit", *words, "--output", str(tmp_path / "other"), "--name", "both"])
