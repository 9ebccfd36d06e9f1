"""One image in two encodings is one image: bit places, signs, byte orders, planes, polarity, containers."""

from __future__ import annotations

import io
from pathlib import Path

import imagecodecs
import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image as Pillow
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
    SegmentationStorage,
)

from medseg.errors import ReadError
from medseg.reading.decode import count_frames, decode
from medseg.reading.readers import read_image, read_masks
from tests.reading.test_decode import GREY, RGB, saved, tiff
from tests.reading.test_readers import RAMP, item, levels, lut, write_dicom

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, which the worker ignores too

STORED = np.arange(12, dtype=np.uint16).reshape(3, 4)


def dicom(stored: np.ndarray, syntax: UID = ExplicitVRLittleEndian, pixels: bytes = b"", **attributes: object) -> bytes:
    """A grey or, of shape (H, W, 3), a colour DICOM of `stored` words in another transfer syntax."""
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    plain = {"Rows": stored.shape[0], "Columns": stored.shape[1], **(colour if stored.ndim == 3 else {})}
    path = io.BytesIO()
    dataset = base(stored, {**plain, **attributes})
    dataset.file_meta.TransferSyntaxUID = syntax
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    raw = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    dataset.PixelData = pixels or raw + b"\0" * (len(raw) % 2)
    dataset["PixelData"].VR = "OB" if pixels else "OW"
    if order == ">" and stored.itemsize == 1:  # OW: bytes lie in words
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    implicit, little = syntax == ImplicitVRLittleEndian, order == "<"
    dataset.save_as(path, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    return path.getvalue()


def base(stored: np.ndarray, attributes: dict[str, object]) -> Dataset:
    file = io.BytesIO()
    write_dicom(file, np.zeros((1, 1), stored.dtype), **attributes)  # type: ignore[arg-type]
    file.seek(0)
    dataset = Dataset()
    for element in pydicom.dcmread(file):  # new, because pydicom writes what it has read in its own byte order only
        dataset.add_new(element.tag, element.VR, element.value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


# DICOM


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize(("bits", "high_bit"), [(14, 15), (12, 15), (12, 13), (12, 11), (10, 12), (8, 11), (16, 15)])
def test_samples_lie_where_high_bit_says(syntax: UID, signed: int, bits: int, high_bit: int) -> None:
    values = np.array([[0, 1, 2, 3], [77, 2 ** (bits - 1) - 1, 2 ** (bits - 1), 2**bits - 1]], np.uint32)
    spare = high_bit + 1 - bits
    around = np.uint32(0xFFFF) & ~np.uint32((2**bits - 1) << spare)  # what lies outside is no part of the sample
    words = (values << spare | around).astype(np.uint16)
    declared = {"BitsStored": bits, "HighBit": high_bit, "PixelRepresentation": signed}
    wanted = values.astype(np.int64) - (values >= 2 ** (bits - 1)) * signed * 2**bits
    assert decode(dicom(words, syntax, **declared)).pixels.tolist() == wanted.tolist()


@pytest.mark.parametrize("shift", [0, 2])
def test_deflated_and_rle_twins_keep_their_bit_places(shift: int) -> None:
    words = (STORED << shift).astype(np.uint16)
    declared = {"BitsStored": 14, "HighBit": 13 + shift}
    deflated = dicom(words, DeflatedExplicitVRLittleEndian, **declared)
    rle = pydicom.dcmread(io.BytesIO(dicom(words, **declared)))
    rle.compress(RLELossless, encoding_plugin="pydicom")
    file = io.BytesIO()
    rle.save_as(file)
    for data in (deflated, file.getvalue()):
        assert decode(data).pixels.tolist() == STORED.tolist()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colour_by_pixel_and_by_plane_are_the_same(syntax: UID, dtype: type) -> None:
    colours = np.arange(36, dtype=dtype).reshape(3, 4, 3)
    by_pixel = dicom(colours, syntax)
    planes = np.ascontiguousarray(np.moveaxis(colours, -1, 0)).reshape(3, 4, 3)  # same bytes, another meaning
    by_plane = dicom(planes, syntax, PlanarConfiguration=1)
    assert decode(by_pixel).pixels.tolist() == colours.tolist()
    assert decode(by_plane).pixels.tolist() == colours.tolist()


@pytest.mark.parametrize("kind", ["JFIF", "nothing", "Adobe"])
def test_a_jpegs_own_segment_outranks_the_photometric_interpretation(kind: str) -> None:
    colours = np.kron(np.array([[[200, 0, 0], [30, 160, 60]]], np.uint8), np.ones((16, 16, 1), np.uint8))
    stream = saved(colours, "jpeg", quality=95, subsampling=0)  # JFIF, YCbCr
    if kind == "nothing":
        stream = imagecodecs.jpeg8_encode(colours, colorspace="RGB", outcolorspace="RGB", level=95)
        at = stream.index(b"\xff\xee")
        stream = stream[:at] + stream[at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big") :]
    elif kind == "Adobe":  # transform 1, YCbCr, without JFIF
        adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\1"
        stream = stream[:2] + adobe + stream[20:]
    data = dicom(colours, JPEGBaseline8Bit, encapsulate([stream]))
    found = decode(data).pixels.astype(int)
    assert np.abs(found - colours)[[8, 8], [8, 24]].max() < 12


def test_a_lossless_jpeg_is_never_transformed() -> None:
    stream = imagecodecs.jpeg8_encode(RGB, lossless=True, predictor=1, colorspace="RGB", outcolorspace="RGB")
    jfif = stream[:2] + b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0" + stream[2:]
    for each in (stream, jfif):
        assert decode(dicom(RGB, JPEGLosslessSV1, encapsulate([each]))).pixels.tolist() == RGB.tolist()


@pytest.mark.parametrize("excess", [b"\0" * 500, b"\x17\x2a"])
def test_padding_behind_the_last_pixel_is_left_out_and_said(excess: bytes) -> None:
    data = dicom(STORED, pixels=STORED.tobytes() + excess)
    stored = decode(data)
    assert stored.pixels.tolist() == STORED.tolist()
    assert f"The {len(excess)} bytes behind the last pixel are padding and left out." in stored.notes


@pytest.mark.parametrize("count", [0, ""])
def test_frames_that_the_file_does_not_count_are_those_that_it_holds(tmp_path: Path, count: object) -> None:
    path = write_dicom(tmp_path / "a", RAMP, NumberOfFrames=count)
    assert levels(path) == [[0, 0.2, 0.4], [0.6, 0.8, 1]]
    assert "does not count its frames" in " ".join(read_image(path).notes)
    two = write_dicom(tmp_path / "b", np.stack([RAMP, RAMP + 1]), NumberOfFrames=count)
    assert decode(two.read_bytes(), 1).pixels.tolist() == (RAMP + 1).tolist()


def test_one_bit_frames_run_on_across_bytes() -> None:
    frames = np.random.default_rng(0).integers(0, 2, (3, 5, 3), dtype=np.uint8)
    packed = np.packbits(frames.ravel(), bitorder="little").tobytes()
    one_bit = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "NumberOfFrames": 3}
    data = dicom(frames[0], pixels=packed + b"\0" * (len(packed) % 2), **one_bit)
    assert count_frames(data) == 3
    for index, frame in enumerate(frames):
        assert decode(data, index).pixels.tolist() == frame.tolist()


def test_a_segmentation_is_read_and_called_one() -> None:
    stored = decode(dicom(STORED, SOPClassUID=SegmentationStorage))
    assert "This DICOM is a segmentation" in stored.notes[0]


def test_a_look_up_table_narrower_than_it_declares_ends_at_white(tmp_path: Path) -> None:
    table = lut(0, [0, 819, 1638, 2457, 3276, 4095], 16)
    path = write_dicom(tmp_path / "a", RAMP, VOILUTSequence=table)
    assert read_image(path).pixels.ravel() == pytest.approx(np.arange(6) / 5)
    assert "declares 16 bits and holds 12" in " ".join(read_image(path).notes)


def test_a_look_up_table_that_begins_below_zero_is_read_signed(tmp_path: Path) -> None:
    table = lut(65536 - 3, [0, 51, 102, 153, 204, 255], 8)
    path = write_dicom(tmp_path / "a", RAMP, RescaleSlope=1, RescaleIntercept=-3, VOILUTSequence=table)
    assert levels(path) == [[0, 0.2, 0.4], [0.6, 0.8, 1]]
    high = write_dicom(
        tmp_path / "b", RAMP + np.uint16(40000), VOILUTSequence=lut(40000, [0, 51, 102, 153, 204, 255], 8)
    )
    assert levels(high) == levels(path)


@pytest.mark.parametrize(("dtype", "values", "padding"), [(np.int16, -2000, 63536), (np.uint16, 63536, -2000)])
def test_padding_written_with_the_other_sign_is_padding(tmp_path: Path, dtype: type, values: int, padding: int) -> None:
    stored = np.array([[values, 0], [10, 5]], dtype=dtype)
    path = write_dicom(tmp_path / "a", stored)
    dataset = pydicom.dcmread(path)
    dataset.add_new("PixelPaddingValue", "US" if padding > 0 else "SS", padding)
    dataset.save_as(path)
    assert read_image(path).pixels.ravel().tolist() == [0, 0, 1, 0.5]


@pytest.mark.parametrize("spacing", [1e200, 1e-9, 2e4])
def test_a_spacing_that_no_scanner_has_is_none_and_said(tmp_path: Path, spacing: float) -> None:
    image = read_image(write_dicom(tmp_path / "a", RAMP, PixelSpacing=[spacing, 1]))
    assert image.spacing_mm is None
    assert "spacing makes no sense" in " ".join(image.notes)


def test_a_16_bit_palette_of_8_bit_colours_is_not_dark() -> None:
    colours = {
        f"{name}PaletteColorLookupTable{part}": value
        for name, top in (("Red", 255), ("Green", 128), ("Blue", 0))
        for part, value in (("Descriptor", [4, 0, 16]), ("Data", np.array([0, 1, 2, top], "<u2").tobytes()))
    }
    data = dicom(np.array([[0, 3]], np.uint8), PhotometricInterpretation="PALETTE COLOR", **colours)
    stored = decode(data)
    assert (stored.pixels[0, 1].tolist(), stored.white) == ([255, 128, 0], 255.0)


# NIfTI


@pytest.mark.parametrize("dtype", ["<i2", ">i2", ">f4", "<f8", ">u2"])
def test_a_nifti_of_either_byte_order_and_scale_is_the_same(dtype: str) -> None:
    volume = np.arange(24).reshape(2, 3, 4)
    header = nibabel.Nifti1Header(endianness=dtype[0])
    header.set_data_shape(volume.shape)
    header.set_data_dtype(np.dtype(dtype))
    header["sform_code"] = 1
    header["srow_x"], header["srow_y"], header["srow_z"] = [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 1, 0]
    header["vox_offset"], header["magic"] = 352, b"n+1"
    header["scl_slope"], header["scl_inter"] = 0.5, 10
    data = header.binaryblock + bytes(4) + volume.astype(dtype).tobytes(order="F")
    assert decode(data, 1).pixels.tolist() == (volume[:, :, 1].T * 0.5 + 10).tolist()


def test_a_nifti_a_little_short_is_read_and_says_so() -> None:
    data = bytes(nibabel.Nifti1Image(np.ones((5, 5, 20), np.int16), np.diag([-1, -1, 1, 1])).to_bytes())
    stored = decode(data[:-4], 19)
    assert stored.pixels.ravel().tolist() == [1] * 23 + [0, 0]
    assert "The file ends 2 voxels early: they are taken as 0." in stored.notes
    with pytest.raises(ReadError, match="Copy or export it again"):
        decode(data[:-30])


# TIFF


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int16, np.float32])
def test_a_tiff_that_stores_white_as_0_shows_the_same(tmp_path: Path, dtype: type) -> None:
    values = np.array([[0, 1, 2, 4]], dtype) * dtype(50)
    turned = (np.iinfo(dtype).max if dtype in (np.uint8, np.uint16) else values.max()) - values
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    tifffile.imwrite(tmp_path / "b.tif", turned.astype(dtype), photometric="miniswhite")
    assert read_image(tmp_path / "a.tif").pixels == pytest.approx(read_image(tmp_path / "b.tif").pixels)


