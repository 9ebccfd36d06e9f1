"""A Parametric Map (PS3.3 A.75): one label's probabilities as floats, for viewers that refuse a FRACTIONAL SEG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ParametricMapStorage, generate_uid

from medseg.errors import InputError
from medseg.export import derived
from medseg.export.derived import LO, SH, Frames, code, fitted
from medseg.export.placement import doubts
from medseg.image import to_stored
from medseg.inference.prediction import Prediction
from medseg.inference.record import NOTICE, notice

_KIND = ["DERIVED", "PRIMARY", "PROBABILITY", "NONE"]


def write_parametric_map(
    predictions: Sequence[Prediction], sources: derived.Sources, path: Path, *, label: str | None = None
) -> None:
    """Write the probabilities of one `label` (default: the only one) in each prediction's frame as 32-bit floats.

    `sources` is as for `write_dicom_seg`. A source that lies nowhere in the patient gives the map a frame of reference
    of its own. Raises as `write_dicom_seg` does, and InputError for a label that the predictions do not have.
    """
    labels = predictions[0].labels if predictions else ()
    if label not in labels and (label is not None or len(labels) != 1):
        raise InputError(one_label(labels))
    index = labels.index(label) if label is not None else 0
    with derived.refusing(path, "parametric map"):
        derived.save(_build(derived.read_frames(predictions, sources), index), path)


def one_label(labels: tuple[str, ...]) -> str:
    """Why an ensemble of several labels has no map of all."""
    return f"A parametric map holds one label: choose one of {', '.join(labels)}."


def _build(frames: Frames, index: int) -> Dataset:
    prediction, header = frames[0]
    headers = [frame for _, frame in frames]
    label = prediction.labels[index]
    result = derived.begin(
        header, ParametricMapStorage, header.get("Modality") or "OT", derived.series_description(frames, "map")
    )
    result.ImageType, result.ContentQualification, result.BurnedInAnnotation = _KIND, "RESEARCH", "NO"
    result.ContentLabel, result.ContentDescription, result.ContentCreatorName = "MEDSEG", NOTICE, ""
    said = (notice(prediction.image), f"Probability of {label}.", doubts(headers))
    result.ImageComments = " ".join(filter(None, said))
    result.AcquisitionContextSequence, result.RecognizableVisualFeatures = [], "NO"
    derived.refer(result, headers)
    derived.add_groups(result, frames, (), code("113076", "DCM", "Segmentation"))
    if "FrameOfReferenceUID" not in result:
        result.FrameOfReferenceUID, result.PositionReferenceIndicator = generate_uid(prefix=None), None
    shared = result.SharedFunctionalGroupsSequence[0]
    _add_meaning(shared, label)
    shared.FrameAnatomySequence = [_anatomy(header)]
    planes = [to_stored(frame.probabilities[index], frame.image.orientation) for frame, _ in frames]
    pixels = np.stack(planes).astype("<f4")
    result.SamplesPerPixel, result.PhotometricInterpretation = 1, "MONOCHROME2"
    result.PresentationLUTShape, result.BitsAllocated = "IDENTITY", 32
    result.Rows, result.Columns = pixels.shape[1:]
    result.FloatPixelData = pixels.tobytes()
    return result


def _anatomy(header: Dataset) -> Dataset:
    """No more than that there is some: dcmqi dies of a map without this group."""
    anatomy, laterality = Dataset(), header.get("Laterality")
    anatomy.FrameLaterality = laterality if laterality in ("L", "R") else "U"
    anatomy.AnatomicRegionSequence = [code("91723000", "SCT", "Anatomical Structure")]
    return anatomy


def _add_meaning(shared: Dataset, label: str) -> None:
    """The groups that say what a value is (PS3.3 C.7.6.16.2.11, C.8.32.3) and how it is first shown."""
    mapping, look, identity, kind = Dataset(), Dataset(), Dataset(), Dataset()
    mapping.LUTLabel, mapping.LUTExplanation = fitted(label, SH), fitted(f"Probability of {label}", LO)
    mapping.MeasurementUnitsCodeSequence = [code("1", "UCUM", "no units")]
    mapping.DoubleFloatRealWorldValueFirstValueMapped, mapping.DoubleFloatRealWorldValueLastValueMapped = 0.0, 1.0
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 1.0, 0.0
    look.WindowCenter, look.WindowWidth, look.VOILUTFunction = 0.5, 1, "LINEAR_EXACT"
    identity.RescaleSlope, identity.RescaleIntercept, identity.RescaleType = 1, 0, "US"
    kind.FrameType = _KIND
    shared.RealWorldValueMappingSequence, shared.FrameVOILUTSequence = [mapping], [look]
    shared.PixelValueTransformationSequence, shared.ParametricMapFrameTypeSequence = [identity], [kind]
