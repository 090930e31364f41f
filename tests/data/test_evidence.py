"""The measurements behind the checklist, each on cases whose answer is known."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.signal import correlate2d

from segcourse.data import transforms as T
from segcourse.data.evidence import (
    alignment,
    edge_correlation,
    fingerprint,
    label_borders,
    look,
    near_copies,
    picture_edges,
    ramps,
    thin_borders,
)
from segcourse.data.toytown import Toytown
from segcourse.ops.labels import IGNORE


def test_borders_are_on_both_sides_of_a_change():
    labels = torch.tensor([[1, 1, 2, 2], [1, 1, 2, 2], [1, 1, 1, 1]])
    want = torch.tensor([[0, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]).float()
    assert torch.equal(label_borders(labels), want)


def test_edges_do_not_depend_on_the_scale_of_the_picture():
    image = Toytown(1)[0].image
    assert torch.allclose(picture_edges(image), picture_edges(255 * image), atol=1e-4)
    assert not picture_edges(torch.ones(3, 5, 6)).any()


def test_correlation_agrees_with_scipy():
    g = torch.Generator().manual_seed(0)
    a, b = torch.rand(20, 30, generator=g), torch.rand(20, 30, generator=g)
    x, y = (part - part.mean() for part in (a, b))
    full = correlate2d(x.numpy(), y.numpy(), mode="full")
    want = full[19 - 3 : 19 + 4, 29 - 3 : 29 + 4] / (x.norm() * y.norm()).item()
    assert np.allclose(edge_correlation(a, b, reach=3).numpy(), want, atol=1e-5)
    assert edge_correlation(a, a, reach=2)[2, 2].item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("down, right", [(0, 0), (3, -4), (-5, 2), (0, 6), (-7, 0)])
def test_a_shift_is_found(down, right):
    sample = Toytown(3)[1]
    moved = sample.semantic.roll((-down, -right), (0, 1))
    assert alignment(sample.image, moved).shift == (down, right)


@pytest.mark.parametrize(
    "name, change",
    [
        ("left to right", lambda labels: labels.flip(1)),
        ("top to bottom", lambda labels: labels.flip(0)),
        ("by a half turn", lambda labels: labels.flip(0, 1)),
        ("along the diagonal", lambda labels: labels.T),
    ],
)
def test_a_mirroring_is_found(name, change):
    sample = T.resize((96, 96))(Toytown(3)[0])
    assert alignment(sample.image, change(sample.semantic)).mirrored == name
    assert alignment(sample.image, sample.semantic).mirrored == ""


def test_one_pixel_is_within_the_accuracy_of_hand_drawn_masks():
    sample = Toytown(3)[1]
    assert alignment(sample.image, sample.semantic.roll(1, 0)).shift == (0, 0)


def test_ramps_are_counted_in_both_directions():
    labels = torch.tensor([[1, 3, 5], [1, 1, 5], [5, 5, 5]])
    # rows: 1-3-5 climbs; columns: none climbs. direct: 1-3, 3-5, 1-5 in rows; 1-5, 3-1, 1-5 down
    assert ramps(labels) == (1, 6)
    assert ramps(torch.zeros(4, 4).long()) == (0, 0)


def test_interpolated_masks_climb():
    def share(labels):
        climbing, direct = ramps(labels)
        return climbing / (climbing + direct)

    sample = Toytown(2)[1]
    mask = sample.semantic[None, None].float()
    averaged = F.interpolate(mask, (48, 64), mode="bilinear")[0, 0].long()
    assert share(sample.semantic) < 0.1 < 0.2 < share(averaged)
    assert share(T.resize((48, 64))(sample).semantic) < 0.17


def test_a_ring_is_a_thin_border_and_a_wide_region_is_none():
    labels = torch.full((40, 40), 2)
    labels[10:30, 10:30] = 3
    objects = (labels == 3).long()
    steps, onto = thin_borders(labels, objects)
    assert steps == 80 and onto.sum() == 0
    ring = labels.clone()
    ring[8:32, 8:32] = 0
    ring[10:30, 10:30] = 3
    steps, onto = thin_borders(ring, objects)
    assert steps == 80 and onto[0] == 80
    void = torch.where(ring == 0, IGNORE, ring)
    assert thin_borders(void, objects)[1].sum() == 0


def test_a_thin_class_in_the_open_is_no_border():
    labels = torch.zeros(40, 40).long()
    labels[:, 20:22] = 1  # a vessel: what follows it is what was before it
    assert thin_borders(labels, labels * 0)[1].sum() == 0


def test_fingerprints_survive_what_copies_go_through():
    sample, other = Toytown(2)[0], Toytown(2)[1]
    print_ = fingerprint(sample.image)
    copies = [T.resize((48, 64)), T.gaussian_noise(0.03), T.color_jitter(), T.gaussian_blur()]
    torch.manual_seed(0)
    assert all((print_ @ fingerprint(change(sample).image)) > 0.98 for change in copies)
    assert print_ @ fingerprint(other.image) < 0.95


def test_near_copies_are_pairs():
    a, b = torch.eye(3), torch.eye(3)[[2, 2]]
    assert near_copies(a, b, 0.9) == [(2, 0), (2, 1)]
    assert near_copies(a[[0, 1, 0]], None, 0.9) == [(0, 2)]


def test_the_facts_of_a_sample():
    facts = look(Toytown(2), 1)
    assert facts.problem == "" and facts.sizes == ((96, 128), (96, 128))
    assert sum(facts.counts.values()) == 96 * 128 and facts.objects and not facts.crossing
    assert facts.height[0] / facts.counts[0] < 0.4  # the sky is above
    assert sum(facts.frame.values()) == 2 * (96 + 128)
    assert look([3], 0).problem.startswith("TypeError")
