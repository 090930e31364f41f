"""What the parts of DeepLab v3 and v3+ contribute on Toytown, three seeds each.

    python -m benchmarks.deeplab_v3                          all arms
    python -m benchmarks.deeplab_v3 --only decoder --dry     one arm, printed only, other scenes
    python -m benchmarks.deeplab_v3 --only decoder --layers --photo   layers and photograph, too

Every arm changes one thing of ``decoder``, a small DeepLab v3+ on a ResNet-18 with output stride 16
and low-level features of stride 4; equal seeds see the same scenes in the same order.

    no_decoder      DeepLab v3: logits at stride 16, upsampled
    decoder_alone   the decoder's layers at stride 4, with zeros for the low-level features
    no_pooling      ASPP without image pooling
    wide_rates      atrous rates 6, 12, 18 on a map of 6 x 8 positions, instead of 1, 2, 3
    no_batch_norm   ASPP's convolutions have a bias and no batch normalisation
    multi_grid      the two blocks of the last stage have the factors 1 and 2
    separable       ASPP and decoder have separable convolutions

Arms that begin with ``sign`` are DeepLab v3 with output stride 8 on scenes in which the colour of a
small sign in the sky decides which of two classes the grass is (``benchmarks/ablations.py``).

The photograph is that of coffee: both networks, on a fixed pretrained encoder with output stride
16, are trained on its left half and tested on its right half, also with output stride 8; with eight
seeds, because a run is short. Scores at stride 8 are stored twice: with the map where
``align_corners=False`` draws it, and *moved back* by half a position to where training drew it.
"""

import json
import statistics
import time
from collections.abc import Callable
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import runs
from benchmarks.ablations import Signed
from benchmarks.architectures import CHOICE_SEED, EDGE, TEST_SEED
from benchmarks.recipe import learn, semantic_scores
from benchmarks.report import RESULTS, write
from segcourse.blocks.aspp import ASPP
from segcourse.blocks.conv import conv_bn_relu, kaiming_normal_
from segcourse.blocks.resnet import ResNet
from segcourse.blocks.xception import separable_conv
from segcourse.classroom import course_loss
from segcourse.data import photographs
from segcourse.data.photographs import Photographs
from segcourse.data.sample import Cached, Sample, stack
from segcourse.data.toytown import CLASSES, Toytown
from segcourse.metrics.boundary import boundary_f1, class_scores, mean_by_class
from segcourse.metrics.semantic import confusion_matrix
from segcourse.models.deeplab_v3 import DeepLabV3
from segcourse.models.deeplab_v3_plus import DeepLabV3Plus
from segcourse.ops.labels import IGNORE
from segcourse.pretrained import imagenet_classifier
from segcourse.training import poly, predict, seed_everything, warmup

SEEDS, PHOTO_SEEDS = (0, 1, 2), tuple(range(8))
TRAINING = dict(steps=200, batch=4, learning_rate=1e-2, scenes=400)
SCORED = 100  # scenes
LAYERS = dict(channels=(16, 32, 64, 128, 256), input=(4, 24, 32), turns=20)  # input: N, H, W
SIGN_CLASSES = (*CLASSES, "meadow")
ENCODER = partial(ResNet, 18, width=16)
COMMON = dict(backbone=ENCODER, output_stride=16, atrous_rates=(1, 2, 3), channels=32, dropout=0.0)
DECODER = dict(low_level_channels=16, convolution=conv_bn_relu)
SIGN = dict(
    backbone=partial(ENCODER, stages=3), output_stride=8, atrous_rates=(1, 2, 4), channels=32,
    dropout=0.0,
)  # fmt: skip
PHOTO = dict(
    classes=("table", "saucer", "cup", "coffee"), crops=48, side=160, batch=8, steps=60,
    learning_rate=3e-3, channels=64, low_level_channels=24, atrous_rates=(2, 4, 6),
)  # fmt: skip
SCALES: dict[str, tuple[tuple[float, ...], bool]] = {  # of the image, and whether it is mirrored
    "flip": ((1.0,), True),
    "three scales": ((0.75, 1.0, 1.25), False),
    "three scales, flip": ((0.75, 1.0, 1.25), True),
    "six scales, flip": ((0.5, 0.75, 1.0, 1.25, 1.5, 1.75), True),
}


# ------------------------------------------------------------------- networks


