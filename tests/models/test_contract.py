"""What every semantic network of the course promises, asked of all of them in one place."""

from functools import partial

import pytest
import torch

from segcourse.blocks.resnet import ResNet
from segcourse.blocks.xception import Xception
from segcourse.models.deconvnet import DeconvNet
from segcourse.models.deeplab_v1 import DeepLabV1
from segcourse.models.deeplab_v2 import DeepLabV2
from segcourse.models.deeplab_v3 import DeepLabV3
from segcourse.models.deeplab_v3_plus import DeepLabV3Plus
from segcourse.models.fcn import FCN
from segcourse.models.fcn_resnet import FCNResNet
from segcourse.models.gfrnet import GFRNet
from segcourse.models.pspnet import PSPNet
from segcourse.models.refinenet import RefineNet
from segcourse.models.segnet import SegNet, SegNetBasic
from segcourse.models.unet import UNet

small_fcn = partial(FCN, width=4, fc_channels=16, kernel_size=3, padding=1, batch_norm=True)
small_unet = partial(UNet, width=4, depth=2, padding=1)
small_resnet = partial(ResNet, 18, width=4)
NETWORKS = {  # one line per network
    "FCN-32s": partial(small_fcn, stride=32),
    "FCN-16s": partial(small_fcn, stride=16),
    "FCN-8s": partial(small_fcn, stride=8),
    "U-Net": small_unet,
    "U-Net, normalised": partial(small_unet, batch_norm=True),
    "U-Net that adds": partial(small_unet, skip="add"),
    "DeconvNet": partial(DeconvNet, width=4, fc_channels=16, kernel_size=1),
    "SegNet": partial(SegNet, width=4),
    "SegNet-Basic": partial(SegNetBasic, width=4),
    "DeepLab v1": partial(DeepLabV1, width=4, fc_channels=16, dilation=2),
    "DeepLab v1, multi-scale": partial(
        DeepLabV1, width=4, fc_channels=16, dilation=2, multi_scale=True, batch_norm=True
    ),
    "DeepLab v2": partial(DeepLabV2, layers=18, width=4, atrous_rates=(1, 2, 4)),
    "DeepLab v2 on VGG": partial(
        DeepLabV2, layers=16, width=2, atrous_rates=(1, 2), batch_norm=True
    ),
    "DeepLab v3": partial(DeepLabV3, backbone=small_resnet, atrous_rates=(1, 2, 3), channels=8),
    "DeepLab v3+": partial(
        DeepLabV3Plus,
        backbone=small_resnet,
        atrous_rates=(1, 2, 3),
        channels=8,
        low_level_channels=4,
    ),
    "DeepLab v3+ on Xception": partial(
        DeepLabV3Plus, backbone=partial(Xception, 41, width=4), atrous_rates=(1,), channels=8
    ),
    "FCN-ResNet": partial(FCNResNet, layers=18, width=4),
    "PSPNet": partial(PSPNet, layers=18, width=4, stages=3),
    "RefineNet": partial(RefineNet, layers=18, width=4, channels=4),
    "RefineNet, normalised": partial(RefineNet, layers=18, width=4, channels=4, batch_norm=True),
    "G-FRNet": partial(GFRNet, width=4),
}


def learning(network: partial) -> torch.nn.Module:
    """A network that has seen a few batches: scores that start at zero have no gradients below."""
    torch.manual_seed(0)
    model = network(num_classes=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        logits = model(torch.randn(2, 3, 32, 32))
        target = torch.randint(3, (2, 32, 32))
        torch.nn.functional.cross_entropy(logits, target).backward()
        optimizer.step()
    return model


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
class TestContract:
    @pytest.mark.parametrize("classes", [1, 7])
    def test_logits_have_the_size_of_the_image(self, network, classes):
        logits = network(num_classes=classes)(torch.randn(2, 3, 32, 64))
        assert logits.shape == (2, classes, 32, 64)
        assert logits.dtype == torch.float32

    def test_a_gradient_reaches_every_parameter(self, network):
        model = learning(network)
        model.zero_grad()
        model(torch.randn(2, 3, 96, 96)).square().mean().backward()
        idle = [
            name
            for name, p in model.named_parameters()
            if p.requires_grad and (p.grad is None or not p.grad.any())
        ]
        assert not idle

    def test_evaluation_does_not_depend_on_the_batch(self, network):
        model, images = learning(network).eval(), torch.randn(2, 3, 32, 32)
        assert torch.allclose(model(images)[:1], model(images[:1]), atol=1e-5)

    def test_evaluation_repeats(self, network):
        model, images = learning(network).eval(), torch.randn(2, 3, 32, 32)
        assert torch.equal(model(images), model(images))

    def test_weights_survive_saving(self, network):
        model, images = learning(network).eval(), torch.randn(1, 3, 32, 32)
        copy = network(num_classes=3).eval()
        copy.load_state_dict(model.state_dict())
        assert torch.equal(model(images), copy(images))

    def test_all_logits_end_with_the_networks_own(self, network):
        model, images = learning(network).eval(), torch.randn(2, 3, 32, 64)
        every = model.all_logits(images)
        assert isinstance(every, list) and torch.equal(every[-1], model(images))
        areas = [logits.shape[-2] * logits.shape[-1] for logits in every]
        assert areas == sorted(areas) and all(x.shape[:2] == (2, 3) for x in every)

    @pytest.mark.parametrize("training", [False, True])
    @pytest.mark.parametrize("size", [(33, 47), (97, 31), (1, 40), (40, 1), (1, 1)])
    def test_any_size_works_or_the_error_says_what_to_do(self, network, size, training):
        model = network(num_classes=3).train(training)
        try:
            logits = model(torch.randn(2, 3, *size))
        except ValueError as error:
            assert f"{size[0]} x {size[1]}" in str(error) and "pad or crop it" in str(error)
        else:
            assert logits.shape == (2, 3, *size) and logits.isfinite().all()

    def test_a_single_image_trains_or_the_error_says_what_to_do(self, network):
        try:
            logits = network(num_classes=3)(torch.randn(1, 3, 64, 96))
        except ValueError as error:
            assert "cannot train on a single image" in str(error) and "eval()" in str(error)
        else:
            assert logits.shape == (1, 3, 64, 96) and logits.isfinite().all()

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_other_precisions(self, network, dtype):
        model, images = learning(network).eval().to(dtype), torch.randn(2, 3, 32, 64, dtype=dtype)
        with torch.no_grad():
            every = model.all_logits(images)
        assert {logits.dtype for logits in every} == {dtype}
        assert all(logits.isfinite().all() for logits in every)

    def test_autocast_trains_with_finite_gradients(self, network):
        model, target = learning(network).train(), torch.randint(3, (2, 32, 64))
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(torch.randn(2, 3, 32, 64))
        torch.nn.functional.cross_entropy(logits.float(), target).backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert gradients and all(g.dtype == torch.float32 for g in gradients)
        assert all(g.isfinite().all() for g in gradients)

    def test_everything_but_the_number_of_classes_is_named(self, network):
        with pytest.raises(TypeError):
            network.func(3, 3)
