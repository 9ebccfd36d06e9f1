"""The codes by which other programs know what a segment is.

SNOMED CT concepts of DICOM's context groups 7151 to 7194 (PS3.16) and, for what they lack, of its radiology groups 6062
and 6102; Polyp is SNOMED CT's morphologic abnormality, as in HL7's value set of body-structure changes.
"""

from __future__ import annotations

import hashlib

from pydicom.dataset import Dataset

from medseg.export.derived import LO, code, fitted

_ABNORMAL = ("49755003", "SCT", "Morphologically Abnormal Structure")
_ANATOMY = ("91723000", "SCT", "Anatomical Structure")
_PLACE = ("309825002", "SCT", "Spatial and Relational Concept")

_ABNORMALITIES = {
    "polyp": ("41329004", "Polyp"),
    "tumour": ("108369006", "Neoplasm"),
    "lesion": ("52988006", "Lesion"),
    "nodule": ("27925004", "Nodule"),
    "edema": ("79654002", "Edema"),
    "necrosis": ("6574001", "Necrosis"),
    "pneumothorax": ("36118008", "Pneumothorax"),
    "pleural effusion": ("60046008", "Pleural effusion"),
}
_ORGANS = {
    "lung": ("39607008", "Lung"),
    "heart": ("80891009", "Heart"),
    "brain": ("12738006", "Brain"),
    "breast": ("76752008", "Breast"),
    "clavicle": ("51299004", "Clavicle"),
    "rib": ("113197003", "Rib"),
    "spine": ("421060004", "Spine"),
    "liver": ("10200004", "Liver"),
    "kidney": ("64033007", "Kidney"),
    "spleen": ("78961009", "Spleen"),
    "prostate": ("41216001", "Prostate"),
    "skin": ("39937001", "Skin"),
}
_SPELLINGS = {"tumor": "tumour", "neoplasm": "tumour", "oedema": "edema"}


def property_codes(label: str) -> tuple[Dataset, Dataset]:
    """(category, type) of a segment called `label`: in plural or singular, in any case.

    A label without a code gets one of medseg's own scheme 99MEDSEG, which claims nothing but its name.
    """
    name = label.strip().lower().replace("_", " ")
    name = name if name in _ABNORMALITIES or name in _ORGANS else name.removesuffix("s")
    name = _SPELLINGS.get(name, name)
    for table, category in ((_ABNORMALITIES, _ABNORMAL), (_ORGANS, _ANATOMY)):
        if name in table:
            value, meaning = table[name]
            return code(*category), code(value, "SCT", meaning)
    digest = hashlib.sha256(label.encode()).hexdigest()[:16]
    return code(*_PLACE), code(digest, "99MEDSEG", fitted(label, LO))
