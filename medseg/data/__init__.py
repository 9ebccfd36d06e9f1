"""Labelled data sets as one list of samples. `load_data` is loaded on first use, as the names of `medseg` are."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medseg.data.samples import load_data

__all__ = ["load_data"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'medseg.data' has no attribute {name!r}")
    from medseg.data import samples

    return getattr(samples, name)