def plus(num_classes: int, **changes: object) -> DeepLabV3Plus:
    """The network of the arm ``decoder``, perhaps with other arguments."""
    return DeepLabV3Plus(num_classes, **{**COMMON, **DECODER, **changes})


def without_low_level(num_classes: int) -> DeepLabV3Plus:
    """All layers of ``plus``, but zeros in the place of the low-level features."""
    model = plus(num_classes)
    model.reduce.register_forward_hook(lambda layer, inputs, output: torch.zeros_like(output))
    return model


class NoPooling(ASPP):
    """ASPP without image pooling: its 1 x 1 convolution reads one branch less."""

    def __init__(self, *arguments: object, **options: object):
        super().__init__(*arguments, **options)
        _, norm, _, dropout = self.project
        channels = norm.num_features
        branches = len(self.convs) - 1
        self.convs = self.convs[:-1]
        self.project = nn.Sequential(
            *conv_bn_relu(branches * channels, channels, kernel_size=1), dropout
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.project(torch.cat([conv(x) for conv in self.convs], dim=1))


def without_pooling(build: Callable[..., nn.Module], num_classes: int, **options) -> nn.Module:
    """A network whose ASPP has no image pooling."""
    model = build(num_classes, **options)
    given = {**COMMON, **options}
    aspp = NoPooling(
        model.backbone.channels[-1], given["channels"], atrous_rates=given["atrous_rates"],
        dropout=0.0,
    )  # fmt: skip
    if isinstance(model, DeepLabV3Plus):
        model.aspp = aspp
    else:
        model.classifier[0] = aspp
    return model


def without_batch_norm(num_classes: int) -> DeepLabV3Plus:
    """All convolutions of ASPP with a bias instead of batch normalisation."""

    def bare(layers: nn.Sequential) -> nn.Sequential:
        kept = [each for each in layers if not isinstance(each, nn.BatchNorm2d)]
        for place, layer in enumerate(kept):
            if isinstance(layer, nn.Conv2d):
                kept[place] = kaiming_normal_(
                    nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size,
                              padding=layer.padding, dilation=layer.dilation)
                )  # fmt: skip
        return nn.Sequential(*kept)

    model = plus(num_classes)
    aspp = model.aspp
    aspp.convs = nn.ModuleList(bare(branch) for branch in aspp.convs)
    aspp.project = bare(aspp.project)
    aspp._check_batch = lambda x: None  # a batch of one is no problem without normalisation
    return model


def sign(num_classes: int, pooling: bool) -> nn.Module:
    """A DeepLab v3 for the scenes with signs."""
    if pooling:
        return DeepLabV3(num_classes, **SIGN)
    return without_pooling(DeepLabV3, num_classes, **SIGN)


ARMS: dict[str, Callable[[int], nn.Module]] = {
    "decoder": plus,
    "no_decoder": partial(DeepLabV3, **COMMON),
    "decoder_alone": without_low_level,
    "no_pooling": partial(without_pooling, plus),
    "wide_rates": partial(plus, atrous_rates=(6, 12, 18)),
    "no_batch_norm": without_batch_norm,
    "multi_grid": partial(plus, backbone=partial(ENCODER, multi_grid=(1, 2))),
    "separable": partial(plus, convolution=separable_conv),
    "sign, no pooling": partial(sign, pooling=False),
    "sign, pooling": partial(sign, pooling=True),
}
TESTED = ("decoder", "no_decoder")  # also at another output stride, and at several scales


# ------------------------------------------------------------------- measurements


def scores(preds: Tensor, target: Tensor, classes: tuple[str, ...] = CLASSES) -> dict:
    """IoU of label maps: (N, H, W) each."""
    found = semantic_scores(confusion_matrix(preds, target, len(classes)), classes)
    return {**found, "thin_iou": found["iou"]["lamp"]}


def halve_stride(model: nn.Module, *, double_rates: bool) -> nn.Module:
    """The same weights at half the output stride: from 16 to 8, with or without doubled rates."""
    other = (plus if isinstance(model, DeepLabV3Plus) else partial(DeepLabV3, **COMMON))(
        len(CLASSES), output_stride=8, atrous_rates=(2, 4, 6) if double_rates else (1, 2, 3)
    )
    other.load_state_dict(model.state_dict())
    return other


