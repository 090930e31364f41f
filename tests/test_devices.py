"""What is computed on another device is computed there, and comes out equal.

Most computers that run these tests have no GPU. A pretended one finds the usual mistake, a tensor
of the CPU that meets one of the GPU: its tensors hold numbers of the CPU, but refuse to be mixed
with others, as CUDA's do. Where there is a real GPU, everything runs there as well.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

import benchmarks.panoptic
from benchmarks.detectors import all_objects, detector_loss
from benchmarks.pretrained import mask_loss
from segcourse import viz
from segcourse.checkpoints import load_checkpoint
from segcourse.classroom import DETECTORS, NETWORKS, course_loss
from segcourse.data import transforms
from segcourse.data.sample import Sample
from segcourse.data.toytown import THINGS, Toytown
from segcourse.losses import boundary, lovasz, overlap, pixelwise
from segcourse.losses import weights as loss_weights
from segcourse.losses.set_matching import hungarian_match, set_loss, set_mask_loss
from segcourse.metrics import instance, panoptic
from segcourse.metrics.boundary import boundary_f1, boundary_iou, trimap_iou
from segcourse.metrics.semantic import confusion_matrix, mean_iou
from segcourse.models.detr import DETR, detections
from segcourse.models.unet import UNet, overlap_tile
from segcourse.ops import boxes as box_ops
from segcourse.ops import labels as label_ops
from segcourse.ops import masks as mask_ops
from segcourse.ops import polygons, rle
from segcourse.ops.anchors import cell_anchors, decode_boxes, encode_boxes, grid_anchors
from segcourse.ops.borders import reflect_pad
from segcourse.ops.coco_polygons import coco_polygons_to_mask
from segcourse.ops.components import connected_components, objects_from_classes
from segcourse.ops.crf import brute_force_crf, dense_crf
from segcourse.ops.distance import signed_distance
from segcourse.ops.instances import Instances, instances_from_maps
from segcourse.ops.merging import merge_by_argmax, merge_panoptic
from segcourse.ops.panoptic import ids_to_rgb, panoptic_ids, rgb_to_ids, split_ids
from segcourse.ops.plain_roi import bilinear_weights, plain_roi_align, plain_roi_pool
from segcourse.ops.roi import crop_masks, paste_masks, paste_rounded, roi_align, roi_pool
from segcourse.ops.suppression import nms, plain_nms, soft_nms
from segcourse.training import evaluate, fit, predict

PRETENDED = torch.device("meta")  # any device that holds no numbers of its own
ATEN = torch.ops.aten


# ── a device that is none ───────────────────────────────────────────────────────────────────────


class Away(Tensor):
    """A tensor that says it lies elsewhere, and holds one of the CPU."""

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Away":
        return Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), dtype=inner.dtype, device=PRETENDED
        )

    def __init__(self, inner: Tensor):
        self.inner = inner

    def tolist(self) -> list:
        return self.inner.tolist()

    def __getitem__(self, place):
        return super().__getitem__(torch.tensor(place) if isinstance(place, list) else place)

    def __setitem__(self, place, value) -> None:
        super().__setitem__(torch.tensor(place) if isinstance(place, list) else place, value)

    def __reduce_ex__(self, protocol):
        return self.inner.__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, operator, types, args=(), kwargs=None):
        return compute(operator, args, kwargs or {})


class Data(TorchFunctionMode):
    """Turns numbers of Python into tensors, which happens out of sight of ``Elsewhere``."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is Tensor.new_tensor and isinstance(args[0], Away):
            return args[0].inner.new_tensor(*args[1:], **kwargs).to(PRETENDED)
        if function is torch.tensor and kwargs.get("device") == PRETENDED:
            return torch.tensor(*args, **kwargs | {"device": "cpu"}).to(PRETENDED)
        return function(*args, **kwargs)


class Elsewhere(TorchDispatchMode):
    """Where there is a pretended device."""

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        return compute(operator, args, kwargs or {})


