"""Run lengths: forms worked out by hand, inverse pairs, and the whole SIIM-ACR table."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from medseg.data.layouts.siim import read_siim_table
from medseg.data.rle import decode_rle, encode_rle, pack_counts, unpack_counts
from medseg.errors import ReadError

FORMS = ("relative", "absolute", "counts")
CORNER = np.array([[0, 1, 1], [1, 1, 0]], dtype=bool)  # column-major: 0 1 | 1 1 | 1 0


@pytest.mark.parametrize(("form", "text"), [("relative", "1 4"), ("absolute", "2 4"), ("counts", "1 4 1")])
def test_runs_go_down_the_columns(form: str, text: str) -> None:
    assert encode_rle(CORNER, form) == text
    np.testing.assert_array_equal(decode_rle(text, (2, 3), form), CORNER)


def test_a_relative_gap_counts_from_the_end_of_the_run_before() -> None:
    mask = decode_rle("1 2 3 1", (4, 2))
    assert np.flatnonzero(mask.T.ravel()).tolist() == [1, 2, 6]


@pytest.mark.parametrize(("form", "text"), [("relative", "-1"), ("absolute", ""), ("counts", "6")])
def test_an_empty_mask_has_a_text_of_its_own(form: str, text: str) -> None:
    assert encode_rle(np.zeros((2, 3), dtype=bool), form) == text
    assert not decode_rle(text, (2, 3), form).any()


@given(mask=arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12)), form=st.sampled_from(FORMS))
def test_decoding_undoes_encoding(mask: np.ndarray, form: str) -> None:
    np.testing.assert_array_equal(decode_rle(encode_rle(mask, form), mask.shape, form), mask)


@given(st.lists(st.integers(0, 10**7), max_size=40))
def test_unpacking_undoes_packing(counts: list[int]) -> None:
    assert unpack_counts(pack_counts(counts)) == counts


def test_the_packed_text_is_cocos() -> None:
    # worked out by hand from maskApi.c: 6 → '6'; 1 → '1'; 40 → 8 + continuation → 'X', 1 → '1'; 2 − 1 = 1 → '1'
    assert pack_counts([6, 1, 40, 2]) == "61X11"


@pytest.mark.parametrize(
    ("text", "form", "sentence"),
    [
        ("1 2 3", "relative", "come in pairs"),
        ("1 x", "relative", "whole numbers"),
        ("1 -2", "relative", "Run lengths of 0 to 6 are wanted"),
        ("5 2", "relative", "reach pixel 7 of an image of 3 × 2 pixels"),
        ("0 2", "absolute", "belong to an image of another size, or are of another form"),
        ("1 4", "counts", "cover 5 pixels, the image has 3 × 2"),
        ("9" * 30, "relative", "whole numbers"),
    ],
)
def test_what_cannot_be_decoded_is_refused(text: str, form: str, sentence: str) -> None:
    with pytest.raises(ReadError, match=sentence):
        decode_rle(text, (2, 3), form)


@pytest.mark.parametrize("text", ["\x00", "P", "~" * 12])
def test_a_damaged_packed_text_is_refused(text: str) -> None:
    with pytest.raises(ReadError, match="the file is damaged"):
        unpack_counts(text)


def test_the_rows_of_the_siim_table_decode_and_encode_back() -> None:
    spec = importlib.util.find_spec("torchxrayvision")
    if spec is None or spec.origin is None:
        pytest.skip("torchxrayvision, which holds the SIIM-ACR table, is not installed")
    rows = read_siim_table(Path(spec.origin).parent / "data" / "siim-pneumothorax-train-rle.csv.gz")
    positive = {name: runs for name, runs in rows.items() if runs}
    assert (len(rows), len(positive)) == (12_047, 2_669)
    # 12,954 rows: one for each film without pneumothorax, one or more for the others
    assert sum(max(1, len(runs)) for runs in rows.values()) == 12_954
    for runs in list(positive.values())[::5]:
        for run in runs:
            mask = decode_rle(run.text, (1024, 1024))
            lengths = list(map(int, run.text.split()))[1::2]
            assert mask.sum() == sum(lengths)
    # texts may hold a gap of 0 between two runs, which encoding joins: so the masks are compared, on a sample
    for run in [runs[0] for runs in positive.values()][::100]:
        mask = decode_rle(run.text, (1024, 1024))
        np.testing.assert_array_equal(decode_rle(encode_rle(mask), (1024, 1024)), mask)