def resize_moved(x: Tensor, size: tuple[int, int], shift: float) -> Tensor:
    """Upsampled as with ``align_corners=False``, but read ``shift`` positions down and right.

    At half the output stride, old position i is new position 2i (or 2i + 1), which is drawn half a
    new position further up and left (or down and right) than before. A shift of -0.5 (or 0.5)
    moves the map back: (N, C, h, w) -> (N, C, H, W).
    """
    grids = [
        ((torch.arange(out) + 0.5) * old / out - 0.5 + shift).clamp(0, old - 1) / (old - 1) * 2 - 1
        for old, out in zip(x.shape[-2:], size, strict=True)
    ]
    rows, columns = torch.meshgrid(*grids, indexing="ij")
    grid = torch.stack([columns, rows], dim=-1).expand(len(x), -1, -1, -1)
    return F.grid_sample(x, grid, mode="bilinear", align_corners=True)


@torch.no_grad()
def predict_moved(model: nn.Module, images: Tensor, shift: float) -> Tensor:
    """Classes, with the map of the smaller output stride moved back: -> (N, H, W)."""
    model.eval()
    labels = []
    for image in images.split(10):
        *finer, last = model.backbone(image)
        if isinstance(model, DeepLabV3Plus):
            low = finer[model.low_level]
            x = resize_moved(model.aspp(last), low.shape[-2:], shift)
            x = model.decoder(torch.cat([x, model.reduce(low)], dim=1))
            logits = F.interpolate(model.classifier(x), image.shape[-2:], mode="bilinear")
        else:
            logits = resize_moved(model.classifier(last), image.shape[-2:], shift)
        labels.append(logits.argmax(dim=1))
    return torch.cat(labels)


@torch.no_grad()
def averaged(model: nn.Module, images: Tensor, scales: tuple[float, ...], flip: bool) -> Tensor:
    """Classes of the mean probability over resized, perhaps mirrored, images: -> (N, H, W)."""
    model.eval()
    size = images.shape[-2:]
    total = 0
    for scale in scales:
        scaled = tuple(16 * round(side * scale / 16) for side in size)
        resized = F.interpolate(images, scaled, mode="bilinear", antialias=True)
        for view in (resized, resized.flip(-1)) if flip else (resized,):
            probability = F.interpolate(model(view), size, mode="bilinear").softmax(dim=1)
            total = total + (probability.flip(-1) if view is not resized else probability)
    return total.argmax(dim=1)


def tested_otherwise(model: nn.Module, test: Sample) -> dict:
    """A network trained at stride 16, tested at 8 and at several scales: scores and times."""
    found = {}
    for name, double in (("rates doubled", True), ("rates unchanged", False)):
        finer = halve_stride(model, double_rates=double)
        preds = predict(finer, test.image, batch_size=10)
        found[f"stride 8, {name}"] = scores(preds, test.semantic)
        preds = predict_moved(finer, test.image, shift=-0.5)  # old position i is new position 2i
        found[f"stride 8, {name}, moved back"] = scores(preds, test.semantic)
    for name, (scales, flip) in {"once": ((1.0,), False), **SCALES}.items():
        started = time.process_time()
        preds = [averaged(model, images, scales, flip) for images in test.image.split(10)]
        seconds = time.process_time() - started
        found[name] = {
            **scores(torch.cat(preds), test.semantic),
            "ms": round(1000 * seconds / len(test.image), 2),
        }
    return found


@cache
def scenes(signed: bool, scored: int) -> tuple[Cached, Sample]:
    """Training scenes, and those of the seed ``scored`` as one batch."""
    training, test = Toytown(TRAINING["scenes"]), Toytown(SCORED, seed=scored)
    if signed:
        training, test = Signed(training), Signed(test)
    return Cached(training), stack(list(test))


def run(name: str, seed: int, steps: int, scored: int) -> dict:
    """Train one arm with one seed, and score it on the scenes of the seed ``scored``."""
    signed = name.startswith("sign")
    classes = SIGN_CLASSES if signed else CLASSES
    training, test = scenes(signed, scored)
    loss = course_loss(training, len(classes))
    started = time.process_time()
    model = learn(
        partial(ARMS[name], len(classes)),
        training,
        loss,
        seed=seed,
        steps=steps,
        batch=TRAINING["batch"],
        learning_rate=TRAINING["learning_rate"],
        schedule=warmup(poly(0.9), share=0.5),
    )
    seconds = time.process_time() - started
    found = {
        "seed": seed,
        **scores(predict(model, test.image, batch_size=10), test.semantic, classes),
        "step_ms": round(1000 * seconds / steps, 1),
    }
    if signed:
        both = (found["iou"]["grass"], found["iou"]["meadow"])
        found["context_iou"] = round(statistics.mean(both), 4)
    if name in TESTED:
        found["tested"] = tested_otherwise(model, test)
    print(name, seed, found["miou"], found.get("context_iou", ""), found["step_ms"], flush=True)
    return found


