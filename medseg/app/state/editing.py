"""What a visitor draws by hand: the mask that was begun with, and the strokes so far."""

from __future__ import annotations

import dataclasses
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medseg.app.state.view_state import ViewState
    from medseg.correct import Correction
    from medseg.image import Image
    from medseg.inference.ensemble import Ensemble


@dataclasses.dataclass(frozen=True, eq=False)
class Editing:
    """What is drawn on. `base` is the correction when label number `label` was put into the editor, `now` has the
    strokes made since. Strokes come with the `token` of what they were made on."""

    image: Image
    ensemble: Ensemble
    beginning: str
    base: Correction
    now: Correction
    label: int = 0
    token: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)

    def is_of(self, view_state: ViewState) -> bool:
        """Whether image and ensemble are still the ones on the page."""
        return self.image is view_state.prediction.image and self.ensemble is view_state.ensemble
