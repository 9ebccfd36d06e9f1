"""Bytes → stored pixels: every kind of file opens as it is stored, and everything else ends in one sentence."""

import gzip
import io
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import imagecodecs
import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image as Pillow
from pydicom.data import get_testdata_file, get_testdata_files
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi_lut, pixel_array
from pydicom.uid import UID, HTJ2KLossless, JPEGLosslessSV1, JPEGLSLossless

from medseg.errors import ReadError
from medseg.image import Image
from medseg.reading.decode import count_frames, decode
from medseg.reading.grey import to_grey
from medseg.reading.readers import read_image
from medseg.reading.stored import MAX_BYTES, MAX_CHANNELS, from_header, to_header
from medseg.reading.workers import pool
from tests.conftest import ROOT

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, which the worker ignores too

CORPUS = ROOT.parent / "shared" / "corpus" / "hostile-dicom"
GREY = np.array([[0, 10, 20], [30, 40, 255]], dtype=np.uint8)
RGB = np.stack([GREY, GREY + 1, GREY // 2], axis=-1)
ALPHA = np.full((2, 3, 1), 7, np.uint8)
SENTENCE = re.compile(r"[A-Z][^\n]{20,600}\.")


def saved(array: np.ndarray, kind: str, **settings: object) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(array).save(file, kind, **settings)
    return file.getvalue()


def tiff(array: np.ndarray, **settings: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **settings)  # type: ignore[arg-type]
    return file.getvalue()


def shipped(name: str) -> Path:
    """A file that pydicom or pydicom-data ships; the test is skipped where it is not installed."""
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"pydicom-data, which holds {name}, is not installed")
    return Path(str(path))


def changed(name: str, **attributes: object) -> bytes:
    """A shipped DICOM with `attributes` replaced, and pixels with its transfer syntax where they name one."""
    dataset = pydicom.dcmread(shipped(name))
    dataset.file_meta.TransferSyntaxUID = attributes.pop("syntax", dataset.file_meta.TransferSyntaxUID)
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


# Images


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize(
    ("array", "stored"),
    [
        (GREY, GREY),
        (RGB, RGB),
        (np.concatenate([RGB, ALPHA], axis=-1), RGB),
        (np.concatenate([GREY[..., None], ALPHA], axis=-1), GREY),
        (GREY.astype(np.uint16) * 257, GREY.astype(np.uint16) * 257),
        (GREY > 9, (GREY > 9).astype(np.uint8)),
    ],
    ids=["grey", "rgb", "rgba", "grey-alpha", "16-bit", "1-bit"],
)
def test_lossless_images_come_back_as_stored_without_alpha(kind: str, array: np.ndarray, stored: np.ndarray) -> None:
    found = decode(saved(array, kind)).pixels
    assert found.astype(int).tolist() == stored.astype(int).tolist()


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint32, np.int32, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("array", [GREY, RGB], ids=["grey", "rgb"])
@pytest.mark.parametrize("settings", [{}, {"byteorder": ">", "compression": "zlib"}, {"tile": (16, 16)}])
def test_tiffs_of_every_type_come_back_as_stored(dtype: type, array: np.ndarray, settings: dict[str, object]) -> None:
    photometric = "rgb" if array.ndim == 3 else "minisblack"
    found = decode(tiff(array.astype(dtype), photometric=photometric, **settings)).pixels
    assert found.dtype.newbyteorder("=") == dtype
    assert (found == array.astype(dtype)).all()


def test_16_bit_rgb_pngs_keep_their_16_bits() -> None:
    stored = RGB.astype(np.uint16) * 256 + 3
    assert (decode(imagecodecs.png_encode(stored)).pixels == stored).all()


def test_planar_tiffs_come_back_with_colours_last() -> None:
    data = tiff(np.moveaxis(RGB, -1, 0), photometric="rgb", planarconfig="separate")
    assert (decode(data).pixels == RGB).all()


@pytest.mark.parametrize(
    ("samples", "settings", "kept"),
    [
        (2, {"photometric": "minisblack"}, [0, 1]),
        (5, {"photometric": "minisblack"}, [0, 1, 2, 3, 4]),
        (5, {"photometric": "rgb", "extrasamples": [2, 0]}, [0, 1, 2, 4]),
        (4, {"photometric": "rgb", "extrasamples": [0]}, [0, 1, 2, 3]),
        (4, {"photometric": "rgb", "extrasamples": [1]}, [0, 1, 2]),
    ],
    ids=["two", "five", "rgb, alpha, one more", "rgb and infrared", "rgb and alpha"],
)
def test_the_samples_of_a_tiff_are_its_channels_but_for_alpha(
    samples: int, settings: dict[str, object], kept: list[int]
) -> None:
    stored = np.arange(3 * 4 * samples, dtype=np.uint16).reshape(3, 4, samples)
    found = decode(tiff(stored, planarconfig="contig", **settings))
    assert found.pixels.tolist() == stored[..., kept].tolist()
    assert found.frames == 1


def test_a_tiff_of_more_samples_than_a_model_takes_channels_is_refused() -> None:
    with pytest.raises(ReadError, match="holds 65 values at every place"):
        decode(tiff(np.zeros((3, 4, 65), np.uint8), photometric="minisblack", planarconfig="contig"))


def test_tiffs_that_store_white_as_0_come_back_with_white_high() -> None:
    assert (decode(tiff(GREY, photometric="miniswhite")).pixels == 255 - GREY).all()


def test_palettes_come_back_as_indices_and_colours() -> None:
    image = Pillow.fromarray(GREY % 3, "P")
    image.putpalette([1, 2, 3, 4, 5, 6, 7, 8, 9])
    for kind in ("png", "tiff"):
        file = io.BytesIO()
        image.save(file, kind)
        stored = decode(file.getvalue())
        assert (stored.pixels == GREY % 3).all()
        assert stored.palette is not None
        assert stored.palette[:3] == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


@pytest.mark.parametrize("kind", ["jpeg", "tiff"])
def test_cmyk_comes_back_as_rgb(kind: str) -> None:
    ink = Pillow.new("CMYK", (16, 16), (0, 255, 255, 0))
    file = io.BytesIO()
    ink.save(file, kind)
    assert decode(file.getvalue()).pixels[8, 8].tolist() == pytest.approx([255, 0, 0], abs=3)


def test_pages_and_animation_frames_are_counted_and_chosen() -> None:
    pages = tiff(np.stack([GREY, GREY + 1]), photometric="minisblack")
    file = io.BytesIO()
    Pillow.fromarray(RGB).save(file, "png", save_all=True, append_images=[Pillow.fromarray(255 - RGB)])
    for data, first in ((pages, GREY), (file.getvalue(), RGB)):
        assert count_frames(data) == 2
        assert (decode(data, 0).pixels == first).all()
        assert not (decode(data, 1).pixels == first).all()


# DICOM


@pytest.mark.parametrize(
    ("compressed", "plain"),
    [
        *(("RG1_J2KR.dcm", "RG1_UNCR.dcm"), ("MR2_J2KR.dcm", "MR2_UNCR.dcm"), ("US1_J2KR.dcm", "US1_UNCR.dcm")),
        *(("693_J2KR.dcm", "693_UNCR.dcm"), ("JPEG2000.dcm", "JPEG2000_UNC.dcm")),
        *(("MR_small_RLE.dcm", "MR_small.dcm"), ("MR_small_jp2klossless.dcm", "MR_small.dcm")),
        *(("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"), ("MR_small_bigendian.dcm", "MR_small.dcm")),
        *(("MR_small_implicit.dcm", "MR_small.dcm"), ("emri_small_RLE.dcm", "emri_small.dcm")),
        *(("emri_small_jpeg_ls_lossless.dcm", "emri_small.dcm"), ("SC_rgb_rle_32bit.dcm", "SC_rgb_32bit.dcm")),
        *(("SC_rgb_jpeg_gdcm.dcm", "SC_rgb.dcm"), ("OBXXXX1A_rle.dcm", "OBXXXX1A.dcm")),
        *(("color-pl.dcm", "color-px.dcm"), ("liver_expb_1frame.dcm", "liver_1frame.dcm")),
        ("SC_rgb_small_odd_big_endian.dcm", "SC_rgb_small_odd.dcm"),
    ],
)
def test_a_losslessly_compressed_file_equals_its_uncompressed_twin(compressed: str, plain: str) -> None:
    first, second = (decode(shipped(name).read_bytes()) for name in (compressed, plain))
    assert (first.pixels == second.pixels).all()
    assert first.white == second.white


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (JPEGLosslessSV1, lambda a: imagecodecs.jpeg8_encode(a, lossless=True, predictor=1, bitspersample=16)),
        (JPEGLSLossless, imagecodecs.jpegls_encode),
        (HTJ2KLossless, lambda a: imagecodecs.htj2k_encode(a, reversible=True)),
    ],
    ids=["JPEG", "JPEG-LS", "HTJ2K"],
)
@pytest.mark.parametrize("low", [0, -1000])
def test_what_another_encoder_wrote_comes_back_with_its_sign(syntax: UID, encode: object, low: int) -> None:
    stored = (np.arange(64 * 64).reshape(64, 64) % 2000 + low).astype(np.int16)
    pixels = encapsulate([encode(stored.view(np.uint16))])  # type: ignore[operator]
    data = changed("MR_small.dcm", syntax=syntax, PixelData=pixels, PixelRepresentation=1)
    assert (decode(data).pixels == stored).all()


