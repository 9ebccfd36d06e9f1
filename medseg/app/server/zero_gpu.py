"""On a ZeroGPU Space a GPU is lent for one function call at a time, on the visitor's quota: that call is here.

Everything else, a re-mix above all, works on probabilities that this process keeps and needs no GPU.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from medseg.arrays import Stack
    from medseg.image import Image
    from medseg.inference.ensemble import Ensemble
    from medseg.inference.prediction import MemberProbabilities
    from medseg.inference.tta import Augmentation

try:
    from spaces import GPU  # on every Space; it leaves the function as it is where there is no ZeroGPU
except ImportError:
    GPU = None

_LENT: WeakValueDictionary[str, Ensemble] = WeakValueDictionary()
"""The ensembles by the names that `run_networks` takes."""

KEPT = 16
"""Images whose probabilities are kept for one ensemble, at most 6 MB each for three members."""


def run_networks(name: str, image: Image, tta: Augmentation) -> tuple[Stack, MemberProbabilities | None]:
    """What the networks of the ensemble `name` say of `image`.

    With ZeroGPU this is another process: what goes in and comes out is pickled, which no network can be, so the
    ensemble is named; and what that process keeps in its cache is lost.
    """
    from medseg.inference.ensemble import Ensemble

    return Ensemble.run_networks(_LENT[name], image, tta)


if GPU is not None:
    run_networks = GPU(run_networks)


def on_lent_gpu(ensemble: Ensemble, name: str) -> Ensemble:
    """`ensemble`, which the registry calls `name`, with its networks run by `run_networks` and their probabilities
    kept on this side; as it is where no GPU is lent."""
    if GPU is None:
        return ensemble
    _LENT[name] = ensemble
    cache: OrderedDict[Any, tuple[Stack, MemberProbabilities | None]] = OrderedDict()
    asking = threading.Lock()

    def run_lent(image: Image, tta: Augmentation) -> tuple[Stack, MemberProbabilities | None]:
        with asking:
            key = (image.sha256, tta)
            if key not in cache:
                cache[key] = run_networks(name, image, tta)
            cache.move_to_end(key)
            while len(cache) > KEPT:
                cache.popitem(last=False)
            return cache[key]

    ensemble.run_networks = run_lent  # type: ignore[method-assign]
    return ensemble
