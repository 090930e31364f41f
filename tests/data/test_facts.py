"""The facts of single samples, on cases whose answer is known."""

import pytest
import torch
import torch.nn.functional as F

from segcourse.data import transforms as T
from segcourse.data.facts import (
    fingerprint,
    near_duplicates,
    ramps,
    sample_facts,
    thin_borders,
)
from segcourse.data.toytown import Toytown
from segcourse.ops.labels import IGNORE


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
    own = fingerprint(sample.image)
    copies = [T.resize((48, 64)), T.gaussian_noise(0.03), T.color_jitter(), T.gaussian_blur()]
    torch.manual_seed(0)
    assert all((own @ fingerprint(change(sample).image)) > 0.98 for change in copies)
    assert own @ fingerprint(other.image) < 0.95


def test_near_duplicates_are_pairs():
    a, b = torch.eye(3), torch.eye(3)[[2, 2]]
    assert near_duplicates(a, b, 0.9) == [(2, 0), (2, 1)]
    assert near_duplicates(a[[0, 1, 0]], None, 0.9) == [(0, 2)]


def test_the_facts_of_a_sample():
    facts = sample_facts(Toytown(2), 1)
    assert facts.problem == "" and facts.sizes == ((96, 128), (96, 128))
    assert sum(facts.counts.values()) == 96 * 128 and facts.objects and not facts.crossing
    assert facts.height[0] / facts.counts[0] < 0.4  # the sky is above
    assert sum(facts.frame.values()) == 2 * (96 + 128)
    assert sample_facts([3], 0).problem.startswith("TypeError")


def test_arrays_and_tensors_of_any_kind_have_the_same_facts():
    image, semantic, instance = Toytown(1)[0]
    wanted = sample_facts([(image, semantic, instance)], 0)
    kinds = [
        (image.numpy()[:, ::-1][:, ::-1], semantic.numpy().astype(">i2"), instance.numpy()),
        (image.double().requires_grad_(), semantic.to(torch.int8), instance.to(torch.uint16)),
    ]
    for item in kinds:
        facts = sample_facts([item], 0)
        assert facts.problem == "" and facts.objects and not facts.crossing
        assert facts.counts == wanted.counts and facts.fit.shift == (0, 0)
        assert torch.allclose(facts.fingerprint, wanted.fingerprint, atol=1e-5)
    facts = sample_facts([(image.bfloat16(), semantic, instance)], 0)
    assert facts.problem == "" and facts.counts == wanted.counts


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (2, 3), (16, 10_000)])
@pytest.mark.parametrize("label", [0, 3, IGNORE])
def test_facts_of_tiny_and_long_samples(size, label):
    labels = torch.full(size, label)
    facts = sample_facts([(torch.rand(3, *size), labels, labels * 0)], 0)
    assert facts.problem == "" and facts.counts == {label: labels.numel()}


def test_gray_and_transparent_images_have_fingerprints_of_the_same_length():
    image = torch.rand(1, 20, 30)
    gray, color = fingerprint(image), fingerprint(image.expand(3, -1, -1))
    assert torch.allclose(gray, color)
    assert torch.allclose(fingerprint(torch.cat([image.expand(3, -1, -1), image * 0 + 1])), color)