def compute(operator, args: tuple, kwargs: dict):
    """One operation of PyTorch, refused if tensors of both devices take part."""
    kind = operator.overloadpacket
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    away = {id(x.inner): x for x in tensors if isinstance(x, Away)}
    inner_args, inner_kwargs = tree_map_only(Away, lambda x: x.inner, (args, kwargs))
    if kind is ATEN.copy_:
        inner_args[0].copy_(*inner_args[1:])
        return args[0]
    if kind in (ATEN.index, ATEN.index_put, ATEN.index_put_, ATEN._index_put_impl_):
        tensors = [args[0], *args[2:3]]  # places may be the CPU's
    met = [x for x in tensors if x.ndim > 0 and not isinstance(x, Away)]
    if away and met and kind is not ATEN._to_copy:
        raise RuntimeError(
            f"{operator} met tensors of two devices: {[(x.shape, x.device) for x in tensors]}"
        )
    stays = bool(away)
    if kwargs.get("device") is not None:
        stays = torch.device(kwargs["device"]) == PRETENDED
        inner_kwargs["device"] = "cpu"
    result = operator(*inner_args, **inner_kwargs)
    if not stays:
        return result
    return tree_map_only(Tensor, lambda x: away[id(x)] if id(x) in away else Away(x), result)


@contextmanager
def pretended() -> Iterator[torch.device]:
    with Elsewhere(), Data():
        yield PRETENDED


@contextmanager
def cuda() -> Iterator[torch.device]:
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield torch.device("cuda")


DEVICES = [pretended, cuda] if torch.cuda.is_available() else [pretended]
on_devices = pytest.mark.parametrize("device", DEVICES)


def move(parts, device: torch.device):
    """The same with all tensors on a device."""
    return tree_map_only(Tensor, lambda x: x.to(device), parts)


def doubled(parts):
    """The same with all floats in double precision, so that order of summation hardly matters."""
    return tree_map_only(Tensor, lambda x: x.double() if x.is_floating_point() else x, parts)


def assert_equal(found, wanted, tolerance: float = 1e-4) -> None:
    for one, other in zip(tree_leaves(found), tree_leaves(wanted), strict=True):
        if isinstance(other, Tensor):
            one = one.detach().cpu()
            torch.testing.assert_close(one, other.detach(), atol=tolerance, rtol=tolerance)
        elif isinstance(other, float):
            assert one == pytest.approx(other, abs=tolerance, nan_ok=True)
        else:
            assert one == other


@on_devices
def test_tensors_of_two_devices_do_not_meet(device):
    with device() as there:
        x = torch.rand(2, 3).to(there)
        assert x.device.type == there.type
        for mistake in (
            lambda: x + torch.arange(3),
            lambda: torch.where(torch.ones(3).bool(), x, 0.0),
            lambda: torch.ones(3)[x[0] > 0],
            lambda: nn.Linear(3, 3)(x),
            lambda: torch.cat([x, torch.ones(2, 3)]),
        ):
            with pytest.raises(RuntimeError, match="device"):
                mistake()
        with pytest.raises((RuntimeError, TypeError)):
            x.numpy()
        assert_equal((x[torch.tensor([0])] * torch.tensor(2.0)).shape, (1, 3))


@on_devices
def test_operators_of_torchvision_do_not_mix_devices_either(device):
    with device() as there:
        boxes, scores = CORNERS.to(there), SCORES.to(there)
        for mistake in (
            lambda: torchvision.ops.nms(boxes, SCORES, 0.5),
            lambda: torchvision.ops.nms(CORNERS, scores, 0.5),
            lambda: torchvision.ops.roi_align(MAPS[None], [boxes], (2, 2)),
            lambda: torchvision.ops.roi_pool(MAPS[None].to(there), [CORNERS], (2, 2)),
        ):
            with pytest.raises((RuntimeError, NotImplementedError)):
                mistake()


# ── functions ───────────────────────────────────────────────────────────────────────────────────

SCENE = Toytown(1, seed=0)[0]
CORNERS = torch.tensor([[2.0, 3, 30, 40], [4, 3, 33, 44], [40, 20, 60, 50], [0, 0, 63, 47]])
SCORES = torch.tensor([0.9, 0.3, 0.8, 0.7])
NAMES = torch.tensor([1, 1, 2, 1])
torch.manual_seed(0)
MAPS = torch.rand(4, 48, 64)
SHAPES = MAPS > 0.4
CLASSES = torch.randint(0, 4, (2, 48, 64))
OBJECTS = torch.randint(0, 4, (2, 48, 64))
LOGITS, LABELS = torch.randn(2, 4, 24, 32), torch.randint(0, 4, (2, 24, 32))
LABELS[0, :3] = label_ops.IGNORE
IDS = panoptic_ids(CLASSES, torch.where(CLASSES > 1, OBJECTS, 0))
OTHER_IDS = IDS.roll(3, dims=-1)
ANSWERS, PLACES = torch.randn(2, 7, 4), torch.rand(2, 7, 4) * 0.4 + 0.1
TARGETS = [
    Instances(CORNERS[:2], torch.tensor([0, 2]), SHAPES[:2]),
    Instances(torch.zeros(0, 4), torch.zeros(0).long(), SHAPES[:0]),
]
PAIRS = hungarian_match(ANSWERS, PLACES, TARGETS)
TRUE_MASKS = [torch.rand(2, 24, 32) > 0.5, torch.zeros(0, 24, 32).bool()]
KINDS = torch.tensor([3, 3, 1, 2])