def cost(name: str) -> dict:
    """Parameters and multiply-adds of an arm, on one scene."""
    model = ARMS[name](len(SIGN_CLASSES if name.startswith("sign") else CLASSES))
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "macs": multiply_adds(model, torch.zeros(1, 3, 96, 128)),
    }


def multiply_adds(layer: nn.Module, x: Tensor) -> int:
    """Of a layer in evaluation."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer.eval()(x)
    return counter.get_total_flops() // 2


def layer_times(channels: int) -> dict:
    """An ordinary and a separable block, and the layers of the latter: multiply-adds and times.

    Each time is the shortest of several turns, in milliseconds of one processor. A training step is
    a forward and a backward pass.
    """
    number, height, width = LAYERS["input"]
    x = torch.rand(number, channels, height, width, requires_grad=True)
    block = separable_conv(channels, channels)
    layers = {
        "ordinary": conv_bn_relu(channels, channels),
        "separable": block,
        "depthwise": block[0],
        "pointwise": block[3],
    }

    def train(layer: nn.Module) -> None:
        layer.train().zero_grad()
        layer(x).sum().backward()

    def infer(layer: nn.Module) -> None:
        with torch.no_grad():
            layer.eval()(x)

    found: dict = {"channels": channels, "macs": {}, "training_ms": {}, "inference_ms": {}}
    for name, layer in layers.items():
        found["macs"][name] = multiply_adds(layer, x)
    for kind, step in (("training_ms", train), ("inference_ms", infer)):
        times: dict[str, list[float]] = {name: [] for name in layers}
        for turn in range(LAYERS["turns"] + 2):
            for name, layer in layers.items():
                started = time.process_time()
                step(layer)
                if turn > 1:  # the first ones allocate memory
                    times[name].append(time.process_time() - started)
        found[kind] = {name: round(1000 * min(each), 3) for name, each in times.items()}
    return found


class StoredFeatures(nn.Module):
    """In the place of an encoder that stays as it is: its features, computed before."""

    channels = (16, 24, 40, 112, 320)

    def __init__(self, output_stride: int):
        super().__init__()
        self.features: list[Tensor] = []

    def forward(self, image: Tensor) -> list[Tensor]:
        return self.features


def pretrained_encoder(output_stride: int) -> nn.Module:
    """EfficientNet-Lite0 with its ImageNet weights: (N, 3, H, W) -> list of five features."""
    import timm

    classifier, _ = imagenet_classifier()
    net = timm.create_model(
        "tf_efficientnet_lite0", features_only=True, output_stride=output_stride
    )
    net.load_state_dict(classifier.state_dict(), strict=False)
    return net.eval()


@cache
def halves() -> tuple[Sample, Sample]:
    """The left and the right half of the photograph, its classes numbered from 0."""
    photo = Photographs("coffee", longest=480)[0]
    labels = torch.full_like(photo.semantic, IGNORE)
    for number, name in enumerate(PHOTO["classes"]):
        labels[photo.semantic == photographs.CLASSES.index(name)] = number
    whole = Sample(photo.image, labels, photo.instance)
    return tuple(
        Sample(*(part[..., :320, side] for part in whole))
        for side in (slice(0, 240), slice(240, 480))
    )


def random_crop(sample: Sample) -> Sample:
    """A random square, mirrored in half of the cases."""
    height, width = sample.semantic.shape
    side = PHOTO["side"]
    top, left = (int(torch.randint(each - side + 1, ())) for each in (height, width))
    parts = [part[..., top : top + side, left : left + side] for part in sample]
    mirrored = torch.rand(()) < 0.5
    return Sample(*(part.flip(-1) if mirrored else part for part in parts))


@cache
@torch.no_grad()
def photo_features(seed: int) -> tuple[list[Tensor], Tensor, dict[int, list[Tensor]]]:
    """Features and labels of crops of the left half, and the right half's at both strides."""
    left, right = halves()
    encoders = {stride: pretrained_encoder(stride) for stride in (16, 8)}
    seed_everything(seed)
    crops = stack([random_crop(left) for _ in range(PHOTO["crops"])])
    parts = [encoders[16]((images - 0.5) / 0.5) for images in crops.image.split(8)]
    test = {stride: net((right.image[None] - 0.5) / 0.5) for stride, net in encoders.items()}
    return [torch.cat(each) for each in zip(*parts, strict=True)], crops.semantic, test