def test_imagejs_inverting_display_shows_an_image_inverted_and_marks_what_imagej_marks(tmp_path: Path) -> None:
    marked = np.array([[0, 0, 0, 255]], np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", marked, photometric="miniswhite", description="ImageJ=1.53t\n", metadata=None)
    assert read_image(tmp_path / "a.tif").pixels.ravel().tolist() == [1, 1, 1, 0]
    assert read_masks(tmp_path / "a.tif", ["cell"]).ravel().tolist() == [False, False, False, True]


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_palette_of_every_width_shows_its_colours(tmp_path: Path, bits: int) -> None:
    colours = np.zeros((3, 2**bits), np.uint16)
    colours[:, -1] = [65535, 32896, 0]
    indices = np.array([[0, 2**bits - 1]], np.uint16 if bits == 16 else np.uint8)
    packed = np.packbits(np.unpackbits(indices.astype(np.uint8)[..., None], axis=-1)[..., -bits:].ravel()).tobytes()
    path = tmp_path / "a.tif"
    path.write_bytes(palette_tiff(2, bits, packed if bits < 16 else indices.astype("<u2").tobytes(), colours))
    assert read_image(path).pixels[0] == pytest.approx(np.array([[0, 0, 0], [1, 128 / 255, 0]]), abs=1e-6)


def test_a_palette_of_8_bit_colours_is_not_black() -> None:
    colours = np.array([[0, 255], [0, 128], [0, 1]], np.uint16)
    stored = decode(palette_tiff(2, 1, b"\x40", colours))
    assert stored.palette == [[0, 0, 0], [255, 128, 1]]


def test_a_palette_that_is_too_short_is_refused() -> None:
    with pytest.raises(ReadError, match="has 2 colours and points to others"):
        decode(palette_tiff(2, 8, b"\0\7", np.zeros((3, 2), np.uint16)))


def test_a_palette_in_words_of_32_bits_stays_within_0_and_1() -> None:
    stored = decode(palette_tiff(2, 8, b"\0\1", np.full((3, 256), 2**31, np.uint32)))
    assert stored.palette is not None
    assert np.asarray(stored.palette).max() == 128


def palette_tiff(width: int, bits: int, pixels: bytes, colours: np.ndarray) -> bytes:
    """A little-endian TIFF of one row, by hand: writers refuse odd palettes."""
    tags = [(256, 3, 1, width), (257, 3, 1, 1), (258, 3, 1, bits), (259, 3, 1, 1), (262, 3, 1, 3), (277, 3, 1, 1)]
    start = 8 + 2 + 12 * 9 + 4
    tags += [(273, 4, 1, start), (279, 4, 1, len(pixels))]
    tags += [(320, 3 if colours.itemsize == 2 else 4, colours.size, start + len(pixels) + len(pixels) % 2)]
    entries = b"".join(
        tag.to_bytes(2, "little")
        + kind.to_bytes(2, "little")
        + count.to_bytes(4, "little")
        + value.to_bytes(4, "little")
        for tag, kind, count, value in sorted(tags)
    )
    directory = len(tags).to_bytes(2, "little") + entries + bytes(4)
    table = colours.astype(f"<u{colours.itemsize}").tobytes()
    return b"II*\0\x08\0\0\0" + directory + pixels + b"\0" * (len(pixels) % 2) + table


# PNG and the other raster files


@pytest.mark.parametrize("kind", ["png", "bmp", "gif", "webp", "tiff", "jp2"])
@pytest.mark.parametrize("array", [GREY, RGB], ids=["grey", "rgb"])
def test_one_image_in_every_lossless_file_is_the_same(tmp_path: Path, kind: str, array: np.ndarray) -> None:
    if kind == "jp2":
        data = imagecodecs.jpeg2k_encode(array, codecformat="jp2", reversible=True, level=0)
    elif kind == "gif" and array.ndim == 3:
        file = io.BytesIO()
        Pillow.fromarray(array).quantize(256, method=Pillow.Quantize.FASTOCTREE, dither=Pillow.Dither.NONE)
        colours, indices = np.unique(array.reshape(-1, 3), axis=0, return_inverse=True)
        image = Pillow.fromarray(indices.reshape(array.shape[:2]).astype(np.uint8), "P")
        image.putpalette(colours.astype(np.uint8).tobytes())
        image.save(file, "gif")
        data = file.getvalue()
    else:
        data = saved(array, kind, **({"lossless": True} if kind == "webp" else {}))
    (tmp_path / "a").write_bytes(data)
    found = read_image(tmp_path / "a").pixels
    wanted = array if array.ndim == 3 else array[..., None]
    assert np.broadcast_to(found, (*array.shape[:2], max(found.shape[2], wanted.shape[2]))) == pytest.approx(
        np.broadcast_to(wanted / 255, (*array.shape[:2], max(found.shape[2], wanted.shape[2])))
    )


def test_a_mask_is_read_from_every_lossless_file(tmp_path: Path) -> None:
    marked = np.array([[0, 255, 0], [255, 255, 0]], np.uint8)
    files = {kind: saved(marked, kind) for kind in ("png", "bmp", "gif", "tiff")}
    files["webp"] = saved(marked, "webp", lossless=True)
    files["jp2"] = imagecodecs.jpeg2k_encode(marked, codecformat="jp2", reversible=True, level=0)
    for kind, data in files.items():
        (tmp_path / "a").write_bytes(data)
        assert read_masks(tmp_path / "a", ["a"])[0].tolist() == (marked > 0).tolist(), kind


def test_lossy_files_are_known_as_such() -> None:
    grey = np.kron(GREY, np.ones((8, 8), np.uint8))
    assert decode(saved(grey, "webp", quality=50)).lossy
    assert not decode(saved(grey, "webp", lossless=True)).lossy
    assert decode(imagecodecs.jpeg2k_encode(grey, level=30, reversible=False)).lossy
    assert not decode(imagecodecs.jpeg2k_encode(grey, level=0, reversible=True)).lossy


def test_the_frames_of_a_gif_and_a_webp_are_counted_and_chosen() -> None:
    for kind in ("gif", "webp"):
        file = io.BytesIO()
        first, second = (Pillow.fromarray(np.kron(values, np.ones((8, 8), np.uint8))) for values in (GREY, 255 - GREY))
        first.save(file, kind, save_all=True, append_images=[second], lossless=True)
        assert count_frames(file.getvalue()) == 2
        assert decode(file.getvalue(), 0).pixels.ravel()[0] != decode(file.getvalue(), 1).pixels.ravel()[0]


@pytest.mark.parametrize("colour", [0, 255])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_where_the_colours_say_nothing_the_alpha_channel_is_the_image(tmp_path: Path, colour: int, mode: str) -> None:
    alpha = np.array([[0, 255, 0]], np.uint8)
    bands = [np.full_like(alpha, colour)] * (len(mode) - 1) + [alpha]
    for kind in ("png", "tiff", "webp"):
        if kind != "webp" or mode == "RGBA":
            Pillow.fromarray(np.stack(bands, axis=-1), mode).save(
                tmp_path / "a", kind, **({"lossless": True, "exact": True} if kind == "webp" else {})
            )
            assert read_masks(tmp_path / "a", ["a"]).ravel().tolist() == [False, True, False], kind
            assert "transparency is read as the image" in read_image(tmp_path / "a").notes[0]


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_a_mask_that_is_cut_out_whole_is_empty_and_one_colour_without_a_cut_is_not(tmp_path: Path, mode: str) -> None:
    for level, share in ((0, 0), (255, 1)):
        pixels = np.full((2, 3, len(mode)), 255, np.uint8)
        pixels[..., -1] = level
        Pillow.fromarray(pixels, mode).save(tmp_path / "a", "png")
        assert read_masks(tmp_path / "a", ["a"]).mean() == share


def test_colours_under_transparent_pixels_are_kept_and_said(tmp_path: Path) -> None:
    Pillow.fromarray(np.array([[[9, 8, 7, 0], [1, 2, 3, 255]]], np.uint8), "RGBA").save(tmp_path / "a", "png")
    image = read_image(tmp_path / "a")
    assert image.pixels.ravel() == pytest.approx(np.array([9, 8, 7, 1, 2, 3]) / 255)
    assert "transparent pixels" in image.notes[0]


# One depth


@pytest.mark.parametrize("largest", [1023, 4095, 65535])
def test_a_grey_level_is_the_same_whatever_else_the_image_holds(tmp_path: Path, largest: int) -> None:
    for kind in ("png", "tiff"):
        Pillow.fromarray(np.array([[400, largest]], np.uint16)).save(tmp_path / "a", kind)
        image = read_image(tmp_path / "a")
        assert image.pixels[0, 0, 0] == np.float32(400) / np.float32(65535)
        assert bool(image.notes) == (largest < 2**14)


def test_a_dark_16_bit_image_takes_the_window_that_its_note_names(tmp_path: Path) -> None:
    Pillow.fromarray(np.array([[0, 4095]], np.uint16)).save(tmp_path / "a.png")
    assert (
        "end at 4095: it is dark. If 12 bits are meant, give the window (2047.5, 4095)"
        in read_image(tmp_path / "a.png").notes[0]
    )
    image = read_image(tmp_path / "a.png", window=(2047.5, 4095))
    assert (image.pixels.ravel().tolist(), image.extent) == ([0, 1], (0, 4095))


def test_the_bits_that_the_file_names_are_its_depth(tmp_path: Path) -> None:
    values = np.array([[0, 1001, 4095]], np.uint16)
    (tmp_path / "jp2").write_bytes(imagecodecs.jpeg2k_encode(values, bitspersample=12, reversible=True, level=0))
    (tmp_path / "plain").write_bytes(with_significant_bits(imagecodecs.png_encode(values), 12))
    (tmp_path / "scaled").write_bytes(with_significant_bits(imagecodecs.png_encode(values << 4 | values >> 8), 12))
    for name in ("jp2", "plain", "scaled"):
        assert read_image(tmp_path / name).pixels.ravel() == pytest.approx(values.ravel() / 4095, abs=2e-5), name


def with_significant_bits(png: bytes, bits: int) -> bytes:
    import zlib

    body = b"sBIT" + bytes([bits])
    return png[:33] + b"\0\0\0\1" + body + zlib.crc32(body).to_bytes(4, "big") + png[33:]


# One window


def test_a_volume_is_stretched_as_one(tmp_path: Path) -> None:
    volume = np.zeros((2, 2, 3), np.int16)
    volume[0, 0] = [5, 10, 20]
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([-1, -1, 1, 1])), tmp_path / "a.nii.gz")
    brightest = [read_image(tmp_path / "a.nii.gz", frame=index).pixels.max() for index in range(3)]
    assert brightest == [0.25, 0.5, 1]
    assert read_image(tmp_path / "a.nii.gz").frame == 1
    assert read_image(tmp_path / "a.nii.gz", frame=0).extent == (0, 20)