def matches(found: Tensor, target: Tensor, scores: Tensor, labels: Tensor) -> instance.Matches:
    return instance.match_detections(
        instance.coco_mask_iou(found, target),
        scores=scores,
        labels=labels,
        areas=found.flatten(1).sum(dim=1),
        target_labels=labels[:3],
        target_areas=target.flatten(1).sum(dim=1),
        iscrowd=labels[:3] == 2,
    )


def panoptic_counts(found: Tensor, target: Tensor, crowd: Tensor) -> Tensor:
    return panoptic.panoptic_counts(found, target, 4, crowd=crowd)


def semantic_scores(found: Tensor, target: Tensor) -> float:
    return mean_iou(confusion_matrix(found, target, 4))


# What lies where its arguments lie.
THERE = {
    "box_iou": (box_ops.box_iou, CORNERS, CORNERS),
    "generalized_box_iou": (box_ops.generalized_box_iou, CORNERS, CORNERS),
    "clip_boxes_to_image": (partial(box_ops.clip_boxes_to_image, size=(30, 40)), CORNERS),
    "nms": (lambda b, s, n: nms(b, s, labels=n, iou_threshold=0.5), CORNERS, SCORES, NAMES),
    "nms_of_one_class": (partial(nms, iou_threshold=0.5), CORNERS, SCORES),
    "plain_nms": (
        lambda b, s, n: plain_nms(b, s, labels=n, iou_threshold=0.5), CORNERS, SCORES, NAMES),
    "soft_nms": (soft_nms, CORNERS, SCORES),
    "grid_anchors": (partial(grid_anchors, grid_size=(3, 4), stride=8), cell_anchors(16)),
    "encode_boxes": (partial(encode_boxes, weights=(10, 10, 5, 5)), CORNERS, CORNERS.flip(0)),
    "decode_boxes": (partial(decode_boxes, weights=(10, 10, 5, 5)), CORNERS / 100, CORNERS),
    "roi_align": (partial(roi_align, output_size=(7, 7), spatial_scale=0.5), MAPS, CORNERS),
    "roi_align_adaptive": (
        partial(roi_align, output_size=(3, 4), sampling_ratio=0), MAPS, CORNERS),
    "roi_pool": (partial(roi_pool, output_size=(7, 7), spatial_scale=0.5), MAPS, CORNERS),
    "plain_roi_align": (
        partial(plain_roi_align, output_size=(7, 7), spatial_scale=0.5), MAPS, CORNERS),
    "plain_roi_align_adaptive": (
        partial(plain_roi_align, output_size=(3, 4), sampling_ratio=0), MAPS, CORNERS),
    "plain_roi_pool": (
        partial(plain_roi_pool, output_size=(7, 7), spatial_scale=0.5), MAPS, CORNERS),
    "bilinear_weights": (partial(bilinear_weights, length=9), CORNERS),
    "reflect_pad": (partial(reflect_pad, margin=3, height=60, width=70), MAPS),
    "crop_masks": (partial(crop_masks, output_size=(28, 28)), SHAPES, CORNERS),
    "paste_masks": (partial(paste_masks, size=(48, 64)), MAPS[:, :28, :28], CORNERS),
    "paste_rounded": (partial(paste_rounded, size=(48, 64)), MAPS[:, :28, :28], CORNERS),
    "merge_panoptic": (
        partial(merge_panoptic, min_stuff_area=5), SHAPES, SCORES, KINDS, CLASSES[0]),
    "merge_panoptic_nothing": (
        partial(merge_panoptic, min_stuff_area=5), SHAPES[:0], SCORES[:0], KINDS[:0], CLASSES[0]),
    "merge_by_argmax": (partial(merge_by_argmax, things=(3,)), LOGITS[0] * 0.1, KINDS),
    "merge_by_argmax_drops": (
        partial(merge_by_argmax, things=(3,), min_area=180), LOGITS[0], KINDS),
    "merge_by_argmax_nothing": (partial(merge_by_argmax, things=(3,)), LOGITS[0, :0], KINDS[:0]),
    "one_hot": (partial(mask_ops.one_hot, num_classes=4), CLASSES),
    "from_one_hot": (mask_ops.from_one_hot, mask_ops.one_hot(CLASSES, 4)),
    "paint_masks": (mask_ops.paint_masks, SHAPES),
    "object_masks": (label_ops.object_masks, OBJECTS[0]),
    "colorize": (
        partial(label_ops.colorize, palette=[(0, 0, 9), (9, 0, 0), (0, 9, 0), (5, 5, 5)]), CLASSES),
    "connected_components": (connected_components, SHAPES[0]),
    "objects_from_classes": (partial(objects_from_classes, things=(1, 3)), CLASSES[0]),
    "panoptic_ids": (panoptic_ids, CLASSES, OBJECTS),
    "split_ids": (split_ids, IDS),
    "ids_to_rgb": (ids_to_rgb, IDS),
    "rgb_to_ids": (rgb_to_ids, ids_to_rgb(IDS)),
    "dense_crf": (partial(dense_crf, iterations=2), LOGITS, torch.rand(2, 3, 24, 32)),
    "brute_force_crf": (partial(brute_force_crf, iterations=2), LOGITS[0], torch.rand(3, 24, 32)),
    "coco_mask_iou": (instance.coco_mask_iou, SHAPES, SHAPES.roll(1, 2), NAMES == 2),
    "coco_box_iou": (instance.coco_box_iou, CORNERS, CORNERS + 2),
    "panoptic_counts": (panoptic_counts, OTHER_IDS, IDS, OBJECTS == 3),
    "instances_from_maps": (
        partial(instances_from_maps, things=THINGS), SCENE.semantic, SCENE.instance),
    "class_counts": (partial(loss_weights.class_counts, num_classes=4), LABELS),
    "border_weights": (loss_weights.border_weights, OBJECTS),
    "signed_distance": (partial(signed_distance, num_classes=4), LABELS),
    "set_loss": (lambda *x: set_loss(x[0], x[1], x[2]), ANSWERS, PLACES, TARGETS),
    "set_mask_loss": (set_mask_loss, torch.randn(2, 7, 6, 8), TRUE_MASKS, PAIRS),
}  # fmt: skip
THERE |= {
    name: (loss, LOGITS, LABELS)
    for name, loss in {
        "cross_entropy": partial(pixelwise.cross_entropy, weight=torch.tensor([1.0, 2, 3, 4])),
        "balanced_cross_entropy": lambda z, t: pixelwise.balanced_cross_entropy(
            z[:, :1], torch.where(t < 4, t % 2, t)
        ),
        "focal_loss": pixelwise.focal_loss,
        "sigmoid_focal_loss": partial(pixelwise.sigmoid_focal_loss, alpha=0.25),
        "ohem_cross_entropy": partial(pixelwise.ohem_cross_entropy, min_kept=50),
        "bootstrapped": pixelwise.bootstrapped_cross_entropy,
        "dice_loss": overlap.dice_loss,
        "log_cosh_dice_loss": overlap.log_cosh_dice_loss,
        "generalized_dice_loss": overlap.generalized_dice_loss,
        "jaccard_loss": overlap.jaccard_loss,
        "tversky_loss": overlap.tversky_loss,
        "focal_tversky_loss": overlap.focal_tversky_loss,
        "lovasz_softmax_loss": lovasz.lovasz_softmax_loss,
        "boundary_loss": boundary.boundary_loss,
        "hausdorff_dt_loss": boundary.hausdorff_dt_loss,
    }.items()
}
# What takes arguments from anywhere, and answers with numbers, or on the CPU.
HERE = {
    "matches": (matches, SHAPES, SHAPES[:3].roll(1, 2), SCORES, NAMES),
    "average_precision": (
        lambda *x: instance.average_precision([matches(*x)]), SHAPES, SHAPES[:3], SCORES, NAMES),
    "mean_panoptic_quality": (
        lambda *x: panoptic.mean_panoptic_quality(panoptic_counts(*x), {2}),
        OTHER_IDS, IDS, OBJECTS == 3),
    "semantic_scores": (semantic_scores, CLASSES, CLASSES.roll(1, 2)),
    "boundary_f1": (partial(boundary_f1, tolerance=2), SHAPES[0], SHAPES[1]),
    "boundary_iou": (partial(boundary_iou, width=2), SHAPES[0], SHAPES[1]),
    "trimap_iou": (partial(trimap_iou, width=2), SHAPES[0], SHAPES[1]),
    "union_rle": (lambda mask: rle.union_rle([rle.encode_rle(mask)] * 2), SHAPES[0]),
    "rle": (lambda mask: rle.rle_box(rle.encode_rle(mask)), SHAPES[0]),
    "mask_to_polygons": (polygons.mask_to_polygons, SHAPES[0]),
    "polygons_to_mask": (
        lambda ring: polygons.polygons_to_mask([ring], (9, 9)), CORNERS[:, :2] / 5),
    "coco_polygons_to_mask": (
        lambda ring: coco_polygons_to_mask([ring, ring.flatten()], (9, 9)), CORNERS[:, :2] / 5),
    "mask_box": (mask_ops.mask_box, SHAPES[0]),
    "polygon_area": (polygons.polygon_area, torch.tensor([[0.0, 0], [4, 0], [4, 3]])),
}  # fmt: skip


