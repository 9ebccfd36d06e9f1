"""What the user gets from a file: levels in DICOM's order, upright images, masks; a pool that outlives workers."""

import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from medseg.errors import InputError, ReadError
from medseg.image import to_stored
from medseg.reading.readers import count_frames, read_file, read_image, read_mask_file, read_masks, read_values
from medseg.reading.workers import pool
from tests.conftest import ROOT

RAMP = np.arange(6, dtype=np.uint16).reshape(2, 3)
CORNER = np.array([[255, 0, 0], [128, 0, 0]], dtype=np.uint8)  # no orientation leaves it as it is


def write_dicom(path: Path, stored: np.ndarray, **attributes: object) -> Path:
    """A grey DICOM of `stored`, (H, W) or (frames, H, W); `attributes` are added, those of None taken away."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    bits = stored.dtype.itemsize * 8
    plain = {
        **{"Rows": stored.shape[-2], "Columns": stored.shape[-1], "SamplesPerPixel": 1, "BurnedInAnnotation": "NO"},
        **{"BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1, "Modality": "CT"},
        **{"PixelRepresentation": int(stored.dtype.kind == "i"), "PhotometricInterpretation": "MONOCHROME2"},
    }
    if stored.ndim == 3:
        plain["NumberOfFrames"] = stored.shape[0]
    for keyword, value in {**plain, **attributes}.items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    dataset["PixelData"].VR = "OW"
    dataset.save_as(path, enforce_file_format=True)
    return path


def item(**attributes: object) -> list[Dataset]:
    """A sequence of one item."""
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return [dataset]


def lut(first: int, values: list[int], bits: int) -> list[Dataset]:
    sequence = item(LUTDescriptor=[len(values), first, bits], LUTData=values)
    for keyword in ("LUTDescriptor", "LUTData"):
        sequence[0][keyword].VR = "US"
    return sequence


def levels(path: Path, **settings: object) -> list[list[float]]:
    return read_image(path, **settings).pixels[..., 0].astype(float).round(6).tolist()  # type: ignore[arg-type]


# DICOM: stored values → modality → VOI → inversion


def test_without_a_window_the_stored_range_is_shown_and_a_note_says_so(tmp_path: Path) -> None:
    image = read_image(write_dicom(tmp_path / "a", RAMP))
    assert image.pixels[..., 0] == pytest.approx(RAMP / 5)
    assert image.pixels.dtype == np.float32
    assert image.window is None
    assert image.notes == ("The file gives no window: its values from 0 to 5 are shown black to white.",)


def test_a_window_counts_in_the_units_after_the_rescale(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a", RAMP, RescaleSlope=2, RescaleIntercept=-5, WindowCenter=0.5, WindowWidth=11)
    assert levels(path) == [[0, 0.2, 0.4], [0.6, 0.8, 1]]  # (2x - 5) / 10 + 0.5
    assert read_image(path).window == (0.5, 11.0)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("LINEAR", [0, 0, 0.25, 0.75, 1, 1]),  # ((x - 2.5) / 2) + 0.5
        ("LINEAR_EXACT", [0, 0, 1 / 6, 0.5, 5 / 6, 1]),  # (x - 3) / 3 + 0.5
        ("SIGMOID", [1 / (1 + np.exp(-4 * (x - 3) / 3)) for x in range(6)]),
    ],
)
def test_each_voi_lut_function_follows_its_formula(tmp_path: Path, function: str, expected: list[float]) -> None:
    path = write_dicom(tmp_path / "a", RAMP, WindowCenter=3, WindowWidth=3, VOILUTFunction=function)
    assert read_image(path).pixels.ravel() == pytest.approx(expected, abs=1e-6)


def test_a_linear_window_of_width_1_is_a_step(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a", RAMP, WindowCenter=3, WindowWidth=1)
    assert levels(path) == [[0, 0, 0], [1, 1, 1]]


def test_the_users_window_replaces_the_files_window_and_voi_lut(tmp_path: Path) -> None:
    windowed = write_dicom(tmp_path / "a", RAMP, WindowCenter=3, WindowWidth=3)
    tabled = write_dicom(tmp_path / "b", RAMP, VOILUTSequence=lut(0, [9, 0, 0, 0, 0, 0], 8))
    assert levels(windowed, window=(3, 6)) == levels(tabled, window=(3, 6))
    assert levels(windowed, window=(3, 6)) != levels(windowed)
    assert read_image(tabled, window=(3, 6)).window == (3.0, 6.0)


@pytest.mark.parametrize("window", [(3, 0), (3, -1), (3, 0.5), (float("nan"), 2), (3, float("inf"))])
def test_a_window_that_makes_no_sense_is_refused(tmp_path: Path, window: tuple[float, float]) -> None:
    with pytest.raises(InputError, match=r"A window is \(centre, width\) with a width of"):
        read_image(write_dicom(tmp_path / "a", RAMP), window=window)


def test_a_voi_lut_is_looked_up_after_the_rescale_and_clamped_at_its_ends(tmp_path: Path) -> None:
    table = lut(11, [0, 51, 102, 255], 8)
    path = write_dicom(tmp_path / "a", RAMP, RescaleSlope=1, RescaleIntercept=10, VOILUTSequence=table)
    assert levels(path) == [[0, 0, 0.2], [0.4, 1, 1]]


def test_a_modality_lut_takes_the_place_of_the_rescale(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a", RAMP, ModalityLUTSequence=lut(0, [50, 40, 30, 20, 10, 0], 16))
    assert levels(path) == [[1, 0.8, 0.6], [0.4, 0.2, 0]]


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 3, "WindowWidth": 5}])
def test_a_monochrome1_twin_gives_the_same_image(tmp_path: Path, window: dict[str, int]) -> None:
    bright = write_dicom(tmp_path / "a", RAMP, **window)
    turned = {**window, "WindowCenter": 5 - 3 + 1} if window else {}  # LINEAR's half grey level turns with it
    dark = write_dicom(tmp_path / "b", 5 - RAMP, PhotometricInterpretation="MONOCHROME1", **turned)
    assert levels(dark) == levels(bright)


def test_signed_values_keep_their_order(tmp_path: Path) -> None:
    assert levels(write_dicom(tmp_path / "a", RAMP.astype(np.int16) - 5)) == [[0, 0.2, 0.4], [0.6, 0.8, 1]]


def test_only_the_stored_bits_count(tmp_path: Path) -> None:
    overlay = (RAMP | 0xA000).astype(np.uint16)  # old files keep an overlay above the 12 bits of the image
    assert levels(write_dicom(tmp_path / "a", overlay, BitsStored=12, HighBit=11)) == levels(
        write_dicom(tmp_path / "b", RAMP)
    )


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_outside_the_range(tmp_path: Path, photometric: str) -> None:
    stored = np.array([[-2000, 0], [10, 5]], dtype=np.int16)
    path = write_dicom(tmp_path / "a", stored, PixelPaddingValue=-2000, PhotometricInterpretation=photometric)
    shown = [0, 1, 0, 0.5] if photometric == "MONOCHROME1" else [0, 0, 1, 0.5]
    assert read_image(path).pixels.ravel().tolist() == shown


def test_each_frame_has_its_own_window_rescale_and_spacing(tmp_path: Path) -> None:
    groups = [
        item(
            FrameVOILUTSequence=item(WindowCenter=center, WindowWidth=3),
            PixelMeasuresSequence=item(PixelSpacing=[spacing, spacing]),
        )[0]
        for center, spacing in ((1, 0.5), (4, 0.25))
    ]
    shared = item(PixelValueTransformationSequence=item(RescaleSlope=1, RescaleIntercept=1))
    stored = np.stack([RAMP, RAMP])
    path = write_dicom(
        tmp_path / "a", stored, PerFrameFunctionalGroupsSequence=groups, SharedFunctionalGroupsSequence=shared
    )
    first, second = read_image(path), read_image(path, frame=1)
    assert (first.window, second.window) == ((1.0, 3.0), (4.0, 3.0))
    assert (first.spacing_mm, second.spacing_mm) == ((0.5, 0.5), (0.25, 0.25))
    assert second.pixels.ravel() == pytest.approx([0, 0, 0.25, 0.75, 1, 1])  # (x + 1 - 3.5) / 2 + 0.5
    assert (second.frame, second.frames, count_frames(path)) == (1, 2, 2)


def test_a_frame_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="holds 2 frames, counted from 0, so there is no frame 2"):
        read_image(write_dicom(tmp_path / "a", np.stack([RAMP, RAMP])), frame=2)


def test_spacing_of_the_detector_comes_with_a_note(tmp_path: Path) -> None:
    image = read_image(write_dicom(tmp_path / "a", RAMP, ImagerPixelSpacing=[0.2, 0.1], WindowCenter=3, WindowWidth=3))
    assert image.spacing_mm == (0.2, 0.1)
    assert image.notes == ("The spacing is that of the detector, not corrected for magnification.",)


def test_the_first_of_several_windows_is_used_and_a_note_says_so(tmp_path: Path) -> None:
    image = read_image(write_dicom(tmp_path / "a", RAMP, WindowCenter=[3, 1], WindowWidth=[4, 2]))
    assert image.window == (3.0, 4.0)
    assert image.notes == ("The file gives 2 windows; the first is used.",)
    assert image.windows == ((3.0, 4.0), (1.0, 2.0))


def test_the_range_that_windows_choose_from_leaves_out_padding_and_counts_after_the_rescale(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a", RAMP, RescaleSlope=2, RescaleIntercept=-5, PixelPaddingValue=0)
    assert read_image(path).extent == (-3, 5)
    Pillow.fromarray(RAMP.astype(np.uint8)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").extent is None


def test_a_window_after_an_invalid_one_is_offered_and_not_used(tmp_path: Path) -> None:
    image = read_image(write_dicom(tmp_path / "a", RAMP, WindowCenter=[3, 2], WindowWidth=[0, 4]))
    assert (image.window, image.windows) == (None, ((2.0, 4.0),))


@pytest.mark.parametrize(("value", "word"), [("YES", "says that text"), (None, "does not say whether text")])
def test_text_burned_into_the_pixels_is_warned_of(tmp_path: Path, value: str | None, word: str) -> None:
    assert word in read_image(write_dicom(tmp_path / "a", RAMP, BurnedInAnnotation=value)).notes[0]


@pytest.mark.parametrize(
    "keyword",
    [
        *("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit"),
        *("PixelRepresentation", "PhotometricInterpretation"),
    ],
)
def test_a_missing_attribute_is_refused_by_name(tmp_path: Path, keyword: str) -> None:
    with pytest.raises(ReadError, match=r"does not say its .* \(0028,0"):
        read_image(write_dicom(tmp_path / "a", RAMP, **{keyword: None}))


@pytest.mark.parametrize(
    "attributes",
    [
        *({"Rows": 3}, {"Columns": 2}, {"NumberOfFrames": 2}, {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}),
        *({"BitsStored": 17}, {"HighBit": 3}, {"SamplesPerPixel": 3}, {"PhotometricInterpretation": "RGB"}),
    ],
)
def test_contradictory_attributes_are_refused(tmp_path: Path, attributes: dict[str, object]) -> None:
    with pytest.raises(ReadError, match="contradicts itself"):
        read_image(write_dicom(tmp_path / "a", RAMP, **attributes))


def test_no_identity_leaves_the_file(tmp_path: Path) -> None:
    canary = "CANARYSMITH"
    everywhere = {"PatientName": canary, "PatientID": canary, "Modality": canary, "SeriesDescription": canary}
    path = write_dicom(tmp_path / f"{canary}.dcm", RAMP, **everywhere)
    image = read_image(path)
    assert canary not in repr(vars(image))
    for broken in ({"Rows": 9}, {"PhotometricInterpretation": canary}, {"VOILUTFunction": canary}, {"Rows": None}):
        with pytest.raises(ReadError) as caught:
            read_image(write_dicom(path, RAMP, **{**everywhere, **broken}))
        assert canary not in str(caught.value)


# Images


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "png16"])
def test_each_exif_orientation_is_undone(tmp_path: Path, kind: str, orientation: int) -> None:
    path, stored = tmp_path / "a", np.ascontiguousarray(to_stored(CORNER, orientation))
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    if kind == "tiff":
        tifffile.imwrite(path, stored, extratags=[(0x0112, "H", 1, orientation, True)])
    elif kind == "png16":
        Pillow.fromarray(stored.astype(np.uint16) * 257).save(path, "png", exif=exif)
    else:
        big = np.kron(stored, np.ones((16, 16), np.uint8)) if kind == "jpeg" else stored
        Pillow.fromarray(big).save(path, kind, exif=exif, quality=95)
    image = read_image(path)
    found = image.pixels[8::16, 8::16, 0] if kind == "jpeg" else image.pixels[..., 0]
    assert image.orientation == orientation
    assert found == pytest.approx(CORNER / 255, abs=0.02 if kind == "jpeg" else 1e-6)


def test_all_16_bits_reach_the_model(tmp_path: Path) -> None:
    Pillow.fromarray(np.array([[0, 256, 65535]], np.uint16)).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.pixels.ravel().tolist() == np.float32([0, 256 / 65535, 1]).tolist()
    assert image.notes == ()


def test_floats_within_0_and_1_stay_as_they_are(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a", np.float32([[0.25, 0.5]]))
    image = read_image(tmp_path / "a")
    assert (image.pixels.ravel().tolist(), image.notes) == ([0.25, 0.5], ())


def test_other_numbers_are_stretched_and_gaps_are_black_with_notes(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a", np.float32([[-10, np.nan, 0, 10, np.inf]]))
    image = read_image(tmp_path / "a")
    assert image.pixels.ravel().tolist() == [0, 0, 0.5, 1, 0]
    assert "2 values are no finite numbers" in image.notes[0]
    assert "from -10 to 10" in image.notes[1]


@pytest.mark.parametrize("value", [np.int32(7), np.float64(-3), np.uint16(0), np.uint8(0)])
def test_an_image_of_one_value_is_black(tmp_path: Path, value: np.generic) -> None:
    tifffile.imwrite(tmp_path / "a", np.full((2, 2), value))
    assert not read_image(tmp_path / "a").pixels.any()


def test_a_palette_image_shows_its_colours(tmp_path: Path) -> None:
    image = Pillow.fromarray(np.array([[0, 2]], np.uint8), "P")
    image.putpalette([0, 0, 0, 9, 9, 9, 255, 51, 0])
    image.save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").pixels[0, 1] == pytest.approx([1, 0.2, 0])


def test_a_window_for_an_image_is_refused(tmp_path: Path) -> None:
    Pillow.fromarray(CORNER).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="Leave the window out"):
        read_image(tmp_path / "a.png", window=(1, 2))


def test_the_channels_of_a_nifti_are_scaled_one_by_one(tmp_path: Path) -> None:
    volumes = np.zeros((2, 1, 1, 4), np.int16)
    volumes[:, 0, 0] = [[0, 5, -3, 8], [10, 6, -1, 8]]
    nibabel.save(nibabel.Nifti1Image(volumes, np.diag([-1, -1, 1, 1])), tmp_path / "a.nii")
    image = read_image(tmp_path / "a.nii")
    assert image.pixels.tolist() == [[[0, 0, 0, 0], [1, 1, 1, 0]]]
    assert "Channel 2: The file gives no window: its values from 5 to 6 are shown black to white." in image.notes
    with pytest.raises(InputError, match="A window applies to one channel, and this image has several"):
        read_image(tmp_path / "a.nii", window=(1, 2))


def test_the_channels_of_a_tiff_share_its_white_or_else_are_scaled_one_by_one(tmp_path: Path) -> None:
    samples = np.array([[[0, 255, 51, 102, 0], [0, 0, 51, 0, 255]]], np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="minisblack", planarconfig="contig")
    assert read_image(tmp_path / "a.tif").pixels == pytest.approx(samples / 255)
    measured = np.array([[[0.25, -4], [0.5, 4]]], np.float32)
    tifffile.imwrite(tmp_path / "b.tif", measured, photometric="minisblack", planarconfig="contig")
    assert read_image(tmp_path / "b.tif").pixels.tolist() == [[[0.25, 0], [0.5, 1]]]


def test_a_nifti_mask_lies_on_its_image_in_every_stored_orientation(tmp_path: Path) -> None:
    volume = np.zeros((4, 5, 3), np.int16)  # x to the right, y to the front, z to the head
    volume[3, 4, 1] = 1  # right, front
    for signs in ((1, 1, 1), (-1, -1, 1), (1, -1, -1)):
        stored = volume[:: signs[0], :: signs[1], :: signs[2]]
        nibabel.save(nibabel.Nifti1Image(stored, np.diag([*(s * 2.0 for s in signs), 1.0])), tmp_path / "a.nii.gz")
        image = read_image(tmp_path / "a.nii.gz", frame=1)
        assert np.argwhere(image.pixels[..., 0] > 0).tolist() == [[0, 0]]  # shown at the top, on the left
        assert (read_masks(tmp_path / "a.nii.gz", ["a"], like=image)[0] == (image.pixels[..., 0] > 0)).all()
        assert (image.size, image.frames, image.spacing_mm) == ((5, 4), 3, (2.0, 2.0))


def test_a_nifti_window_is_exact_and_applies_to_scaled_values(tmp_path: Path) -> None:
    volume = nibabel.Nifti1Image(np.arange(4, dtype=np.int16).reshape(2, 2, 1), np.diag([-1, -1, 1, 1]))
    volume.header.set_slope_inter(0.5, 1)
    nibabel.save(volume, tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[112:120] = np.float32([0.5, 1]).tobytes()  # nibabel would rescale the integers instead
    (tmp_path / "a.nii").write_bytes(raw)
    assert read_image(tmp_path / "a.nii", window=(1.5, 1)).pixels[..., 0].T.ravel().tolist() == [0, 0.5, 1, 1]


# Masks


def write_png(path: Path, values: np.ndarray | list[list[int]]) -> Path:
    Pillow.fromarray(np.asarray(values, np.uint8)).save(path, "png")
    return path


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0, 1], [1, 0]], [[False, True], [True, False]]),
        ([[0, 255]], [[False, True]]),
        ([[0, 0]], [[False, False]]),
        ([[7, 7]], [[True, True]]),
        ([[0, 60, 127, 128, 255]], [[False, False, False, True, True]]),
    ],
)
def test_one_label_is_read_from_two_values_or_a_threshold(
    tmp_path: Path, values: list[list[int]], expected: list[list[bool]]
) -> None:
    assert read_masks(write_png(tmp_path / "a", values), ["polyp"]).tolist() == [expected]


@pytest.mark.parametrize("values", [[[1, 2]], [[0, 1, 2, 3]]])
def test_a_label_map_is_no_mask_of_one_label(tmp_path: Path, values: list[list[int]]) -> None:
    with pytest.raises(ReadError, match=r"holds the values .*1, 2"):
        read_masks(write_png(tmp_path / "a", values), ["polyp"])


def test_a_jpeg_mask_is_cut_at_127(tmp_path: Path) -> None:
    corner = np.array([[255, 0, 0], [255, 0, 0]], dtype=np.uint8)
    Pillow.fromarray(np.kron(corner, np.ones((16, 16), np.uint8))).save(tmp_path / "a.jpg", quality=50)
    masks = read_masks(tmp_path / "a.jpg", ["a"])
    assert masks[0, 8::16, 8::16].tolist() == [[True, False, False], [True, False, False]]


def test_an_all_black_jpeg_mask_marks_nothing(tmp_path: Path) -> None:
    Pillow.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "a.jpg", quality=10)
    assert not read_masks(tmp_path / "a.jpg", ["a"]).any()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [((255, 128, 0), "a JPEG with areas of several levels"), ((1, 1, 0), "brightest value of this JPEG mask is [12],")],
)
def test_a_jpeg_of_a_label_map_is_refused(tmp_path: Path, values: tuple[int, ...], sentence: str) -> None:
    areas = np.kron(np.array([values], np.uint8), np.ones((16, 16), np.uint8))
    Pillow.fromarray(areas).save(tmp_path / "a.jpg", quality=90)
    with pytest.raises(ReadError, match=sentence):
        read_masks(tmp_path / "a.jpg", ["a"])


LEVELS = {
    "four classes": (0, 85, 170, 255),
    "disc and cup": (255, 128, 0),
    "few small numbers": (0, 1, 2, 200),
    "numbered instances": tuple(range(0, 250, 10)),
    "no background": (64, 255),
}


@pytest.mark.parametrize("levels", LEVELS.values(), ids=LEVELS)
def test_areas_of_several_levels_are_no_mask_of_one_label(tmp_path: Path, levels: tuple[int, ...]) -> None:
    areas = np.kron(np.array([levels], np.uint8), np.ones((6, 6), np.uint8))
    with pytest.raises(ReadError, match=rf"holds the values {min(levels)}, .*NAME=1,2"):
        read_masks(write_png(tmp_path / "a", areas), ["a"])
    chosen = read_values(tmp_path / "a", [[int(levels[0])], [int(v) for v in levels[1:]]])
    assert (chosen[0] == (areas == levels[0])).all()
    assert (chosen[1] == (areas != levels[0])).all()


@pytest.mark.parametrize("blur", [0.5, 2, 4])
def test_soft_edges_are_cut_at_their_half(tmp_path: Path, blur: float) -> None:
    rows, columns = np.mgrid[:80, :80]
    away = 25 - np.hypot(rows - 40, columns - 40)
    soft = 255 / (1 + np.exp(-away / blur))
    mask = read_masks(write_png(tmp_path / "a", soft.round().astype(np.uint8)), ["a"])[0]
    assert (mask == (soft.round() > 127)).all()


def test_a_png_that_was_a_jpeg_once_is_cut_as_the_jpeg_is(tmp_path: Path) -> None:
    disc = np.hypot(*np.mgrid[-40:40, -40:40]) < 25
    Pillow.fromarray(disc * np.uint8(255)).save(tmp_path / "a.jpg", quality=30)
    with Pillow.open(tmp_path / "a.jpg") as decoded:
        decoded.save(tmp_path / "a.png")
    masks = [read_masks(tmp_path / f"a.{ending}", ["a"])[0] for ending in ("png", "jpg")]
    assert (masks[0] == masks[1]).all()
    assert (masks[0] != disc).sum() < 20


def test_traces_of_almost_black_beside_a_large_mask_are_none_of_it(tmp_path: Path) -> None:
    values = np.zeros((40, 40), np.uint8)
    values[5:35, 5:35], values[1:3, 1:8] = 255, 11
    assert read_masks(write_png(tmp_path / "a", values), ["a"]).sum() == 900


def test_two_colours_are_two_classes_and_dark_ones_count(tmp_path: Path) -> None:
    def painted(*colours: tuple[int, int, int]) -> Path:
        return write_png(tmp_path / "a", np.kron(np.array([colours], np.uint8), np.ones((6, 6, 1), np.uint8)))

    with pytest.raises(ReadError, match=r"the colours \(128, 0, 0\), \(64, 0, 0\)"):
        read_masks(painted((0, 0, 0), (128, 0, 0), (64, 0, 0)), ["a"])
    with pytest.raises(ReadError, match=r"the colours"):
        read_masks(painted((255, 0, 0), (0, 255, 0)), ["a"])
    assert read_masks(painted((0, 0, 0), (64, 0, 0)), ["a"]).sum() == 36
    assert read_values(painted((0, 0, 0), (64, 0, 0), (0, 64, 0)), [[(0, 64, 0)]]).sum() == 36


def test_values_that_the_data_set_does_not_name_are_refused(tmp_path: Path) -> None:
    path = write_png(tmp_path / "a", [[0, 1, 2, 7]])
    assert read_values(path, [[1, 2]]).astype(int).tolist() == [[[0, 1, 1, 0]]]
    with pytest.raises(ReadError, match="holds 7, and the data set does not say"):
        read_values(path, [[1]], known=[0, 1, 2])


def test_a_nifti_mask_that_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    voxels, affine = np.arange(24.0).reshape(2, 3, 4), np.diag([-2.0, -2.0, 3.0, 1.0])
    affine[:3, 3] = 90, 100, -40
    nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "image.nii")
    image = read_image(tmp_path / "image.nii", frame=1)
    almost, shifted = affine + 1e-4, affine.copy()
    shifted[0, 3] += 2
    for name, other in (("same", affine), ("almost", almost)):
        nibabel.save(nibabel.Nifti1Image((voxels > 9).astype(np.uint8), other), tmp_path / f"{name}.nii")
        assert read_masks(tmp_path / f"{name}.nii", ["a"], like=image).any()
    for name, other in (("eye", np.eye(4)), ("shifted", shifted), ("none", None)):
        nibabel.save(nibabel.Nifti1Image((voxels > 9).astype(np.uint8), other), tmp_path / f"{name}.nii")
        sentence = (
            "The mask's affine is not that of its image" if name != "none" else "The mask, a NIfTI, does not say how"
        )
        with pytest.raises(ReadError, match=sentence):
            read_masks(tmp_path / f"{name}.nii", ["a"], like=image)
    unplaced = read_image(tmp_path / "none.nii", frame=1)
    with pytest.raises(ReadError, match="The image does not say how it lies in the patient, and its mask does"):
        read_masks(tmp_path / "same.nii", ["a"], like=unplaced)


def test_a_png_of_a_slice_does_not_say_how_it_lies(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.arange(27.0).reshape(3, 3, 3), np.eye(4)), tmp_path / "image.nii")
    path = write_png(tmp_path / "a", np.eye(3))
    with pytest.raises(ReadError, match=r"The mask, a PNG, does not say how it lies .* Save the mask as NIfTI with"):
        read_masks(path, ["a"], like=read_image(tmp_path / "image.nii", frame=1))


def test_a_sheared_slice_has_no_areas_and_says_so(tmp_path: Path) -> None:
    for shear, spacing in ((0.2, None), (1e-5, (0.5, 0.5))):
        affine = np.diag([0.5, 0.5, 2, 1])
        affine[0, 1] = shear
        nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 2)), affine), tmp_path / "a.nii")
        image = read_image(tmp_path / "a.nii")
        assert image.spacing_mm == (None if spacing is None else pytest.approx(spacing))
        assert ("its axes are sheared" in " ".join(image.notes)) is (spacing is None)


def test_a_float_mask_is_cut_at_a_half(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a", np.float32([[0, 0.4, 0.5, 0.6, 1]]))
    assert read_masks(tmp_path / "a", ["a"]).tolist() == [[[False, False, False, True, True]]]


def test_a_label_map_gives_one_mask_per_label(tmp_path: Path) -> None:
    masks = read_masks(write_png(tmp_path / "a", [[0, 1, 2, 2]]), ["heart", "lung", "bone"])
    assert masks.astype(int).tolist() == [[[0, 1, 0, 0]], [[0, 0, 1, 1]], [[0, 0, 0, 0]]]


def test_a_label_map_of_other_values_is_refused_with_the_values(tmp_path: Path) -> None:
    with pytest.raises(
        ReadError, match=r"holds the values 0, 128, 255. For 2 labels .* integers 0 \(background\) to 2"
    ):
        read_masks(write_png(tmp_path / "a", [[0, 128, 255]]), ["a", "b"])


def test_palette_masks_are_read_by_index(tmp_path: Path) -> None:
    image = Pillow.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    image.putpalette([255, 255, 255, 0, 0, 0, 0, 0, 0])
    image.save(tmp_path / "a.png")
    assert read_masks(tmp_path / "a.png", ["a", "b"]).astype(int).tolist() == [[[0, 1, 0]], [[0, 0, 1]]]


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_label_maps_of_few_bits_keep_their_numbers(tmp_path: Path, depth: int) -> None:
    header = (3).to_bytes(4, "big") + (1).to_bytes(4, "big") + bytes([depth, 0, 0, 0, 0])
    row = {1: 0b01000000, 2: 0b00011000, 4: 0b00000001}[depth]
    rows = bytes([0, row, 0x20]) if depth == 4 else bytes([0, row])
    (tmp_path / "a.png").write_bytes(png(header, rows))
    labels = ["a"] if depth == 1 else ["a", "b"]
    expected = [[[0, 1, 0]]] if depth == 1 else [[[0, 1, 0]], [[0, 0, 1]]]
    assert read_masks(tmp_path / "a.png", labels).astype(int).tolist() == expected


def png(header: bytes, rows: bytes) -> bytes:
    import zlib

    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    parts = (len(d).to_bytes(4, "big") + n + d + zlib.crc32(n + d).to_bytes(4, "big") for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_a_grey_mask_saved_as_rgb_is_grey(tmp_path: Path) -> None:
    path = write_png(tmp_path / "a", np.repeat(np.array([[[0], [1], [2]]]), 3, axis=2))
    assert read_masks(path, ["a", "b"]).astype(int).tolist() == [[[0, 1, 0]], [[0, 0, 1]]]


def test_a_coloured_mask_marks_any_bright_channel_of_one_label_only(tmp_path: Path) -> None:
    path = write_png(tmp_path / "a", np.array([[[0, 0, 0], [200, 0, 0], [100, 100, 90]]]))
    assert read_masks(path, ["a"]).tolist() == [[[False, True, False]]]
    with pytest.raises(ReadError, match=r"colour image\. For 2 labels"):
        read_masks(path, ["a", "b"])


def test_a_mask_of_several_channels_is_refused_unless_they_are_equal(tmp_path: Path) -> None:
    for name, last in (("equal", 1), ("other", 0)):
        volumes = np.ones((2, 2, 1, 4), np.uint8)
        volumes[..., 3] = last
        nibabel.save(nibabel.Nifti1Image(volumes, np.eye(4)), tmp_path / f"{name}.nii")
    assert read_masks(tmp_path / "equal.nii", ["a"]).all()
    with pytest.raises(ReadError, match="The mask has 4 channels"):
        read_masks(tmp_path / "other.nii", ["a"])


def test_a_mask_of_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    image = read_image(write_png(tmp_path / "a", np.zeros((30, 20))))
    with pytest.raises(ReadError, match=r"mask is 10 × 12 pixels \(width × height\), the image 20 × 30"):
        read_masks(write_png(tmp_path / "b", np.zeros((12, 10))), ["a"], like=image)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("tagged", [True, False])
def test_a_mask_on_the_stored_grid_is_turned_with_its_image(tmp_path: Path, orientation: int, tagged: bool) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    stored = Pillow.fromarray(np.ascontiguousarray(to_stored(CORNER, orientation)))
    stored.save(tmp_path / "image.png", exif=exif)
    stored.save(tmp_path / "mask.png", **({"exif": exif} if tagged else {}))
    masks = read_masks(tmp_path / "mask.png", ["a"], like=read_image(tmp_path / "image.png"))
    assert masks[0].tolist() == (CORNER > 127).tolist()


def test_an_upright_mask_of_a_turned_image_stays_upright(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    Pillow.fromarray(np.ascontiguousarray(to_stored(CORNER, 6))).save(tmp_path / "image.png", exif=exif)
    masks = read_masks(write_png(tmp_path / "mask.png", CORNER), ["a"], like=read_image(tmp_path / "image.png"))
    assert masks[0].tolist() == (CORNER > 127).tolist()


@pytest.mark.parametrize("labels", [[], "polyp"])
def test_masks_need_a_list_of_labels(tmp_path: Path, labels: list[str]) -> None:
    with pytest.raises(InputError, match="list of one or more labels"):
        read_masks(tmp_path / "a", labels)


# The pool


def test_a_missing_file_is_named_to_whoever_named_it(tmp_path: Path) -> None:
    for read in (read_image, lambda path: read_masks(path, ["a"])):
        with pytest.raises(ReadError, match=r"There is no file '\S+/nope\.png'\."):
            read(tmp_path / "nope.png")


def test_uploads_and_folders_are_refused_without_their_names(tmp_path: Path) -> None:
    for read, path, words in (
        (read_file, tmp_path / "SMITH", "does not exist"),
        (lambda path: read_mask_file(path, ["a"]), tmp_path / "SMITH", "does not exist"),
        (read_image, tmp_path, "holds no DICOM image among its 0 files"),
    ):
        with pytest.raises(ReadError, match=words) as caught:
            read(path)
        assert "SMITH" not in str(caught.value)
        assert str(tmp_path) not in str(caught.value)


def test_a_named_pipe_does_not_hang_the_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    with pytest.raises(ReadError, match="ordinary image file"):
        read_image(tmp_path / "a")


def test_workers_stay_warm_and_a_killed_one_is_replaced(tmp_path: Path) -> None:
    path = write_png(tmp_path / "a", CORNER)
    read_image(path)
    worker = pool._idle[-1]
    os.kill(worker.process.pid, signal.SIGINT)  # of a terminal, which is for all of its processes
    read_image(path)
    assert pool._idle[-1] is worker
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.wait()
    assert read_image(path).size == CORNER.shape
    assert pool._idle[-1] is not worker


def test_a_worker_that_somebody_kills_in_mid_request_costs_no_image(tmp_path: Path) -> None:
    path = write_png(tmp_path / "a", CORNER)
    read_image(path)
    worker = pool._idle[-1].process
    worker.send_signal(signal.SIGSTOP)
    threading.Timer(0.2, worker.kill).start()
    assert read_image(path).size == CORNER.shape


def test_a_worker_that_stalls_is_killed_and_the_next_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_png(tmp_path / "a", CORNER)
    read_image(path)
    os.kill(pool._idle[-1].process.pid, signal.SIGSTOP)
    with monkeypatch.context() as patch:
        patch.setattr("medseg.reading.workers.WALL_SECONDS", 0.2)
        with pytest.raises(ReadError, match="takes too long"):
            read_image(path)
    assert read_image(path).size == CORNER.shape


def test_a_worker_is_replaced_after_its_share_of_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_png(tmp_path / "a", CORNER)
    read_image(path)
    worker = pool._idle[-1]
    monkeypatch.setattr("medseg.reading.workers._REQUESTS_PER_WORKER", worker.answered + 1)
    read_image(path)
    assert worker.process.returncode is not None
    assert worker not in pool._all


def test_many_threads_get_their_own_images(tmp_path: Path) -> None:
    paths = [write_png(tmp_path / str(i), np.full((3 + i, 4), i)) for i in range(6)]
    wrong: list[int] = []

    def read(i: int) -> None:
        for _ in range(5):
            image = read_image(paths[i])
            if image.size != (3 + i, 4) or not (image.pixels == np.float32(i / 255)).all():
                wrong.append(i)

    threads = [threading.Thread(target=read, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(pool._all) <= 2


def test_a_forked_child_reads_with_workers_of_its_own(tmp_path: Path) -> None:
    script = f"""
