"""Masks that medseg did not make: every form gives the same scores, and what does not pair is said."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pydicom
import pytest

from medseg.__main__ import main
from medseg.data.coco import write_coco
from medseg.data.predictions import open_predictions
from medseg.data.rle import encode_rle
from medseg.data.samples import Sample, load_data
from medseg.errors import InputError, ReadError
from medseg.evaluation.foreign import evaluate_predictions
from medseg.export.dicom_seg import SegKind, write_dicom_seg
from medseg.metrics import confusion
from tests.conftest import write_disc_pair
from tests.dicom_sources import write_source
from tests.segmented import drawing_ensemble, segment_files

NUMBER = 12


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    for number in range(NUMBER):
        write_disc_pair(tmp_path / "data", f"case{number:02d}", number)
    (tmp_path / "data" / "splits.json").write_text(json.dumps({"test": [f"case{n:02d}" for n in range(NUMBER)]}))
    return load_data(tmp_path / "data").samples


def shifted(sample: Sample) -> np.ndarray:
    """The prediction of all forms: the truth, moved by three pixels."""
    return np.roll(sample.read(["disc"])[1], 3, axis=2)


def save(mask: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray((mask * 255).astype(np.uint8)).save(path)


def png(samples: list[Sample], folder: Path, name: str = "{}.png") -> Path:
    for sample in samples:
        save(shifted(sample)[0], folder / name.format(sample.image.stem))
    return folder


def npz(samples: list[Sample], folder: Path) -> Path:
    folder.mkdir()
    for sample in samples:
        np.savez(folder / sample.image.stem, probabilities=shifted(sample) * np.float16(0.75), labels=["disc"])
    return folder


def softmax(samples: list[Sample], folder: Path) -> Path:
    """As nnU-Net: (classes, slices, rows, columns), the background first."""
    folder.mkdir()
    for sample in samples:
        foreground = shifted(sample)[:, None] * np.float32(0.9)
        np.savez(folder / sample.image.stem, softmax=np.concatenate([1 - foreground, foreground]))
    return folder


def grey(samples: list[Sample], folder: Path) -> Path:
    for sample in samples:
        mask = shifted(sample)[0]
        ramp = np.linspace(0, 0.45, mask.size).reshape(mask.shape)
        save(np.where(mask, 1 - ramp, ramp), folder / f"{sample.image.stem}_pred.png")
    return folder


def coco(samples: list[Sample], folder: Path) -> Path:
    png(samples, folder)
    predicted = [Sample(one.image, folder / f"{one.image.stem}.png", one.case, "") for one in samples]
    write_coco(predicted, ["disc"], folder.parent / "predicted.json")
    return folder.parent / "predicted.json"


def results(samples: list[Sample], folder: Path) -> Path:
    """COCO's results, numbered as the COCO file beside the data."""
    content = json.loads(coco(samples, folder).read_text())
    (folder.parent / "data" / "truth.json").write_text(json.dumps(content | {"annotations": []}))
    sure = [{**entry, "score": 0.9} for entry in content["annotations"]]
    unsure = [{**sure[0], "image_id": 2, "score": 0.3}]
    path = folder.parent / "results.json"
    path.write_text(json.dumps(sure + unsure))
    return path


def runs(samples: list[Sample], folder: Path, form: str = "relative") -> Path:
    rows = [f"{one.image.stem},{encode_rle(shifted(one)[0], form)}" for one in samples]  # type: ignore[arg-type]
    path = folder.parent / "runs.csv"
    path.write_text("\n".join(["ImageId,EncodedPixels", *rows]))
    return path


def absolute(samples: list[Sample], folder: Path) -> Path:
    return runs(samples, folder, "absolute")


def of_excel(samples: list[Sample], folder: Path) -> Path:
    path = runs(samples, folder)
    path.write_text(path.read_text().replace(",", ";"), "utf-16")
    return path


def dice(place: Path, samples: list[Sample], data: Path | None = None) -> list[float]:
    opened = open_predictions("a", place, samples, ["disc"], data)
    found, _ = evaluate_predictions([opened], samples, [], ["disc"])
    return [one["dice"] for one in found.scores.scores["a"]["disc"]]


