"""Widening, and products that autocast leaves alone."""

import pytest
import torch

from segcourse.ops.precision import widen, without_autocast


@pytest.mark.parametrize(
    "kinds, wanted",
    [
        ((torch.float16,), torch.float32),
        ((torch.bfloat16, torch.float16), torch.float32),
        ((torch.float16, torch.float64), torch.float64),
        ((torch.float32, torch.int64), torch.float32),
        ((torch.int8, torch.int16), torch.int64),
        ((torch.uint16,), torch.int64),
    ],
)
def test_all_get_one_type_that_is_wide_enough(kinds, wanted):
    tensors = [torch.ones(2, dtype=kind) for kind in kinds]
    assert {each.dtype for each in widen(*tensors)} == {wanted}


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_products_within_autocast_stay_exact(kind):
    ones = torch.ones(1, 4097)
    with torch.autocast("cpu", kind):
        assert (ones @ ones.T).dtype == kind
        with without_autocast(ones.device):
            assert (ones @ ones.T).item() == 4097.0
    with without_autocast(torch.device("meta")):  # which knows no autocast
        pass
