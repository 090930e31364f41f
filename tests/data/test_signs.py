"""Signed: the colour of a sign decides the class of the grass, and nothing else changes."""

import pytest
import torch

from segcourse.data import Signed, Toytown
from segcourse.data.signs import CLASSES, GRASS, MEADOW, PALETTE, SIDE
from segcourse.ops.labels import IGNORE

TOWN = Toytown(12, seed=1)


def test_a_class_and_a_colour_are_added():
    assert CLASSES[GRASS] == "grass" and CLASSES[MEADOW] == "meadow"
    assert len(CLASSES) == len(PALETTE) == len(set(PALETTE)) == 9


@pytest.mark.parametrize("signs", [1, 2])
def test_every_part_of_a_scene_has_a_sign_that_names_its_grass(signs):
    colors = set()
    for plain, signed in zip(TOWN, Signed(TOWN, signs=signs), strict=True):
        width = 128 // signs
        for start in range(0, 128, width):
            part = (..., slice(start, start + width))
            before, image = plain.semantic[part], signed.image[part]
            after = signed.semantic[part]
            void = after == IGNORE
            top = 0 if signs == 1 else 48
            assert void.sum() == void[top : top + SIDE].sum() == SIDE**2
            assert torch.equal(image[:, ~void], plain.image[part][:, ~void])
            color = image[:, void].unique(dim=1)[:, 0].tolist()
            assert color in ([1, 0, 0], [0, 0, 1])
            colors.add(tuple(color))
            blue = color == [0, 0, 1]
            expected = torch.where(before == GRASS, MEADOW if blue else GRASS, before)
            assert torch.equal(after[~void], expected[~void])
        assert torch.equal(signed.instance, plain.instance)
    assert len(colors) == 2


def test_the_scenes_below_stay_as_they_were():
    before = TOWN[0].image.clone()
    samples = [TOWN[0]]
    Signed(samples)[0]
    assert torch.equal(samples[0].image, before) and len(Signed(samples)) == 1


@pytest.mark.parametrize("signs", [0, 3])
def test_other_numbers_of_signs_are_refused(signs):
    with pytest.raises(ValueError, match="choose 1 for the scene, 2 for its halves"):
        Signed(TOWN, signs=signs)
