"""Results as files of formats that other programs read. The writers are loaded on first use, as those of `medseg`."""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medseg.export.dicom_seg import write_dicom_seg
    from medseg.export.nifti import write_mask_nifti, write_probabilities_nifti
    from medseg.export.npz import write_probabilities
    from medseg.export.png import write_mask
    from medseg.export.tables import write_instances, write_rle
    from medseg.export.training_pair import write_pair

__all__ = [
    "write_dicom_seg",
    "write_instances",
    "write_mask",
    "write_mask_nifti",
    "write_pair",
    "write_probabilities",
    "write_probabilities_nifti",
    "write_rle",
]

_HOME = {
    "write_dicom_seg": "dicom_seg",
    "write_instances": "tables",
    "write_mask": "png",
    "write_mask_nifti": "nifti",
    "write_pair": "training_pair",
    "write_probabilities": "npz",
    "write_probabilities_nifti": "nifti",
    "write_rle": "tables",
}

_MOVED = {
    "NOTICE": "medseg.inference.record",
    "areas": "medseg.inference.record",
    "masks_sha256": "medseg.inference.record",
    "plain_cell": "medseg.report.csv",
    "versions": "medseg.inference.record",
    "write_report": "medseg.inference.record",
}
"""Names of the module `medseg.export` before 0.2.0 → where they are now."""


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"medseg.export.{_HOME[name]}"), name)
    if name not in _MOVED:
        raise AttributeError(f"module 'medseg.export' has no attribute {name!r}")
    sentence = f"medseg.export.{name} is {_MOVED[name]}.{name} now; the old name goes in 0.3.0."
    warnings.warn(sentence, DeprecationWarning, stacklevel=2)
    return getattr(import_module(_MOVED[name]), name)