@on_devices
@pytest.mark.parametrize("name", [*THERE, *HERE])
def test_functions(name, device):
    function, *arguments = (THERE | HERE)[name]
    wanted = function(*arguments)
    with device() as there:
        found = function(*move(arguments, there))
        for part in tree_leaves(found):
            if isinstance(part, Tensor) and part.ndim:
                assert part.device.type == (there.type if name in THERE else "cpu")
        assert_equal(found, wanted)


# ── networks ────────────────────────────────────────────────────────────────────────────────────


def answers_and_gradients(model: nn.Module, loss: Callable[[nn.Module], Tensor]) -> list[Tensor]:
    """The loss and all its gradients, without dropout: a GPU drops others."""
    model.train()
    for layer in model.modules():
        if isinstance(layer, nn.Dropout | nn.Dropout2d):
            layer.eval()
    torch.manual_seed(0)
    value = loss(model)
    value.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    return [value, *gradients]


@on_devices
@pytest.mark.parametrize("name", NETWORKS)
def test_semantic_networks(name, device):
    torch.manual_seed(0)
    batch = Sample(torch.rand(2, 3, 96, 96), torch.randint(0, 4, (2, 96, 96)), OBJECTS)
    model, loss = NETWORKS[name](4).double(), course_loss([Sample(*(x[0] for x in batch))], 4)
    batch, other = doubled(batch), copy.deepcopy(model)
    wanted = answers_and_gradients(model, lambda net: loss(net, batch))
    with device() as there:
        moved = move(batch, there)
        found = answers_and_gradients(other.to(there), lambda net: loss(net, moved))
        assert_equal(found, wanted)