import os
from medseg.reading.readers import read_image
from medseg.reading.workers import pool as _pool
read_image({str(write_png(tmp_path / "a", CORNER))!r})
before = [worker.process.pid for worker in _pool._all]
child = os.fork()
if child == 0:
    read_image({str(tmp_path / "a")!r})
    after = [worker.process.pid for worker in _pool._all]
    os._exit(bool(set(before) & set(after)) or len(after) != 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
read_image({str(tmp_path / "a")!r})
assert [worker.process.pid for worker in _pool._all] == before
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    write_png(tmp_path / "a", CORNER)
    script = f"""
import os, signal
from medseg.reading.readers import read_image
from medseg.reading.workers import pool as _pool
read_image({str(tmp_path / "a")!r})
print(next(iter(_pool._all)).process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert has_ended(int(done.stdout))


def has_ended(pid: int) -> bool:
    """Whether the process is gone, or a zombie that its adoptive parent has yet to collect, within ten seconds."""
    import time

    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_reading_works_from_another_folder_and_with_a_misleading_module_in_it(tmp_path: Path) -> None:
    write_png(tmp_path / "a", CORNER)
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    script = f"import sys; sys.path[0] = {str(ROOT)!r}\n"
    script += "from medseg.reading.readers import read_image; print(read_image('a').size)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("(2, 3)\n", "")


def test_an_open_image_object_is_no_path() -> None:
    with pytest.raises(TypeError):
        read_image(io.BytesIO(b""))  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", [{"window": (1,)}, {"window": ("a", "b")}, {"window": (1, 0)}, {"frame": 1.5}])
def test_wrong_arguments_are_not_blamed_on_the_file(tmp_path: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"A (frame|window) is "):
        read_image(tmp_path / "absent.png", **arguments)
