"""DICOM SEG (PS3.3 A.51): masks or probabilities as a DICOM of their own that refers to the picture's file.

It repeats the patient and study of its source, or no archive would file the two together: the one export of medseg that
identifies a patient.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from pydicom.dataset import Dataset

from medseg import __version__
from medseg.errors import InputError, MedsegError, ReadError
from medseg.image import to_stored
from medseg.inference.prediction import Prediction
from medseg.inference.record import NOTICE
from medseg.overlay import label_colour
from medseg.reading.readers import read_source

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription

SegKind: TypeAlias = Literal["BINARY", "FRACTIONAL"]
"""Masks, one bit a pixel; or probabilities in steps of 1/255."""

_LONGEST = {"label": 64, "description": 1024}  # characters of VR LO and ST (PS3.5 6.2)


def write_dicom_seg(
    predictions: Sequence[Prediction], source: str | os.PathLike[str], path: Path, *, kind: SegKind = "BINARY"
) -> None:
    """Write one DICOM SEG of the `predictions`, each of another frame of the DICOM file `source`, a segment a label.

    Every segment has a frame for every prediction, the empty ones too, so "nothing found" can be told from "not looked
    at". Frame of reference and position are the source's, where it has them. The segments' descriptions name models,
    weights and settings, which all predictions must share.

    Raises ReadError for a source that is no DICOM, lacks what a SEG must repeat, or contradicts itself; InputError
    where `source` is not the file of the predictions' pictures, or the predictions do not belong together.
    """
    first = predictions[0]
    frames = [prediction.image.frame for prediction in predictions]
    alike = {(one.describe(), one.labels) for one in predictions}
    if len(alike) > 1 or len(set(frames)) < len(frames):
        raise InputError("One DICOM SEG holds different frames under the same settings. Write one file for each.")
    header, file_sha256 = read_source(source, frames)
    if any(one.image.file_sha256 != file_sha256 for one in predictions):
        raise InputError("This is not the file that the picture was read from, so a DICOM SEG must not refer to it.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's about odd values, which the source has and the copy keeps
            seg = _build(_completed(Dataset.from_json(header)), _stack(predictions, kind), first, kind)
            _correct(seg, frames if first.image.frames > 1 else None)
            seg.save_as(path)
    except MedsegError:
        raise
    except Exception as error:  # highdicom and pydicom raise whatever a stranger's header leads them to
        path.unlink(missing_ok=True)
        raise ReadError(
            "No DICOM SEG can refer to this DICOM: its header lacks or contradicts what one must repeat. "
            "Choose another format."
        ) from error


def _stack(predictions: Sequence[Prediction], kind: SegKind) -> np.ndarray:
    """(frames, H, W, K) on the stored grid: 0 and 1, or probabilities."""
    values = [one.masks if kind == "BINARY" else one.probabilities for one in predictions]
    stored = [to_stored(value, one.image.orientation) for value, one in zip(values, predictions, strict=True)]
    stack = np.moveaxis(np.stack(stored), 1, -1)
    return stack.astype(np.uint8) if kind == "BINARY" else stack.clip(0, 1)


def _completed(source: Dataset) -> Dataset:
    """`source` with what its class may leave out and highdicom asks for, empty as PS3.3 C.7.1 and C.7.2 allow."""
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "AccessionNumber", "StudyID"):
        if keyword not in source:
            setattr(source, keyword, "")
    for keyword, form in (("StudyDate", r"\d{8}"), ("StudyTime", r"\d{2,6}(\.\d{1,6})?")):
        if not re.fullmatch(form, str(source.get(keyword))):  # also those of ACR-NEMA, which DICOM no longer allows
            setattr(source, keyword, None)
    if source.get("PatientSex") not in ("M", "F", "O"):
        source.PatientSex = ""
    source.Modality = source.get("Modality") or "OT"
    source.SliceThickness = source.get("SliceThickness")
    return source


def _build(source: Dataset, stack: np.ndarray, prediction: Prediction, kind: SegKind) -> Segmentation:
    import highdicom

    return highdicom.seg.Segmentation(
        source_images=[source],
        pixel_array=stack,
        segmentation_type=kind,
        segment_descriptions=[_segment(prediction, index) for index in range(len(prediction.labels))],
        series_instance_uid=highdicom.UID(),
        series_number=1,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="medseg",
        manufacturer_model_name="medseg",
        software_versions=__version__,
        device_serial_number=prediction.member_sha256[0][:16],
        content_label="MEDSEG",
        content_description=NOTICE,
        series_description=f"medseg. {NOTICE}",
        omit_empty_frames=False,
        specific_character_set="ISO_IR 192",  # DICOM JSON is Unicode already
    )


def _segment(prediction: Prediction, index: int) -> SegmentDescription:
    """A free label has no code of its own; "tissue" claims the least."""
    import highdicom
    from pydicom.sr.codedict import codes

    red, green, blue = label_colour(index)
    segment = highdicom.seg.SegmentDescription(
        segment_number=index + 1,
        segment_label=prediction.labels[index][: _LONGEST["label"]],
        segmented_property_category=codes.SCT.Tissue,
        segmented_property_type=codes.SCT.Tissue,
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=prediction.ensemble.name[: _LONGEST["label"]],
            family=codes.DCM.ArtificialIntelligence,
            version=__version__,
            source="medseg",
        ),
        display_color=highdicom.color.CIELabColor.from_rgb(red, green, blue),
    )
    segment.SegmentDescription = f"{NOTICE} {prediction.describe()}"[: _LONGEST["description"]]
    return segment


def _correct(seg: Segmentation, frames: Sequence[int] | None) -> None:
    """Name the source's own `frames`, where it is a multi-frame file: highdicom was shown a header that holds no
    others, so it counts those."""
    seg.ContentCreatorName = ""  # nobody's by hand; the attribute must be there (type 2)
    shared = seg.SharedFunctionalGroupsSequence[0]
    if "PixelMeasuresSequence" in shared and not len(shared.PixelMeasuresSequence[0]):
        del shared.PixelMeasuresSequence  # highdicom asks every multi-frame source for one, medseg gave it an empty one
    if frames is None:
        return
    derivations = [item.DerivationImageSequence[0] for item in seg.PerFrameFunctionalGroupsSequence]
    references = [derivation.SourceImageSequence[0] for derivation in derivations]
    for reference in {id(one): one for one in references}.values():  # segments share them
        position = int(reference.get("ReferencedFrameNumber", 1))
        reference.ReferencedFrameNumber = frames[position - 1] + 1
