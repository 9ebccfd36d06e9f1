"""The fit of the embedded chest ensemble, made again on the films that it was made on."""

from pathlib import Path

import pytest

from medseg.data.samples import load_data, select
from medseg.inference.ensemble import Ensemble
from tests.conftest import ROOT, fit_to


def test_the_fit_of_the_chest_ensemble_is_what_its_file_says(real_data: Path) -> None:
    ensemble = Ensemble.from_pretrained(ROOT / "assets" / "ensembles" / "chest")
    with pytest.warns(match="annotated images that are not here"):
        films = select(load_data(real_data / "chest" / "chestx-det", labels={"finding": ["*"]}).samples, "val")
    kept = ensemble.config.fitted
    assert kept is not None
    found = fit_to(ensemble.members, films)
    record = found.record(ensemble.names, films, kept.data)
    assert record.split_sha256 == kept.split_sha256  # it ships equal weights, whatever is recommended
    assert record.nested is not None
    assert kept.nested is not None
    new, old = record.nested.fitted, kept.nested.fitted
    assert (record.equal.value, new.value) == pytest.approx((kept.equal.value, old.value), abs=1e-3)
    assert None not in {new.low, new.high, old.low, old.high}
    assert (record.equal.low, record.equal.high) == pytest.approx((kept.equal.low, kept.equal.high), abs=1e-3)
    assert (new.low, new.high) == pytest.approx((old.low, old.high), abs=1e-3)
    assert record.recommended == kept.recommended
