"""The classroom: small networks that keep their promises, and one loss for all of them."""

import pytest
import torch
import torch.nn.functional as F

from segcourse.classroom import AUX_WEIGHTS, DETECTORS, NETWORKS, course_loss, supervised
from segcourse.data.results import measured
from segcourse.data.sample import Cached, batches
from segcourse.data.toytown import CLASSES, THINGS, Toytown
from segcourse.losses.overlap import dice_loss
from segcourse.losses.pixelwise import cross_entropy
from segcourse.losses.weights import class_counts, log_frequency_weights
from segcourse.ops.instances import instances_from_maps
from segcourse.training import fit

PARAMETERS = {
    "fcn_32s": 875_460,
    "fcn_16s": 680_652,
    "fcn_8s": 632_916,
    "deconvnet": 453_848,
    "unet": 272_000,
    "segnet": 196_184,
    "segnet_basic": 65_496,
    "fcn_resnet": 748_672,
    "pspnet": 762_208,
    "deeplab_v1": 293_640,
    "deeplab_v2": 736_064,
    "refinenet": 911_240,
    "gfrnet": 877_900,
    "deeplab_v3": 1_325_488,
    "deeplab_v3_plus": 391_548,
}


@pytest.fixture(scope="module")
def scenes() -> Cached:
    return Cached(Toytown(4))


def test_the_networks_have_the_size_that_was_measured():
    with torch.device("meta"):
        nets = {name: build(len(CLASSES)) for name, build in NETWORKS.items()}
    assert {name: sum(p.numel() for p in net.parameters()) for name, net in nets.items()} == (
        PARAMETERS
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_every_stage_is_supervised_at_its_own_size(name):
    image, target = torch.rand(2, 3, 96, 128), torch.randint(3, (2, 96, 128))
    stages = list(supervised(NETWORKS[name](3), image, target, aux_weight=0.4))
    weights = [weight for weight, _, _ in stages]
    assert weights[-1] == 1 and set(weights[:-1]) <= {0.4}
    for _, logits, labels in stages:
        assert logits.shape == (2, 3, *labels.shape[1:])
        assert labels.dtype == torch.int64
    assert torch.equal(stages[-1][2], target)
    sizes = [tuple(labels.shape[1:]) for _, _, labels in stages]
    own = [(3, 4), (6, 8), (12, 16), (24, 32), (48, 64)] if name == "gfrnet" else sizes[:-1]
    assert sizes == [*own, (96, 128)]


def test_labels_of_coarse_logits_are_those_of_the_nearest_pixel():
    target = torch.randint(3, (1, 96, 128))
    (_, _, coarse), *_ = supervised(NETWORKS["gfrnet"](3), torch.rand(1, 3, 96, 128), target)
    assert torch.equal(coarse, target[:, 16::32, 16::32])


@pytest.mark.parametrize("name, terms", [("unet", 1), ("pspnet", 2), ("gfrnet", 6)])
def test_the_loss_adds_cross_entropy_and_dice_of_all_logits(name, terms, scenes):
    torch.manual_seed(0)
    model = NETWORKS[name](len(CLASSES)).eval()
    batch = next(iter(batches(scenes, batch_size=2, seed=0)))
    share = AUX_WEIGHTS.get(name, 1.0)
    counts = class_counts(torch.stack([scene.semantic for scene in scenes]), len(CLASSES))
    weight, wanted = log_frequency_weights(counts), 0.0
    every = model.all_logits(batch.image)
    assert len(every) == terms
    for number, logits in enumerate(every, start=1):
        labels = F.interpolate(
            batch.semantic[:, None].double(), logits.shape[-2:], mode="nearest-exact"
        )[:, 0].long()
        each = cross_entropy(logits, labels, weight=weight) + dice_loss(logits, labels)
        wanted = wanted + each * (1.0 if number == terms else share)
    loss = course_loss(scenes, aux_weight=share)
    assert loss(model, batch).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_auxiliary_weights_belong_to_networks_with_auxiliary_heads():
    for name, build in NETWORKS.items():
        assert (getattr(build(3), "aux_classifier", None) is not None) == (name in AUX_WEIGHTS)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_learns_with_the_loss(name, scenes):
    torch.manual_seed(0)
    model = NETWORKS[name](len(CLASSES))
    loss = course_loss(scenes, aux_weight=AUX_WEIGHTS.get(name, 1.0))
    data = list(batches(scenes, batch_size=4, seed=0))
    history = fit(model, loss, data, steps=6, learning_rate=1e-3, progress=False)
    assert history[-1] < history[0]


# ── detectors ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["mask_rcnn", "detr"])
def test_the_detectors_have_the_size_of_the_weights_that_come_with_the_course(name):
    with torch.device("meta"):
        net = DETECTORS[name](len(THINGS))
    assert (
        sum(p.numel() for p in net.parameters())
        == measured("pretrained")["weights"][name]["parameters"]
    )


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_has_losses_and_takes_images_of_any_sizes(name):
    torch.manual_seed(0)
    stuff = [label for label in range(len(CLASSES)) if label not in THINGS]
    classes = (THINGS, stuff) if name == "panoptic_fpn" else (len(THINGS),)
    net = DETECTORS[name](*classes)
    samples = [Toytown(1, seed=3)[0], Toytown(1, seed=4, size=(64, 96))[0]]
    images = [sample.image for sample in samples]
    targets = [instances_from_maps(s.semantic, s.instance, THINGS) for s in samples]
    semantic = [[sample.semantic for sample in samples]] if name == "panoptic_fpn" else []
    losses = net.loss(images, targets, *semantic)
    assert all(value.isfinite() and value.ndim == 0 for value in losses.values())
    found = net.eval()(images)
    assert len(found.logits if name == "detr" else found) == 2