def set_losses(model: DETR, batch: Sample) -> Tensor:
    both = sum(model.loss(batch.image, all_objects(batch)).values())
    return both + mask_loss(model, model.mask_head, batch)


detr, detector, scoring = (
    partial(DETECTORS[name], len(THINGS)) for name in ("detr", "mask_rcnn", "mask_scoring_rcnn")
)
pooled = partial(detector, crop=roi_pool, paste=paste_rounded)
INSTANCES = {
    "mask_rcnn": (detector, detector_loss),
    "mask_rcnn_pooled": (pooled, detector_loss),
    "mask_scoring": (scoring, detector_loss),
    "panoptic_fpn": (benchmarks.panoptic.build, benchmarks.panoptic.loss),
    "detr": (detr, set_losses),
}


@pytest.fixture
def same_chance(monkeypatch):
    """Random samples of a GPU are other ones than the CPU's; here all are the CPU's."""
    draw = torch.randperm
    monkeypatch.setattr(torch, "randperm", lambda n, device=None: draw(n).to(device or "cpu"))


@pytest.fixture
def street() -> Sample:
    """A scene, and the same without objects."""
    twice = Sample(*(torch.stack([part, part]) for part in SCENE))
    twice.instance[1] = 0
    return doubled(twice)


@on_devices
@pytest.mark.parametrize("name", INSTANCES)
def test_instance_networks(name, device, street, same_chance):
    build, loss = INSTANCES[name]
    torch.manual_seed(0)
    model = build().double()
    other = copy.deepcopy(model)
    wanted = answers_and_gradients(model, lambda net: loss(net, street))
    wanted_answer = model.eval()(street.image)
    with device() as there:
        moved = move(street, there)
        found = answers_and_gradients(other.to(there), lambda net: loss(net, moved))
        assert_equal(found, wanted)
        assert_equal(other.eval()(moved.image), wanted_answer)


