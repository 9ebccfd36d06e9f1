"""medseg: trustworthy ensembles of 2-D medical segmentation models. Research use only, not for diagnosis.

Names are loaded on first use (PEP 562), so that `import medseg` costs milliseconds and loads neither torch nor gradio.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from medseg.moved import install
from medseg.version import __version__

if TYPE_CHECKING:
    from medseg.errors import MedsegError
    from medseg.image import Image
    from medseg.inference.ensemble import Ensemble
    from medseg.inference.prediction import Prediction
    from medseg.reading.readers import read_image, read_masks
    from medseg.reading.studies import list_series

__all__ = ["Ensemble", "Image", "MedsegError", "Prediction", "__version__", "list_series", "read_image", "read_masks"]

_HOME = {
    "Ensemble": "medseg.inference.ensemble",
    "Prediction": "medseg.inference.prediction",
    "MedsegError": "medseg.errors",
    "Image": "medseg.image",
    "list_series": "medseg.reading.studies",
    "read_image": "medseg.reading.readers",
    "read_masks": "medseg.reading.readers",
}


install()


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'medseg' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
