"""Small DICOM files of every kind that hospitals send, as their IODs want them (PS3.3 A), drawn here.

The image is dark with a bright bar in its upper left: no turn or mirroring leaves it as it is. UIDs come from the
kind's name, so the same kind gives the same file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread, uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import generate_uid

ROWS, COLUMNS = 96, 128

_AXIAL = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [0.8, 0.8], "SliceThickness": 3}
_FILM = {"BodyPartExamined": "CHEST", "PositionerType": None}
_ULTRASOUND = {"ImageType": ["ORIGINAL", "PRIMARY"], "BurnedInAnnotation": "NO"}
_PROJECTION = {
    **{"PresentationIntentType": "FOR PRESENTATION", "PixelIntensityRelationship": "LIN", "RescaleType": "US"},
    **{"PixelIntensityRelationshipSign": 1, "RescaleIntercept": 0, "RescaleSlope": 1, "BurnedInAnnotation": "NO"},
    **{"PresentationLUTShape": "IDENTITY", "LossyImageCompression": "00", "DetectorType": None, "DetectorID": "d"},
    **{"DetectorConfiguration": None, "DetectorDescription": None, "WindowCenter": 2048, "WindowWidth": 4096},
    **{"AcquisitionContextSequence": [], "ImageType": ["DERIVED", "PRIMARY"], "PatientOrientation": ["L", "F"]},
}


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _dx() -> dict[str, Any]:
    return {
        **_PROJECTION,
        **{"ImageLaterality": "U", "BodyPartExamined": "CHEST", "PositionerType": None},
        "AnatomicRegionSequence": [_code("51185008", "SCT", "Chest")],
        "ViewCodeSequence": [_code("399348003", "SCT", "antero-posterior")],
    }


def _mg() -> dict[str, Any]:
    region, view = _code("76752008", "SCT", "Breast"), _code("399162004", "SCT", "cranio-caudal")
    view.ViewModifierCodeSequence = []
    return {
        **_PROJECTION,
        **{"ImageLaterality": "L", "BodyPartExamined": "BREAST", "ImagerPixelSpacing": [0.1, 0.1]},
        **{"PositionerType": "MAMMOGRAPHIC", "PartialView": "NO", "OrganExposed": "BREAST", "ViewPosition": "CC"},
        **{"BreastImplantPresent": "NO", "ImageType": ["DERIVED", "PRIMARY", ""]},
        "AnatomicRegionSequence": [region],
        "ViewCodeSequence": [view],
    }


def _endoscopy() -> dict[str, Any]:
    channel = Dataset()
    channel.IlluminationTypeCodeSequence = [_code("414298005", "SCT", "Full Spectrum")]
    return {
        **{"ImageType": ["ORIGINAL", "PRIMARY"], "LossyImageCompression": "00", "AcquisitionContextSequence": []},
        **{
            "ContentTime": "120000",
            "PatientOrientation": None,
            "BurnedInAnnotation": "NO",
            "SynchronizationTrigger": None,
        },
    }


_KINDS: dict[str, tuple[str, str, Callable[[], dict[str, Any]]]] = {
    "cr": (uid.ComputedRadiographyImageStorage, "CR", lambda: _FILM | {"ViewPosition": "PA"}),
    "cr-imager-spacing": (
        uid.ComputedRadiographyImageStorage,
        "CR",
        lambda: _FILM | {"ViewPosition": "PA", "ImagerPixelSpacing": [0.2, 0.2]},
    ),
    "cr-pixel-spacing": (
        uid.ComputedRadiographyImageStorage,
        "CR",
        lambda: _FILM | {"ViewPosition": "PA", "ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.17, 0.17]},
    ),
    "dx": (uid.DigitalXRayImageStorageForPresentation, "DX", lambda: _dx() | {"ImagerPixelSpacing": [0.15, 0.15]}),
    "mg": (uid.DigitalMammographyXRayImageStorageForPresentation, "MG", _mg),
    "us": (
        uid.UltrasoundImageStorage,
        "US",
        lambda: {"ImageType": ["ORIGINAL", "PRIMARY"], "BurnedInAnnotation": "NO"},
    ),
    "us-cine": (
        uid.UltrasoundMultiFrameImageStorage,
        "US",
        lambda: (
            {"ImageType": ["ORIGINAL", "PRIMARY"], "NumberOfFrames": 3, "FrameTime": 40, "BurnedInAnnotation": "NO"}
            | {"FrameIncrementPointer": 0x00181063}
        ),
    ),
    "endoscopy": (uid.VLEndoscopicImageStorage, "ES", _endoscopy),
    "secondary-capture": (uid.SecondaryCaptureImageStorage, "OT", lambda: {"ConversionType": "WSD"}),
    "ct": (
        uid.CTImageStorage,
        "CT",
        lambda: (
            _AXIAL
            | {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "RescaleIntercept": -1024, "RescaleSlope": 1, "KVP": 120}
            | {"AcquisitionNumber": 1, "RescaleType": "HU", "FrameOfReferenceUID": _made("ct", "frame")}
        ),
    ),
    "mr": (
        uid.MRImageStorage,
        "MR",
        lambda: (
            _AXIAL
            | {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1], "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"]}
            | {"ScanningSequence": "SE", "SequenceVariant": "NONE", "ScanOptions": None, "MRAcquisitionType": "2D"}
            | {"EchoTime": 20, "RepetitionTime": 500, "EchoTrainLength": 1, "FrameOfReferenceUID": _made("mr", "frame")}
        ),
    ),
}
_COLOUR = ("us", "us-cine", "endoscopy")
_SERIES = {"ct-series": "ct", "mr-series": "mr"}

KINDS = (*_KINDS, *_SERIES, "ct-enhanced", "mr-enhanced")


def write_source(kind: str, folder: Path, study: str | None = None) -> list[Path]:
    """The files of one series of this `kind`, written to `folder`: three for a series, else one. UIDs are made from
    `study` (default: the kind's own)."""
    if kind.endswith("-enhanced"):
        return [_enhanced(kind, folder, study)]
    count = 3 if kind in _SERIES else 1
    return [_written(kind, number, folder / f"{kind}-{number}.dcm", study) for number in range(1, count + 1)]


def _written(kind: str, number: int, path: Path, study: str | None) -> Path:
    sop_class, modality, attributes = _KINDS[_SERIES.get(kind, kind)]
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = sop_class, _made(study or kind, f"instance {number}")
    image.StudyInstanceUID, image.SeriesInstanceUID = study or _made(kind, "study"), _made(study or kind, "series")
    image.PatientName, image.PatientID, image.PatientBirthDate, image.PatientSex = f"Doe^{kind}", kind, "19700101", "O"
    image.StudyDate, image.StudyTime, image.StudyID, image.AccessionNumber = "20260102", "101500", "1", "A1"
    image.ReferringPhysicianName, image.Manufacturer, image.Modality = "", "nobody", modality
    image.SeriesNumber, image.InstanceNumber, image.PatientOrientation = 1, number, None
    image.ContentDate, image.ContentTime = "20260102", "101500"
    image.AcquisitionDateTime, image.PatientPosition = "20260102101500", "HFS"
    image.PositionReferenceIndicator = None
    for keyword, value in attributes().items():
        setattr(image, keyword, value)
    if "FrameOfReferenceUID" in image:
        normal = np.cross(image.ImageOrientationPatient[:3], image.ImageOrientationPatient[3:])
        image.ImagePositionPatient = [float(value) for value in np.array([-40, -30, 10]) + normal * 3.0 * number]
    else:
        del image.PositionReferenceIndicator, image.PatientPosition
    if "BodyPartExamined" not in image:
        image.Laterality = None
    _draw(image, kind in _COLOUR)
    image.save_as(path, enforce_file_format=True)
    return path


def _enhanced(kind: str, folder: Path, study: str | None) -> Path:
    """The series of this kind as one file of three frames."""
    import highdicom.legacy

    convert = {
        "ct-enhanced": highdicom.legacy.LegacyConvertedEnhancedCTImage,
        "mr-enhanced": highdicom.legacy.LegacyConvertedEnhancedMRImage,
    }[kind]
    slices = [dcmread(path) for path in write_source(kind.replace("enhanced", "series"), folder)]
    for image in slices:
        image.StudyInstanceUID, image.FrameOfReferenceUID = study or _made(kind, "study"), _made(kind, "frame")
    image = convert(slices, _made(study or kind, "series"), 1, _made(study or kind, "instance"), 1)
    image.save_as(folder / f"{kind}.dcm")
    return folder / f"{kind}.dcm"


def _draw(image: Dataset, colour: bool) -> None:
    image.Rows, image.Columns, image.PixelRepresentation = ROWS, COLUMNS, 0
    image.SamplesPerPixel, image.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    image.BitsAllocated, image.BitsStored, image.HighBit = (8, 8, 7) if colour else (16, 12, 11)
    if colour:
        image.PlanarConfiguration = 0
    frames = int(image.get("NumberOfFrames", 1))
    top = 255 if colour else 4095
    pixels = np.full((frames, ROWS, COLUMNS, 3 if colour else 1), top // 4)
    pixels[:, 8:24, 8:72] = top
    image.PixelData = pixels.astype(np.uint8 if colour else "<u2").tobytes()


def _made(kind: str, what: str) -> str:
    return str(generate_uid(entropy_srcs=["medseg tests", kind, what]))