@on_devices
def test_what_detr_found_and_where_it_looked(device, street):
    torch.manual_seed(0)
    model = detr().double().eval()

    def seen(images: Tensor):
        return detections(model(images), [images.shape[-2:]] * 2), model.attention_weights(images)

    wanted = seen(street.image)
    with device() as there:
        model.to(there)
        found = seen(street.image.to(there))
        assert {part.device.type for part in tree_leaves(found)} == {there.type}
        assert_equal(found, wanted)


# ── training and looking ────────────────────────────────────────────────────────────────────────


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")  # which is not lost here
@on_devices
def test_training_goes_on_elsewhere(device, tmp_path):
    torch.manual_seed(0)
    start = UNet(4, width=4, depth=2, padding=1, batch_norm=True, dropout=0.0)
    weights = start.state_dict()
    batches = [(torch.rand(2, 3, 16, 24), torch.randint(0, 4, (2, 16, 24))) for _ in range(2)]

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return pixelwise.cross_entropy(model(batch[0]), batch[1])

    def train(where: torch.device | str, steps: int, name: str) -> tuple[list[float], nn.Module]:
        model = UNet(4, width=4, depth=2, padding=1, batch_norm=True, dropout=0.0)
        model.load_state_dict(weights)
        path = tmp_path / f"{name}.pt"
        options = dict(schedule=lambda share: 1.0, checkpoint=path, device=where, progress=False)
        return fit(model, loss, batches, steps=steps, **options), model

    wanted, model = train("cpu", 4, "here")
    scores = evaluate(model, batches, num_classes=4)
    with device() as there:
        train(there, 2, "there")
        found, moved = train(there, 4, "there")  # goes on
        assert found == pytest.approx(wanted, abs=1e-3)
        assert {p.device.type for p in moved.parameters()} == {there.type}
        assert predict(moved, batches[0][0], device=there).device.type == "cpu"
        seen = evaluate(moved, batches, num_classes=4, device=there)
        assert (seen - scores).abs().sum() <= 4  # a pixel or two on the fence
    load_checkpoint(tmp_path / "there.pt", model=model)


@on_devices
def test_overlap_tiles(device):
    torch.manual_seed(0)
    net, image = UNet(3, width=4, depth=2).eval(), torch.rand(1, 3, 70, 90)
    with torch.no_grad():
        wanted = overlap_tile(net, image, tile=44)
        with device() as there:
            assert_equal(overlap_tile(net.to(there), image.to(there), tile=44), wanted, 1e-3)


@on_devices
def test_pictures(device, capsys):
    with device() as there:
        sample = Sample(*move(tuple(SCENE), there))
        names, palette = list("abcdefgh"), [(9 * n, 5 * n, n) for n in range(8)]
        alt = "one two three"
        viz.show_sample(sample, names, palette, alt=alt)
        viz.show_images({"a": sample.image}, alt=alt)
        viz.show_labels({"a": sample.semantic}, names, palette, alt=alt)
        viz.show_overlay(sample.image, sample.semantic, names, palette, alt=alt)
        viz.show_predictions([sample], {"a": sample.semantic[None]}, names, palette, alt=alt)
        viz.show_confusion(torch.eye(8).to(there), names, alt=alt)
        viz.show_feature_maps(sample.image, alt=alt)


@on_devices
@pytest.mark.parametrize(
    "transform",
    [
        transforms.resize((40, 50)),
        transforms.random_flip(1.0),
        transforms.random_scale_crop((40, 50)),
        transforms.pad_to_multiple(100, mirrored=True),
        transforms.affine(degrees=5, shift=(2, 3)),
        transforms.random_rotate(),
        transforms.elastic(3.0),
        transforms.color_jitter(),
        transforms.gaussian_noise(),
        transforms.gaussian_blur(),
        transforms.normalize(),
    ],
)
def test_transforms(device, transform):
    torch.manual_seed(0)
    wanted = transform(SCENE)
    with device() as there:
        torch.manual_seed(0)
        found = transform(Sample(*move(tuple(SCENE), there)))
        assert_equal(found.image, wanted.image, 1e-4)
        assert {part.device.type for part in found} == {there.type}
        same = (found.semantic.cpu() == wanted.semantic).float().mean()
        assert same > 0.999  # a pixel or two on the fence