def test_the_pages_of_a_float_tiff_and_the_frames_of_a_dicom_are_stretched_as_one(tmp_path: Path) -> None:
    pages = np.array([[[0, 5]], [[0, 20]]], np.float32)
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    write_dicom(tmp_path / "a.dcm", pages.astype(np.uint16))
    for name in ("a.tif", "a.dcm"):
        assert read_image(tmp_path / name, frame=0).pixels.ravel().tolist() == [0, 0.25]
        assert read_image(tmp_path / name, frame=1).pixels.ravel().tolist() == [0, 1]


def test_frames_at_several_places_open_in_the_middle_and_a_cine_at_its_start(tmp_path: Path) -> None:
    places = [item(PlanePositionSequence=item(ImagePositionPatient=[0, 0, z]))[0] for z in range(3)]
    volume = write_dicom(tmp_path / "a", np.stack([RAMP] * 3), PerFrameFunctionalGroupsSequence=places)
    cine = write_dicom(tmp_path / "b", np.stack([RAMP] * 3))
    assert (read_image(volume).frame, read_image(cine).frame) == (1, 0)


def test_gaps_in_a_float_image_are_black_and_counted(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a", np.float32([[0.25, np.nan, 0.5]]))
    image = read_image(tmp_path / "a")
    assert image.pixels.ravel().tolist() == [0.25, 0, 0.5]
    assert image.notes == ("1 values are no finite numbers (NaN or infinite) and are shown black.",)


def test_more_than_512_slices_are_read(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.ones((2, 2, 700), np.uint8), np.eye(4)), tmp_path / "a.nii.gz")
    assert read_image(tmp_path / "a.nii.gz", frame=699).frames == 700
    assert decode(tiff(np.zeros((600, 2, 2), np.uint8), photometric="minisblack"), 599).frame == 599