@pytest.mark.parametrize(
    "name",
    [
        *("SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_dcmtk_+eb+cy+n1.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm"),
        *("SC_rgb_dcmtk_+eb+cy+s4.dcm", "SC_jpeg_no_color_transform.dcm", "SC_jpeg_no_color_transform_2.dcm"),
        *("SC_rgb_jpeg_lossy_gdcm.dcm", "examples_ybr_color.dcm", "US1_J2KI.dcm", "SC_ybr_full_uncompressed.dcm"),
        *("SC_ybr_full_422_uncompressed.dcm", "J2K_pixelrep_mismatch.dcm", "693_J2KI.dcm", "image_dfl.dcm"),
    ],
)
def test_colours_and_signs_agree_with_an_independent_decoder(name: str) -> None:
    path = shipped(name)
    expected = pixel_array(pydicom.dcmread(path), index=0, decoding_plugin="pillow" if "UNC" not in name else "")
    assert np.abs(decode(path.read_bytes()).pixels.astype(int) - expected).max() <= 3  # JPEG decoders' rounding


@pytest.mark.parametrize("name", ["mlut_18.dcm", "vlut_04.dcm", "MR_small.dcm", "693_UNCI.dcm", "RG3_UNCI.dcm"])
def test_look_up_tables_and_windows_agree_with_pydicoms(name: str) -> None:
    dataset = pydicom.dcmread(shipped(name))
    stored = decode(shipped(name).read_bytes())
    assert stored.grey is not None
    values = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    levels, *_ = to_grey(stored.pixels, stored.grey)
    levels = 1 - levels if stored.grey.inverted else levels
    inside = dataset.pixel_array != dataset.get("PixelPaddingValue")
    expected = (values[inside].astype(float) - values[inside].min()) / np.ptp(values[inside])
    found = (levels[inside] - levels[inside].min()) / np.ptp(levels[inside])
    assert np.abs(found - expected).max() < 2e-4  # pydicom's tables are rounded to integers


