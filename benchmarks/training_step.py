"""One training step of our U-Net and of its peers: python -m benchmarks.training_step.

``Plain`` is the same network written independently, the way widely read repositories write it:
the same layers, parameters and, with the same weights, the same logits (a test compares them).
MONAI's BasicUNet of the same widths is built a little differently and runs beside it.
Steps alternate, so that whatever else the machine does slows all of them alike.
"""

import statistics
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.report import write
from segcourse.models.unet import UNet

CLASSES, WIDTH, DEPTH = 8, 12, 4
BATCH, HEIGHT, WIDTH_OF_IMAGE = 16, 96, 128
REPEATS = 9


class PlainDouble(nn.Module):
    """Convolution, normalisation, ReLU, twice: (N, before, H, W) -> (N, after, H, W)."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(before, after, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
            nn.Conv2d(after, after, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class PlainUp(nn.Module):
    """Upsample, pad to the skip's size, concatenate, convolve."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(before, before // 2, kernel_size=2, stride=2)
        self.convolve = PlainDouble(before, after)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.up(x)
        rows, columns = skip.shape[2] - x.shape[2], skip.shape[3] - x.shape[3]
        x = F.pad(x, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
        return self.convolve(torch.cat([skip, x], dim=1))


class Plain(nn.Module):
    """A U-Net of four levels, spelt out."""

    def __init__(self, num_classes: int, width: int):
        super().__init__()
        self.first = PlainDouble(3, width)
        self.down1 = nn.Sequential(nn.MaxPool2d(2), PlainDouble(width, 2 * width))
        self.down2 = nn.Sequential(nn.MaxPool2d(2), PlainDouble(2 * width, 4 * width))
        self.down3 = nn.Sequential(nn.MaxPool2d(2), PlainDouble(4 * width, 8 * width))
        self.down4 = nn.Sequential(nn.MaxPool2d(2), PlainDouble(8 * width, 16 * width))
        self.up1 = PlainUp(16 * width, 8 * width)
        self.up2 = PlainUp(8 * width, 4 * width)
        self.up3 = PlainUp(4 * width, 2 * width)
        self.up4 = PlainUp(2 * width, width)
        self.last = nn.Conv2d(width, num_classes, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.first(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x4 = self.down3(x3)
        x = self.down4(x4)
        x = self.up1(x, x4)
        x = self.up2(x, x3)
        x = self.up3(x, x2)
        x = self.up4(x, x1)
        return self.last(x)


def ours() -> UNet:
    """The course's network, at classroom size."""
    return UNet(CLASSES, width=WIDTH, depth=DEPTH, padding=1, batch_norm=True, dropout=0.0)


def monai() -> nn.Module:
    """MONAI's, of the same widths."""
    from monai.networks.nets import BasicUNet

    widths = [WIDTH * 2**level for level in range(DEPTH + 1)]
    return BasicUNet(
        spatial_dims=2,
        in_channels=3,
        out_channels=CLASSES,
        features=(*widths, WIDTH),
        act=("relu", {"inplace": True}),
        norm="batch",
        dropout=0.0,
        upsample="deconv",
    )


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def seconds_per_step(
    models: dict[str, nn.Module], shape: tuple[int, int, int], repeats: int
) -> dict[str, float]:
    """Median of the processor seconds of a step; the networks take turns.

    ``shape`` is that of the batch: images, height and width.
    """
    torch.manual_seed(0)
    batch, height, width = shape
    image = torch.rand(batch, 3, height, width)
    target = torch.randint(CLASSES, shape)
    optimizers = {name: torch.optim.AdamW(m.parameters()) for name, m in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for repeat in range(repeats + 2):
        for name, model in models.items():
            start = time.process_time()
            loss = F.cross_entropy(model(image), target)
            optimizers[name].zero_grad()
            loss.backward()
            optimizers[name].step()
            if repeat > 1:  # the first two prepare
                seconds[name].append(time.process_time() - start)
    return {name: statistics.median(each) for name, each in seconds.items()}


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    models = {"ours": ours(), "plain": Plain(CLASSES, WIDTH), "monai": monai()}
    typical = seconds_per_step(models, (BATCH, HEIGHT, WIDTH_OF_IMAGE), REPEATS)
    rows = {
        name: {
            "parameters": parameters(models[name]),
            "seconds_per_step": round(typical[name], 4),
            "ours_to_this": round(typical["ours"] / typical[name], 3),
        }
        for name in models
    }
    for name, row in rows.items():
        print(
            f"{name:6} {row['parameters']:8d} parameters  {row['seconds_per_step']:.3f} s a step  "
            f"ours takes {row['ours_to_this']:.2f} of its time"
        )
    shape = {"batch": BATCH, "height": HEIGHT, "width": WIDTH_OF_IMAGE, "repeats": REPEATS}
    write("training_step", {"input": shape, "networks": rows})


if __name__ == "__main__":
    main()