def photo_run(decoder: bool, seed: int) -> dict:
    """Train v3 or v3+ on the left half; test on the right half, at both output strides."""
    features, target, test = photo_features(seed)
    right = halves()[1]
    names = ("channels", "atrous_rates", *(["low_level_channels"] if decoder else []))
    options = {**{name: PHOTO[name] for name in names}, "dropout": 0.0}
    if decoder:
        options["convolution"] = conv_bn_relu
    build = DeepLabV3Plus if decoder else DeepLabV3
    seed_everything(seed)
    model = build(len(PHOTO["classes"]), backbone=StoredFeatures, **options)
    side, size = PHOTO["side"], right.image.shape[-2:]
    blank = torch.empty(PHOTO["batch"], 3, side, side)  # only its size counts
    optimizer = torch.optim.AdamW(model.parameters(), lr=PHOTO["learning_rate"])
    for _ in range(PHOTO["steps"]):
        chosen = torch.randint(PHOTO["crops"], (PHOTO["batch"],))
        model.backbone.features = [each[chosen] for each in features]
        loss = F.cross_entropy(model(blank), target[chosen], ignore_index=IGNORE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found: dict = {"seed": seed}
    aspp = (model.aspp if decoder else model.classifier[0]).convs
    for name, stride, factor in (("16", 16, 1), ("8, same rates", 8, 1), ("8", 8, 2)):
        for branch, rate in zip(aspp[1:-1], PHOTO["atrous_rates"], strict=True):
            branch[0].dilation = branch[0].padding = (rate * factor, rate * factor)
        model.backbone.features = test[stride]
        preds = predict(model, torch.empty(1, 3, *size))
        found[name] = scores_of_photo(preds, right.semantic[None])
        if stride == 8:  # this encoder pads on one side: old position i is new position 2i + 1
            assert torch.allclose(test[8][-1][..., 1::2, 1::2], test[16][-1], atol=1e-3)
            preds = predict_moved(model, torch.empty(1, 3, *size), shift=0.5)
            found[f"{name}, moved back"] = scores_of_photo(preds, right.semantic[None])
    print("photo", "v3+" if decoder else "v3", found, flush=True)
    return found


def scores_of_photo(preds: Tensor, target: Tensor) -> dict:
    """Mean IoU, IoU of every class, and boundary F1: (1, H, W) each."""
    classes = PHOTO["classes"]
    edges = class_scores(boundary_f1, preds, target, len(classes), tolerance=EDGE)
    return {
        **semantic_scores(confusion_matrix(preds, target, len(classes)), classes),
        "boundary_f1": round(mean_by_class(edges), 4),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the chosen arms, and store each as soon as it is done; returns the exit status."""
    parser = runs.parser(__doc__.splitlines()[0], ARMS, TRAINING["steps"])
    parser.add_argument("--layers", action="store_true", help="measure layers again")
    parser.add_argument("--photo", action="store_true", help="train on the photograph again")
    parser.set_defaults(seeds=list(SEEDS))
    options = parser.parse_args(arguments)
    settings = {**TRAINING, "steps": options.steps}
    scored = CHOICE_SEED if options.dry else TEST_SEED
    rows = runs.stored("deeplab_v3", "arms", settings, options)
    path = RESULTS / "deeplab_v3.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    torch.set_num_threads(1)
    if options.layers or "layers" not in kept:
        kept["layers"] = [layer_times(count) for count in LAYERS["channels"]]
    if options.photo or "photo" not in kept:
        kept["photo"] = {
            name: [photo_run(decoder, seed) for seed in PHOTO_SEEDS]
            for name, decoder in (("v3", False), ("v3+", True))
        }

    def store() -> None:
        parts = {key: kept[key] for key in ("layers", "photo")}
        if not options.dry:
            write("deeplab_v3", {**settings, **parts, "arms": runs.in_order(ARMS, rows)})

    store()
    for name in options.only:
        found = [run(name, seed, options.steps, scored) for seed in options.seeds]
        rows[name] = {**cost(name), **runs.means(found), "runs": found}
        print(name, {key: each for key, each in rows[name].items() if key != "runs"}, flush=True)
        store()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