def test_float_pixels_come_back_as_they_are() -> None:
    dataset = pydicom.dcmread(shipped("MR_small.dcm"))
    stored = np.linspace(-1, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(dataset, keyword)
    dataset.BitsAllocated, dataset.FloatPixelData = 32, stored.tobytes()
    file = io.BytesIO()
    dataset.save_as(file)
    assert (decode(file.getvalue()).pixels == stored).all()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("test-SR.dcm", r"holds no image \(SOP class Comprehensive SR Storage\)"),
        ("rtplan.dcm", r"holds no image \(SOP class RT Plan Storage\)"),
        ("waveform_ecg.dcm", r"holds no image \(SOP class 12-lead ECG Waveform Storage\)"),
        ("DICOMDIR", r"holds no image \(SOP class Media Storage Directory Storage\)"),
        ("MR_truncated.dcm", "contradicts itself: .* are 8192 bytes, it holds 8130"),
        ("badVR.dcm", r"Number of Frames \(0028,0008\) holds no usable number"),
    ],
)
def test_a_dicom_without_a_whole_image_is_refused_by_name(name: str, words: str) -> None:
    with pytest.raises(ReadError, match=words):
        decode(shipped(name).read_bytes())


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        (
            {"syntax": UID("1.2.840.10008.1.2.4.100"), "PixelData": encapsulate([b"MPEG"])},
            "compressed as MPEG2 Main Profile",
        ),
        ({"syntax": UID("1.2.3.4")}, "compressed as something unknown"),
        ({"RescaleSlope": 0}, "Rescale Slope"),
        ({"Rows": 65535, "Columns": 65535}, "65535 × 65535 pixels; medseg reads up to 40 million"),
        ({"NumberOfFrames": 65_537}, "65537 frames; medseg reads files of up to 65536"),
        ({"NumberOfFrames": -1}, "declares -1 frames"),
        ({"syntax": JPEGLSLossless, "PixelData": encapsulate([b"\xff\xd8no stream"])}, "not the JPEG"),
    ],
)
def test_what_a_dicom_declares_is_checked_before_it_is_decoded(attributes: dict[str, object], words: str) -> None:
    with pytest.raises(ReadError, match=words):
        decode(changed("MR_small.dcm", **attributes))