@pytest.mark.parametrize("form", [png, npz, softmax, grey, coco, results, runs, absolute, of_excel])
def test_every_form_gives_the_scores_of_its_masks(form, samples: list[Sample], tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    wanted = [confusion(shifted(one)[0], one.read(["disc"])[1][0]).dice for one in samples]
    assert dice(form(samples, tmp_path / "a"), samples, tmp_path / "data") == pytest.approx(wanted)


@pytest.mark.parametrize(("source", "kind"), [("dx", "FRACTIONAL"), ("ct-series", "BINARY"), ("us-cine", "LABELMAP")])
def test_a_dicom_seg_is_paired_by_the_images_it_refers_to(source: str, kind: SegKind, tmp_path: Path) -> None:
    """One image; a series in one file; a loop of several frames."""
    paths = write_source(source, tmp_path)
    made, sources = segment_files(paths, drawing_ensemble())
    (tmp_path / "segs").mkdir()
    write_dicom_seg(made, sources if len(paths) > 1 else paths[0], tmp_path / "segs" / "a.dcm", kind=kind)
    samples = [Sample(path, (), "x", "test", one.image.frame) for path, one in zip(sources, made, strict=True)]
    labels = ["lung", "polyp"]
    opened = open_predictions("a", tmp_path / "segs", samples, labels)
    for index, one in enumerate(made):
        read = opened.read(index, one.image)
        np.testing.assert_array_equal(read.masks, one.masks[[1, 0]])
        wanted = one.probabilities if kind == "FRACTIONAL" else one.masks
        np.testing.assert_allclose(read.probabilities, wanted[[1, 0]], atol=1 / 255)


def test_an_image_that_a_series_segmentation_has_no_frame_of_is_empty(tmp_path: Path) -> None:
    """Writers leave empty frames out by default: left out, such images would be missing for all models."""
    paths = write_source("ct-series", tmp_path)
    made, sources = segment_files(paths, drawing_ensemble())
    (tmp_path / "segs").mkdir()
    write_dicom_seg(made, sources, tmp_path / "segs" / "a.dcm")
    seg = pydicom.dcmread(tmp_path / "segs" / "a.dcm")
    uid = pydicom.dcmread(sources[0]).SOPInstanceUID
    of = [g.DerivationImageSequence[0].SourceImageSequence[0] for g in seg.PerFrameFunctionalGroupsSequence]
    kept = [index for index, source in enumerate(of) if source.ReferencedSOPInstanceUID != uid]
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
    frames = bits[: len(of) * seg.Rows * seg.Columns].reshape(len(of), -1)[kept]
    seg.PerFrameFunctionalGroupsSequence = [seg.PerFrameFunctionalGroupsSequence[index] for index in kept]
    seg.NumberOfFrames = len(kept)
    seg.PixelData = np.packbits(frames, bitorder="little").tobytes() + bytes(frames.size // 8 % 2)
    seg.save_as(tmp_path / "segs" / "a.dcm")
    samples = [Sample(path, (), "x", "test", one.image.frame) for path, one in zip(sources, made, strict=True)]
    opened = open_predictions("a", tmp_path / "segs", samples, ["lung", "polyp"])
    assert not opened.read(0, made[0].image).masks.any()
    np.testing.assert_array_equal(opened.read(1, made[1].image).masks, made[1].masks[[1, 0]])
    assert "Taken as empty: images that a segmentation refers to without a frame (1)" in " ".join(opened.notes)
    del seg.SegmentSequence
    seg.save_as(tmp_path / "segs" / "b.dcm")
    opened = open_predictions("a", tmp_path / "segs", samples, ["lung", "polyp"])
    assert len(opened.readers) == len(samples)
    assert "Left out: segmentations that cannot be read (1), the first: b.dcm (This DICOM SEG cannot" in opened.notes[0]
    (tmp_path / "segs" / "a.dcm").unlink()
    with pytest.raises(InputError, match="No segmentation can be read, the first: b"):
        open_predictions("a", tmp_path / "segs", samples, ["lung", "polyp"])


def test_models_are_compared_on_the_images_that_all_have(samples: list[Sample], tmp_path: Path) -> None:
    first, second = png(samples, tmp_path / "a", "{}_mask.png"), npz(samples, tmp_path / "b")
    (first / "case03_mask.png").unlink()
    (second / "case05.npz").write_bytes(b"damaged")
    save(np.zeros((4, 4)), first / "other.png")
    opened = [open_predictions(name, place, samples, ["disc"]) for name, place in (("a", first), ("b", second))]
    found, scored = evaluate_predictions(opened, samples, [], ["disc"])
    assert found.report["n"] == len(scored) == NUMBER - 2
    doubts = " ".join(found.report["doubts"])
    assert "a: Left out: files that are of none of the images asked for (1), the first: other.png." in doubts
    assert "a: Left out: images without a prediction (1), the first: case03.png." in doubts
    assert "b: case05.npz: This is no file of NumPy's that can be read" in doubts
    assert found.report["comparison"]["labels"]["disc"]["pairs"]["a − b"]["mean"] == 0


def test_labels_that_overlap_have_a_folder_each(tmp_path: Path) -> None:
    write_disc_pair(tmp_path, "x", 1)
    sample = Sample(tmp_path / "images" / "x.png", (), "x", "test")
    for label, rows in (("liver", slice(0, 10)), ("tumour", slice(5, 20))):
        mask = np.zeros((48, 64), bool)
        mask[rows] = True
        save(mask, tmp_path / "p" / label / "x.png")
    opened = open_predictions("a", tmp_path / "p", [sample], ["tumour", "liver"])
    masks = opened.read(0, sample.read_image()).masks
    assert masks.sum(axis=(1, 2)).tolist() == [15 * 64, 10 * 64]


def test_images_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    samples = []
    for number, patient in enumerate(("p1", "p2")):
        write_disc_pair(tmp_path / "data" / patient, "slice1", number)
        samples.append(Sample(tmp_path / "data" / patient / "images" / "slice1.png", (), patient, "test"))
        save(np.full((48, 64), number), tmp_path / "a" / patient / "slice1.png")
    opened = open_predictions("a", tmp_path / "a", samples, ["disc"])
    assert [bool(opened.read(i, one.read_image()).masks.any()) for i, one in enumerate(samples)] == [False, True]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            np.full((48, 64), 7.5),
            "no probabilities .* but values from 7.5 to 7.5: save it past the sigmoid",
        ),
        (np.full((48, 64), np.nan), "but 3072 values that are no numbers"),
        (np.zeros((3, 48, 64)), "3 × 48 × 64; for 1 labels"),
        (np.zeros((64, 48)), "64 × 48; for 1 labels"),
        (np.zeros((0, 48, 64)), "The array is empty"),
        (np.full((48, 64), 255, np.uint8), "values from 255 to 255: .* or as 0 and 1"),
        (np.full((48, 64), "x"), "but values of the type <U1"),
    ],
)
def test_arrays_that_are_no_probabilities_are_refused(
    content: np.ndarray, sentence: str, samples: list[Sample], tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a" / "case00.npy", content)
    opened = open_predictions("a", tmp_path / "a", samples, ["disc"])
    with pytest.raises(ReadError, match=f"a: case00.npy: .*{sentence}"):
        opened.read(0, samples[0].read_image())


def test_an_array_of_whole_zeros_and_ones_is_a_mask(samples: list[Sample], tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    mask = np.arange(48 * 64).reshape(48, 64) % 3 == 0
    np.save(tmp_path / "a" / "case00.npy", mask.astype(np.uint8))
    opened = open_predictions("a", tmp_path / "a", samples, ["disc"])
    np.testing.assert_array_equal(opened.read(0, samples[0].read_image()).masks[0], mask)


@pytest.mark.parametrize("name", ["case00.npy", "case00.npz"])
def test_an_empty_file_is_refused(name: str, samples: list[Sample], tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / name).touch()
    opened = open_predictions("a", tmp_path / "a", samples, ["disc"])
    with pytest.raises(ReadError, match="no file of NumPy's that can be read"):
        opened.read(0, samples[0].read_image())


def test_objects_are_never_unpickled(samples: list[Sample], tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    np.savez(tmp_path / "a" / "case00.npz", probabilities=np.array([{"a": 1}], dtype=object))
    opened = open_predictions("a", tmp_path / "a", samples, ["disc"])
    with pytest.raises(ReadError, match="no file of NumPy's that can be read"):
        opened.read(0, samples[0].read_image())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a,b\n1,2\n", "has the columns a, b; wanted ImageId, EncodedPixels"),
        ("ImageId,EncodedPixels\ncase00,1 2 9 2\n", "does not tell whether"),
        ("ImageId,EncodedPixels\nother,0 2\n", "belongs to one of the 12 images"),
    ],
)
def test_tables_that_do_not_say_are_refused(text: str, sentence: str, samples: list[Sample], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=sentence):
        open_predictions("a", tmp_path / "a.csv", samples, ["disc"])


def test_two_files_of_one_image_are_refused(samples: list[Sample], tmp_path: Path) -> None:
    png(samples, tmp_path / "a")
    save(np.zeros((48, 64)), tmp_path / "a" / "case00_pred.png")
    with pytest.raises(InputError, match=r"case00\.png and case00_pred\.png would both be the prediction"):
        open_predictions("a", tmp_path / "a", samples, ["disc"])


def test_folders_that_are_not_called_as_the_labels_are_named(samples: list[Sample], tmp_path: Path) -> None:
    for folder in ("organ", "tumor"):
        png(samples, tmp_path / "a" / folder)
    with pytest.raises(InputError, match=r"organ/case00\.png and tumor/case00\.png .* folders of labels as the labels"):
        open_predictions("a", tmp_path / "a", samples, ["organ", "tumour"])


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_probability_map_that_is_sure_of_nothing_marks_nothing(
    samples: list[Sample], tmp_path: Path, kind: type
) -> None:
    place = grey(samples, tmp_path / "soft")
    faint = np.zeros(shifted(samples[0])[0].shape, kind)
    faint[:9, :9] = 3  # of two levels: a mask, were it alone
    PIL.Image.fromarray(faint).save(place / f"{samples[0].image.stem}_pred.png")
    opened = open_predictions("a", place, samples, ["disc"])
    found, _ = evaluate_predictions([opened], samples, [], ["disc"])
    assert found.scores.scores["a"]["disc"][0]["recall"] == 0
    assert dice(place, samples)[1:] == dice(grey(samples, tmp_path / "other"), samples)[1:]


def test_the_command_writes_the_report_of_several_models(
    samples: list[Sample], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = [f"mo|ved={png(samples, tmp_path / 'a')}", f"soft={grey(samples, tmp_path / 'b')}"]
    sites = "".join(f"case{n:02d},{'north' if n < 10 else 'south'}\n" for n in range(NUMBER))
    (tmp_path / "sites.csv").write_text(f"image,site\n{sites}")
    places = ["--predictions", *models, str(tmp_path / "data"), "--labels", "disc"]
    groups = ["--by", "site", "--groups", str(tmp_path / "sites.csv")]
    main(["evaluate", *places, *groups, "--output", str(tmp_path / "out")])
    shown = capsys.readouterr().out
    for text in (
        "| empty mask |",
        "| mo\\|ved |",
        "| soft |",
        "Per lesion, 12 lesions",
        "| mo\\|ved − soft |",
        "first in",
        "By site",
    ):
        assert text in shown
    report = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert report["predictions"][1] == {"name": "soft", "form": "grey levels as probabilities", "images": NUMBER}
    html = (tmp_path / "out" / "report.html").read_text()
    for text in (
        "soft, by site",
        "south (n = 2 of 2 cases, too few)",
        "mo|ved and soft on the test split",
        "Every two compared",
        "with the masks of mo|ved",
    ):
        assert text in html
    assert len((tmp_path / "out" / "scores.csv").read_text().splitlines()) == 1 + NUMBER * 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["e"], "Wanted medseg evaluate ENSEMBLE DATA"),
        (["--predictions", "e", "d"], "Wanted medseg evaluate --predictions NAME=FOLDER … DATA; got e d"),
        (["--predictions", "a=b", "e", "d"], "Wanted medseg evaluate --predictions NAME=FOLDER … DATA"),
        (["--predictions", "a=b", "a=c", "d"], "each name once; got a=c"),
    ],
)
def test_words_that_do_not_fit_are_refused(arguments: list[str], sentence: str) -> None:
    with pytest.raises(SystemExit, match=sentence):
        main(["evaluate", *arguments])
