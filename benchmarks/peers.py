"""A training step of each classroom network, and of a peer where one exists: the price of clarity.

    python -m benchmarks.peers

A peer is a network of segmentation-models-pytorch or torchvision, on timm's ResNet, with the same
output stride and (to 3 %) as many parameters; how it is wired within differs. Networks without a
peer are listed with their arithmetic a second. Steps alternate, so that whatever else the machine
does slows both alike; what counts is processor time. Writes results/peers.json.
"""

from collections.abc import Callable
from functools import partial

import segmentation_models_pytorch as smp
import timm
import torch
from torch import Tensor, nn
from torchvision.models import segmentation
from torchvision.models._utils import IntermediateLayerGetter

from benchmarks.architectures import cost
from benchmarks.report import write
from benchmarks.training_step import parameters, seconds_per_step
from segcourse.classroom import NETWORKS
from segcourse.data.toytown import CLASSES

BATCH, HEIGHT, WIDTH = 4, 96, 128
REPEATS = 40
K = len(CLASSES)


def narrow(width: int, *, deep: bool = False) -> dict:
    """Arguments of timm's ResNet-18 with ``width`` channels in the first stage instead of 64."""
    channels = tuple(width * 2**level for level in range(4))
    return {"channels": channels, "stem_width": width, "stem_type": "deep" if deep else ""}


class TorchvisionFCN(nn.Module):
    """torchvision's FCN on timm's ResNet, which can be narrow: (N, 3, H, W) -> (N, K, H, W)."""

    def __init__(self, width: int):
        super().__init__()
        resnet = timm.create_model("resnet18", output_stride=8, **narrow(width))
        self.network = segmentation.FCN(
            IntermediateLayerGetter(resnet, {"layer4": "out"}),
            segmentation.fcn.FCNHead(8 * width, K),
        )

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image)["out"]


DEEPLAB = dict(
    encoder_name="tu-resnet18",
    encoder_weights=None,
    classes=K,
    encoder_depth=4,
    encoder_output_stride=8,
    decoder_aspp_dropout=0.0,
)

# Changes that wire our network as the peer, which has no auxiliary branch and, in DeepLab v3+,
# joins features of stride 4; the peer.
PEERS: dict[str, tuple[dict, str, Callable[[], nn.Module]]] = {
    "fcn_resnet": ({"aux_loss": False}, "torchvision FCN", partial(TorchvisionFCN, width=16)),
    "pspnet": (
        {"aux_loss": False},
        "SMP PSPNet",
        partial(
            smp.PSPNet,
            "tu-resnet18",
            encoder_weights=None,
            classes=K,
            encoder_depth=4,
            output_stride=8,
            psp_out_channels=96,
            **narrow(31, deep=True),
        ),
    ),
    "deeplab_v3": (
        {},
        "SMP DeepLabV3",
        partial(
            smp.DeepLabV3,
            decoder_channels=42,
            decoder_atrous_rates=(1, 2, 4),
            **DEEPLAB,
            **narrow(40),
        ),
    ),
    "deeplab_v3_plus": (
        {"low_level": 1},
        "SMP DeepLabV3Plus",
        partial(
            smp.DeepLabV3Plus,
            decoder_channels=88,
            decoder_atrous_rates=(2, 4, 6),
            **DEEPLAB,
            **narrow(20, deep=True),
        ),
    ),
}


def compare(name: str, repeats: int) -> dict:
    """One network of the course, and its peer if it has one."""
    models = {"classroom": NETWORKS[name](K)}
    changes, peer, build = PEERS.get(name, ({}, None, None))
    if peer:
        models |= {"ours": partial(NETWORKS[name], **changes)(K), "peer": build()}
    seconds = seconds_per_step(models, (BATCH, HEIGHT, WIDTH), repeats)
    macs = 3 * BATCH * cost(models["classroom"])["macs"]  # backwards costs twice as much
    return {
        "step_ms": round(1000 * seconds["classroom"], 1),
        "gigamacs_per_second": round(macs / seconds["classroom"] / 1e9, 1),
        "parameters": parameters(models["ours" if peer else "classroom"]),
        "peer": peer,
        "peer_parameters": parameters(models["peer"]) if peer else None,
        "ours_to_peer": round(seconds["ours"] / seconds["peer"], 3) if peer else None,
    }


def main(repeats: int = REPEATS) -> None:
    torch.set_num_threads(1)
    rows = {}
    for name in NETWORKS:
        rows[name] = compare(name, repeats)
        print(f"{name:16}", *(f"{key} {value}" for key, value in rows[name].items()), flush=True)
    shape = {"batch": BATCH, "height": HEIGHT, "width": WIDTH, "repeats": repeats}
    write("peers", {"input": shape, "networks": rows})


if __name__ == "__main__":
    main()