def test_a_frame_larger_than_its_header_is_refused_before_it_is_decoded() -> None:
    stream = imagecodecs.jpegls_encode(np.zeros((64, 65), np.uint16))
    with pytest.raises(ReadError, match=r"declares 64 × 64 pixels .*, its compressed frame 65 × 64"):
        decode(changed("MR_small.dcm", syntax=JPEGLSLossless, PixelData=encapsulate([stream])))


def test_a_cut_off_jpeg_frame_in_a_dicom_is_refused() -> None:
    dataset = pydicom.dcmread(shipped("SC_rgb_jpeg_dcmtk.dcm"))
    stream = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    with pytest.raises(ReadError, match="JPEG is incomplete"):
        decode(changed("SC_rgb_jpeg_dcmtk.dcm", PixelData=encapsulate([stream[: len(stream) // 2]])))


def test_every_shipped_dicom_opens_or_is_refused_in_a_sentence() -> None:
    paths = [*get_testdata_files(), *(p for p in [get_testdata_file("RG3_UNCR.dcm", download=False)] if p)]
    paths = sorted({*paths, *map(str, Path(paths[-1]).parent.glob("*.dcm"))} - {p for p in paths if Path(p).is_dir()})
    opened = 0
    for path in paths:
        outcome = read(Path(path))
        opened += isinstance(outcome, Image)
        assert isinstance(outcome, Image) or SENTENCE.fullmatch(outcome), path
    assert opened >= 100


# NIfTI


def nifti(array: np.ndarray, kind: type = nibabel.Nifti1Image) -> bytes:
    return bytes(kind(array, np.diag([-2, -3, 4, 1])).to_bytes())


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["nii", "nii.gz"])
def test_nifti_slices_come_back_with_columns_as_the_first_axis(kind: type, dtype: type, pack: object) -> None:
    volume = np.arange(24).reshape(2, 3, 4).astype(dtype)  # stored from right and front: as shown, so only transposed
    stored = decode(pack(nifti(volume, kind)), 2)  # type: ignore[operator]
    assert (stored.pixels == volume[:, :, 2].T).all()
    assert (stored.frames, stored.spacing_mm) == (4, (3.0, 2.0))


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 4, 1, 5)], ids=["decathlon", "vectors"])
def test_several_volumes_are_channels_and_a_note_says_so(shape: tuple[int, ...]) -> None:
    volumes = np.arange(120, dtype=np.int16).reshape(2, 3, 4, 5)
    stored = decode(nifti(volumes.reshape(shape)), 2)
    assert (stored.pixels == volumes[:, :, 2].swapaxes(0, 1)).all()
    assert (stored.frames, stored.pixels.shape) == (4, (3, 2, 5))
    assert "The file holds 5 volumes: they are read as channels." in stored.notes


def test_more_volumes_than_a_model_takes_channels_are_refused() -> None:
    with pytest.raises(ReadError, match="holds 65 values at every place, which would be channels; medseg reads up to"):
        decode(nifti(np.zeros((2, 3, 4, 65), np.uint8)))


def test_a_nifti_of_more_axes_is_refused() -> None:
    with pytest.raises(ReadError, match=r"array of shape \(2, 3, 4, 2, 3\)"):
        decode(nifti(np.zeros((2, 3, 4, 2, 3), np.uint8)))


def test_a_nifti_of_one_plane_is_a_volume_of_one_slice() -> None:
    assert decode(nifti(np.ones((5, 3), np.uint8))).pixels.shape == (3, 5)


def test_colours_in_a_nifti_come_back_as_rgb() -> None:
    colours = np.zeros((2, 3, 1), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    colours["G"] = 9
    assert decode(nifti(colours)).pixels[0, 0].tolist() == [0, 9, 0]


@pytest.mark.parametrize("cut", [400, 360])
def test_an_incomplete_nifti_is_refused(cut: int) -> None:
    with pytest.raises(ReadError, match="Copy or export it again"):
        decode(nifti(np.ones((9, 9, 9), np.int16))[:cut])


# What is no image


def bombs() -> dict[str, bytes]:
    """Small files that declare or unpack to far more than medseg reads."""
    huge = (20000).to_bytes(4, "big")

    def png(width: bytes, height: bytes) -> bytes:
        body = b"IHDR" + width + height + b"\x08\x02\0\0\0"
        return b"\x89PNG\r\n\x1a\n\0\0\0\r" + body + zlib.crc32(body).to_bytes(4, "big") + b"\0\0\0\0IEND\xaeB`\x82"

    jpeg = bytearray(saved(np.zeros((8, 8, 3), np.uint8), "jpeg"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = b"\xff\xf0\xff\xf0"
    volume = bytearray(nifti(np.ones((2, 2, 2), np.int16)))
    volume[40:48] = np.array([3, 32000, 32000, 32000], "<i2").tobytes()
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = b"".join(packer.compress(bytes(2**24)) for _ in range(40)) + packer.flush()
    plain, tiled = tiff(GREY), tiff(GREY, tile=(16, 16))
    return {
        "PNG": png(huge, huge),
        "empty PNG": png(bytes(4), huge),
        "JPEG": bytes(jpeg),
        "NIfTI": bytes(volume),
        "NIfTI in gzip": gzip.compress(bytes(volume)),
        "zeros in gzip": zeros,
        "wide TIFF": retagged(plain, 0x0100, 60000, 0x0101, 60000),
        "TIFF of a huge tile": retagged(tiled, 0x0142, 65520, 0x0143, 65520),
        "TIFF of pixels beyond its end": retagged(plain, 0x0111, 60000),
    }


def retagged(data: bytes, *tags_and_values: int) -> bytes:
    """A little-endian TIFF with the values of tags replaced, each an integer that fills its entry."""
    changed = bytearray(data)
    for tag, value in zip(tags_and_values[::2], tags_and_values[1::2], strict=True):
        at = next(i for i in range(10, len(data), 12) if data[i : i + 2] == tag.to_bytes(2, "little"))
        changed[at + 2 : at + 12] = b"\x04\0\x01\0\0\0" + value.to_bytes(4, "little")
    return bytes(changed)


def test_bombs_are_refused_before_they_go_off(tmp_path: Path) -> None:
    pool.close()  # so that no worker is due for its replacement after many requests
    read(tmp_path / "nothing")
    before = {worker.process.pid for worker in pool._all}
    for name, data in bombs().items():
        (tmp_path / "a").write_bytes(data)
        outcome = read(tmp_path / "a")
        assert isinstance(outcome, str), name
        assert not re.search("crashed|too long", outcome), name
    assert before == {worker.process.pid for worker in pool._all}


def test_a_deflated_dicom_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    inflated = zlib.compressobj(9, zlib.DEFLATED, -15)
    deflated = b"".join(inflated.compress(bytes(2**24)) for _ in range(MAX_BYTES // 2**24 + 2)) + inflated.flush()
    meta = shipped("image_dfl.dcm").read_bytes()
    start = 144 + int.from_bytes(meta[140:144], "little")
    (tmp_path / "a").write_bytes(meta[:start] + deflated)
    assert isinstance(read(tmp_path / "a"), str)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"x", b"hello " * 100, b"%PDF-1.7\n" + bytes(500), b"<svg/>" * 99, b"\x7fELF" + bytes(500)),
        *(b"RIFF\0\0\0\0WAVEfmt " + bytes(500), b"BM" + bytes(500)),
    ],
)
def test_what_is_not_on_the_list_is_refused_by_its_content(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ReadError, match="content is none of PNG, JPEG"):
        read_image(tmp_path / "a.png")


def test_a_renamed_file_is_read_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(saved(GREY, "jpeg"))
    (tmp_path / "a.jpg").write_bytes(shipped("MR_small.dcm").read_bytes())
    assert read_image(tmp_path / "a.dcm").modality is None
    assert read_image(tmp_path / "a.jpg").modality == "MR"


@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_a_truncated_image_is_refused_not_filled_with_grey(kind: str, part: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = saved(noise, kind)
    with pytest.raises(ReadError):
        decode(data[: int(len(data) * part)])


def read(path: Path) -> Image | str:
    """The image in `path`, or the sentence that refuses it; any other outcome fails the test."""
    try:
        image = read_image(path)
    except ReadError as error:
        return str(error)
    assert image.pixels.dtype == np.float32
    assert 1 <= image.pixels.shape[2] <= MAX_CHANNELS
    assert 0 <= image.pixels.min() <= image.pixels.max() <= 1
    return image


def test_the_hostile_corpus_ends_in_images_or_sentences() -> None:
    if not CORPUS.is_dir():
        pytest.skip("the corpus of hostile DICOM files does not lie beside the checkout")
    for path in sorted(CORPUS.iterdir()):
        outcome = read(path)
        assert isinstance(outcome, Image) or SENTENCE.fullmatch(outcome), path.name


def mutants(data: bytes, count: int, seed: int) -> list[bytes]:
    """`data` with a few bytes changed (half of them near its start, where headers lie), cut out, or put in twice."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        mutant = bytearray(data)
        for _ in range(rng.integers(1, 6)):
            at = int(rng.integers(0, min(len(mutant), 600) if rng.random() < 0.5 else len(mutant)))
            mutant[at] = int(rng.choice([0, 1, 127, 128, 255, rng.integers(256)]))
        start, stop = sorted(int(v) for v in rng.integers(0, len(mutant), 2))
        cut = rng.random()
        found.append(bytes(mutant[:start] + mutant[stop:] if cut < 0.1 else mutant[:stop] if cut < 0.2 else mutant))
    return found


def seeds() -> dict[str, bytes]:
    """One small file of each kind to start mutants from."""
    names = ("MR_small.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_RLE.dcm")
    names += ("SC_rgb_jpeg_dcmtk.dcm", "JPEGLSNearLossless_08.dcm", "vlut_04.dcm", "OBXXXX1A_rle.dcm")
    tall = np.kron(RGB, np.ones((9, 9, 1), np.uint8))
    images = {kind: saved(tall, kind) for kind in ("png", "jpeg", "tiff")}
    volumes = {"nii": nifti(np.ones((5, 6, 7), np.int16)), "nii.gz": gzip.compress(nifti(np.ones((5, 6, 7), np.int16)))}
    packed = {
        "lzw": tiff(tall, photometric="rgb", compression="lzw"),
        "png16": imagecodecs.png_encode(tall * np.uint16(9)),
    }
    channels = {
        "tiff of five": tiff(np.ones((5, 6, 5), np.float32), photometric="minisblack", planarconfig="contig"),
        "nii of four": nifti(np.ones((5, 6, 7, 4), np.int16)),
    }
    return {**{name: shipped(name).read_bytes() for name in names}, **images, **volumes, **packed, **channels}


def test_mutants_end_in_images_or_sentences(tmp_path: Path) -> None:
    for number, (name, data) in enumerate(seeds().items()):
        for index, mutant in enumerate(mutants(data, 40, seed=number)):
            (tmp_path / "a").write_bytes(mutant)
            outcome = read(tmp_path / "a")
            assert isinstance(outcome, Image) or SENTENCE.fullmatch(outcome), (name, index)


# The worker process


def in_worker(code: str) -> str:
    """What `code` prints in a process that has taken the worker's limits."""
    script = f"from medseg.reading import decode, sandbox\nsandbox.limit()\n{code}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "code",
    [
        *(
            "import socket; socket.socket()",
            "import subprocess; subprocess.run(['true'])",
            "import os; os.system('true')",
        ),
        *("import os; os.fork()", "open('medseg-was-here', 'w')", "import os; os.remove('medseg-was-here')"),
    ],
)
def test_a_worker_has_no_network_no_children_and_no_writing(code: str) -> None:
    assert "PermissionError: a decode worker does not use" in in_worker(code)
    assert not (ROOT / "medseg-was-here").exists()


def test_a_worker_has_a_limit_of_memory() -> None:
    assert "MemoryError" in in_worker("bytearray(3 * 2**30)")


def test_a_file_that_takes_too_long_ends_the_worker() -> None:
    code = "sandbox._LEAST_CPU_SECONDS = 0.1\nsandbox.grant_cpu('none')\nwhile True: pass"
    script = f"from medseg.reading import sandbox\n{code}"
    assert subprocess.run([sys.executable, "-c", script], check=False, cwd=ROOT).returncode < 0


def test_decoding_loads_no_torch() -> None:
    script = "import sys, medseg.reading.decode; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "False\n"


def test_a_stored_frame_survives_the_way_to_the_parent() -> None:
    for name in ("vlut_04.dcm", "mlut_18.dcm", "MR_small.dcm"):
        stored = decode(shipped(name).read_bytes())
        back = from_header(to_header(stored), stored.pixels)
        assert vars(back) == {**vars(stored), "pixels": back.pixels}


def test_a_decoder_that_panics_past_exception_is_still_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicError(BaseException):
        pass

    def panic(*_: object) -> None:
        raise PanicError("a traceback")

    monkeypatch.setattr("medseg.reading.raster._from_pillow", panic)
    with pytest.raises(ReadError, match="This PNG cannot be decoded") as caught:
        decode(saved(GREY, "png"))
    assert "traceback" not in str(caught.value)
    assert os.linesep not in str(caught.value)
