"""Anchors and box coding: torchvision's, the printed values, and back again."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from segcourse.ops.anchors import cell_anchors, decode_boxes, encode_boxes, grid_anchors
from segcourse.ops.boxes import box_area


def test_the_cells_of_level_two():
    assert cell_anchors(32).tolist() == [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]


@given(st.integers(4, 512), st.lists(st.sampled_from([0.25, 0.5, 1.0, 2.0, 3.0]), min_size=1))
def test_anchors_have_about_the_same_area(size, aspect_ratios):
    area = box_area(cell_anchors(float(size), aspect_ratios))
    assert ((area.sqrt() - size).abs() <= 2).all()


@pytest.mark.parametrize("image", [(192, 256), (448, 640), (832, 1088)])
def test_all_anchors_of_a_pyramid_are_torchvisions(image):
    sizes = (32, 64, 128, 256, 512)
    strides = (4, 8, 16, 32, 64)
    maps = [torch.zeros(1, 1, -(-image[0] // s), -(-image[1] // s)) for s in strides]
    theirs = AnchorGenerator(tuple((s,) for s in sizes), ((0.5, 1.0, 2.0),) * 5)
    wanted = theirs(ImageList(torch.zeros(1, 3, *image), [image]), maps)[0]
    got = [
        grid_anchors(cell_anchors(size), level.shape[-2:], stride)
        for size, level, stride in zip(sizes, maps, strides, strict=True)
    ]
    assert torch.equal(torch.cat(got), wanted)


def test_the_anchors_of_an_image_of_800_by_1088():
    """torchvision divides 800 pixels by 13 rows: its coarsest anchors stand every 61."""
    maps = [(-(-800 // s), -(-1088 // s)) for s in (4, 8, 16, 32, 64)]
    anchors = [grid_anchors(cell_anchors(32), size, 4) for size in maps]
    assert sum(map(len, anchors)) == 217_413
    rows = grid_anchors(cell_anchors(512), maps[-1], 64)[:, 1::2].mean(dim=1).unique()
    assert rows.tolist() == [64.0 * row for row in range(13)]


def test_golden_code():
    anchor, box = torch.tensor([[0.0, 0, 10, 20]]), torch.tensor([[2.0, 4, 14, 20]])
    assert encode_boxes(box, anchor)[0].tolist() == pytest.approx(
        [0.3, 0.1, 0.182322, -0.223144], abs=1e-6
    )
    weighted = encode_boxes(box, anchor, (10, 10, 5, 5))[0].tolist()
    assert weighted == pytest.approx([3, 1, 0.911608, -1.115718], abs=1e-6)


def boxes(seed: int, count: int = 9) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 50
    return torch.cat([corner, corner + 1 + torch.rand(count, 2, generator=generator) * 50], dim=1)


@given(st.integers(0, 10**6), st.sampled_from([(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)]))
def test_coding_is_torchvisions_and_comes_back(seed, weights):
    ours, anchors = boxes(seed), boxes(seed + 1)
    coder = BoxCoder(weights)
    code = encode_boxes(ours, anchors, weights)
    assert torch.allclose(code, coder.encode([ours], [anchors])[0], atol=1e-4)
    assert torch.allclose(decode_boxes(code, anchors, weights), ours, atol=1e-3)
    wild = torch.randn(9, 4, generator=torch.Generator().manual_seed(seed)) * 20
    theirs = coder.decode(wild, [anchors])[:, 0]
    assert torch.allclose(decode_boxes(wild, anchors, weights), theirs, rtol=1e-4, atol=1e-2)


def test_no_box_has_no_code():
    none = torch.zeros(0, 4)
    assert encode_boxes(none, none).shape == decode_boxes(none, none).shape == (0, 4)


@pytest.mark.parametrize(
    "call, remedy",
    [
        (lambda: cell_anchors(0), "size=0.* above 0"),
        (lambda: cell_anchors(8, ()), r"aspect_ratios=\(\).* usual"),
        (
            lambda: encode_boxes(torch.tensor([[1.0, 1, 1, 3]]), boxes(0, 1)),
            "no width.*drop objects",
        ),
        (lambda: encode_boxes(boxes(0, 1)[:, [2, 3, 0, 1]], boxes(0, 1)), "x1 >= x0"),
    ],
)
def test_bad_input_is_refused_with_the_remedy(call, remedy):
    with pytest.raises(ValueError, match=remedy):
        call()
