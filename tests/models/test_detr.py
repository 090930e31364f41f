"""DETR: the published counts and shapes, transformers' answers with equal weights, learning."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import DetrConfig, DetrForObjectDetection, DetrForSegmentation

from segcourse.blocks.resnet import ResNet
from segcourse.losses.set_matching import hungarian_match, set_loss
from segcourse.models.detr import DETR, DETROutput, detections
from segcourse.ops.image_batch import batch_images
from segcourse.ops.instances import Instances, normalized_cxcywh
from segcourse.porting import detr_from_transformers

NORMALISATION = 53_120  # of a ResNet-50: frozen, and not counted, in the paper


def count(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


# ── the paper's network ─────────────────────────────────────────────────────────────────────────


def test_parameters():
    with torch.device("meta"):
        net, panoptic = DETR(91), DETR(250, masks=True)
    assert count(net) - NORMALISATION == 41_524_768
    body = net.backbone
    still = nn.ModuleList([body.conv1, body.bn1, body.layer1])
    frozen = count(still) - sum(p.numel() for p in still.parameters() if p.ndim == 1)
    assert frozen == 222_400 and 41_524_768 - frozen == 41_302_368
    assert count(net.backbone) - NORMALISATION == 23_454_912
    assert count(net.input_proj) == 524_544
    assert count(net.transformer.encoder) == 7_890_432
    assert count(net.transformer.decoder, net.transformer.norm) == 9_473_024
    assert count(net.query_embed, net.class_embed, net.bbox_embed) == 25_600 + 23_644 + 132_612
    assert count(panoptic) - NORMALISATION == 42_899_288
    assert count(panoptic) - count(panoptic.mask_head) - NORMALISATION == 41_565_631
    attention = count(panoptic.mask_head.q_proj, panoptic.mask_head.k_proj)
    assert attention == 131_584 and count(panoptic.mask_head) - attention == 1_202_073


def test_shapes():
    with torch.device("meta"):
        found = DETR(91)(torch.empty(1, 3, 800, 1066))
        assert found.logits.shape == (1, 100, 92) and found.boxes.shape == (1, 100, 4)
        found = DETR(250, masks=True)(torch.empty(1, 3, 512, 512))
        assert found.masks.shape == (1, 100, 128, 128)


CONFIG = DetrConfig(
    use_timm_backbone=True, use_pretrained_backbone=False, backbone="resnet18", num_labels=5,
    d_model=64, encoder_layers=2, decoder_layers=3, encoder_attention_heads=8,
    decoder_attention_heads=8, encoder_ffn_dim=96, decoder_ffn_dim=96, num_queries=7,
)  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("build", [DetrForObjectDetection, DetrForSegmentation])
@pytest.mark.parametrize("size", [(96, 128), (75, 50)])
def test_answers_are_those_of_transformers(build, size):
    theirs, ours = same_networks(build)
    image = torch.rand(2, 3, *size)
    want, got = theirs(image), ours(image)
    assert got.logits.std() > 0.1
    assert torch.allclose(got.logits, want.logits, atol=1e-5)
    assert torch.allclose(got.boxes, want.pred_boxes, atol=1e-5)
    if got.masks is not None:
        assert torch.allclose(got.masks, want.pred_masks, atol=1e-4) and got.masks.std() > 0.1


def some_targets(sizes: list[tuple[int, int]]) -> list[Instances]:
    """Two objects in every image, but none in the third."""
    found = []
    for number, (height, width) in enumerate(sizes):
        corners = [[2, 3, width / 2, height / 2], [width / 3, 5, width - 2, height - 1]]
        boxes = torch.tensor(corners)[: 0 if number == 2 else 2]
        masks = torch.zeros(len(boxes), height, width, dtype=torch.bool)
        for mask, (x0, y0, x1, y1) in zip(masks, boxes.long().tolist(), strict=True):
            mask[y0:y1, x0:x1] = True
        found.append(Instances(boxes, torch.tensor([0, 3])[: len(boxes)], masks))
    return found


def same_networks(build, **options):
    """transformers' network and ours, with equal weights that tell queries and places apart."""
    torch.manual_seed(0)
    theirs = build(DetrConfig(**CONFIG.to_dict() | options)).eval()
    for name, value in theirs.state_dict().items():
        if value.ndim > 1 and "backbone" not in name:
            value.normal_(std=0.3 / value[0].numel() ** 0.25)
    return theirs, detr_from_transformers(theirs)


@torch.no_grad()
@pytest.mark.parametrize("build", [DetrForObjectDetection, DetrForSegmentation])
@pytest.mark.parametrize(
    "sizes", [[(191, 255), (96, 300)], [(427, 640), (64, 80)], [(1, 1), (75, 9)]]
)
def test_padded_batches_are_those_of_transformers_with_a_pixel_mask(build, sizes):
    theirs, ours = same_networks(build)
    images = [torch.rand(3, *size) for size in sizes]
    batch = batch_images(images)
    want, got = theirs(batch.images, pixel_mask=batch.inside().long()), ours(images)
    assert got.logits.std() > 0.1
    assert torch.allclose(got.logits, want.logits, atol=1e-5)
    assert torch.allclose(got.boxes, want.pred_boxes, atol=1e-5)
    if got.masks is not None:
        assert torch.allclose(got.masks, want.pred_masks, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("build", [DetrForObjectDetection, DetrForSegmentation])
@pytest.mark.parametrize("sizes", [[(64, 96), (64, 96)], [(64, 96), (90, 50)]])
def test_losses_are_those_of_transformers_in_every_layer(build, sizes):
    theirs, ours = same_networks(build)
    theirs.config.auxiliary_loss = True  # nothing else tells of every layer
    images, targets = [torch.rand(3, *size) for size in sizes], some_targets(sizes)
    batch = batch_images(images)
    labels = [
        {"class_labels": each.labels, "boxes": normalized_cxcywh(each.boxes, size),
         "masks": each.masks}
        for each, size in zip(targets, sizes, strict=True)
    ]  # fmt: skip
    want = theirs(batch.images, pixel_mask=batch.inside().long(), labels=labels).loss_dict
    got = ours.loss(images, targets)
    layers = ["", "_0", "_1"]
    for name, factor, their in [("class", 1, "ce"), ("box", 5, "bbox"), ("giou", 2, "giou")]:
        wanted = factor * sum(want[f"loss_{their}{layer}"] for layer in layers).item()
        assert got[name].item() == pytest.approx(wanted, rel=1e-4), name
    if build is DetrForSegmentation:
        assert got["focal"].item() == pytest.approx(want["loss_mask"].item(), rel=1e-4)
        assert got["mask_dice"].item() == pytest.approx(want["loss_dice"].item(), rel=1e-4)


@torch.no_grad()
def test_padding_is_never_attended_to():
    net = tiny(masks=True).eval()
    images = [torch.rand(3, 64, 160), torch.rand(3, 64, 64)]
    weights = net.attention_weights(images)  # of 4 x 10 tokens; the second image has 4 x 4
    assert not weights[1, ..., 4:].any() and weights[0, ..., 4:].any()
    assert torch.allclose(weights.sum(dim=(3, 4)), torch.ones(2, 4, 6))


@torch.no_grad()
def test_images_of_one_size_need_no_mask():
    net = tiny(masks=True).eval()
    images = torch.rand(2, 3, 64, 96)
    assert net.encode_features(images).key_padding_mask is None
    assert all(map(torch.equal, net(images), net(list(images))))


@torch.no_grad()
def test_queries_look_where_those_of_transformers_look():
    torch.manual_seed(0)
    theirs = DetrForObjectDetection(CONFIG).eval()
    theirs.set_attn_implementation("eager")
    ours = detr_from_transformers(theirs)
    image = torch.rand(2, 3, 96, 128)
    want = theirs(image, output_attentions=True).cross_attentions[-1]
    got = ours.attention_weights(image)
    assert got.shape == (2, 8, 7, 3, 4) and got.std() > 1e-4
    assert torch.allclose(got.flatten(3), want, atol=1e-6)


# ── behaviour ───────────────────────────────────────────────────────────────────────────────────

tiny = partial(
    DETR,
    2,
    backbone=partial(ResNet, 18, width=8, stages=3),
    d_model=32,
    dim_feedforward=64,
    num_heads=4,
    num_encoder_layers=1,
    num_decoder_layers=2,
    num_queries=6,
    dropout=0.0,
)


def test_every_layer_answers_and_only_the_last_draws():
    answers = tiny(masks=True)(torch.rand(2, 3, 64, 96))
    layers = tiny(masks=True).all_outputs(torch.rand(2, 3, 64, 96))
    assert [found.masks is None for found in layers] == [True, False]
    assert answers.masks.shape == (2, 6, 16, 24)
    assert ((answers.boxes > 0) & (answers.boxes < 1)).all()


def test_no_query_draws_no_mask():
    net = tiny(masks=True)
    features = net.encode_features(torch.rand(2, 3, 64, 96))
    hidden_states, memory = net.transform(features)
    assert net.mask_head(hidden_states[-1][:, :0], memory, features).shape == (2, 0, 16, 24)


def test_a_single_decoder_layer_looks_too():
    net = tiny(num_decoder_layers=1)
    looks = net.attention_weights(torch.rand(2, 3, 64, 96))
    assert looks.shape == (2, 4, 6, 4, 6) and not looks.requires_grad
    assert torch.allclose(looks.sum(dim=(3, 4)), torch.ones(2, 4, 6))


def test_answers_become_detections_best_first():
    logits = torch.tensor([[[0.0, 4, 0], [3, 0, 0], [0, 0, 9]], [[0, 0, 0], [9, 0, 0], [0, 1, 0]]])
    boxes = torch.tensor([0.5, 0.5, 0.5, 0.25]).repeat(2, 3, 1)
    boxes[0, 1] = torch.tensor([0.25, 0.75, 0.5, 0.5])
    masks = torch.arange(6.0).view(2, 3, 1, 1).expand(2, 3, 4, 8)
    first, second = detections(DETROutput(logits, boxes, masks), [(40, 80)] * 2)
    assert first.labels.tolist() == [1, 0, 0] and second.labels.tolist() == [0, 1, 0]
    assert torch.equal(first.boxes[0], torch.tensor([20.0, 15, 60, 25]))
    assert torch.equal(first.boxes[1], torch.tensor([0.0, 20, 40, 40]))
    share = logits.softmax(dim=-1)
    assert torch.allclose(
        first.scores, torch.stack([share[0, 0, 1], share[0, 1, 0], share[0, 2, 0]])
    )
    assert torch.equal(first.mask_scores, first.scores)
    assert second.masks.shape == (3, 40, 80)
    assert torch.allclose(second.masks[:, 0, 0], torch.tensor([4.0, 5, 3]).sigmoid())
    assert detections(DETROutput(logits, boxes), [(40, 80)] * 2)[0].masks is None


def test_a_query_looks_in_all_ways_together_once():
    torch.manual_seed(0)
    head = tiny(masks=True).mask_head
    looks = head.attention_weights(torch.randn(2, 6, 32), torch.randn(2, 24, 32))
    assert looks.shape == (2, 6, 4, 24)
    assert torch.allclose(looks.sum(dim=(2, 3)), torch.ones(2, 6))


def test_learns_two_objects_and_says_that_there_is_no_third():
    torch.manual_seed(0)
    image = torch.zeros(2, 3, 64, 96)
    image[:, 0, 8:40, 8:40], image[:, 1, 20:52, 50:90] = 1.0, 1.0
    corners = torch.tensor([[8.0, 8, 40, 40], [50, 20, 90, 52]])
    masks = torch.stack([image[0, 0] > 0, image[0, 1] > 0])
    target = Instances(corners, torch.tensor([0, 1]), masks)
    boxes = normalized_cxcywh(corners, (64, 96))
    net = tiny(masks=True)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    for _ in range(150):
        loss = sum(net.loss(image, [target] * 2).values())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 0.1)
        optimizer.step()
    logits, found, drawn = net(image)
    labels = logits[0].argmax(dim=1)
    assert sorted(labels.tolist()) == [0, 1, 2, 2, 2, 2]
    for label in range(2):
        assert (found[0, labels == label][0] - boxes[label]).abs().max() < 0.1
        mask = F.interpolate(drawn[:1, labels == label], size=(64, 96), mode="bilinear")[0, 0] > 0
        assert (mask & masks[label]).sum() / (mask | masks[label]).sum() > 0.5


@pytest.mark.parametrize(
    "wrong", ["num_queries", "num_encoder_layers", "num_decoder_layers", "num_classes"]
)
def test_what_finds_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match="finds nothing: all of them must be at least 1"):
        DETR(**{"num_classes": 2, wrong: 0})


def test_a_single_image_is_refused():
    with pytest.raises(ValueError, match=r"\(3, 64, 96\): add the axis"):
        tiny()(torch.rand(3, 64, 96))


def target_of(size: tuple[int, int], box: list[float], label: int) -> Instances:
    mask = torch.zeros(1, *size, dtype=torch.bool)
    mask[0, int(box[1]) : int(box[3]), int(box[0]) : int(box[2])] = True
    return Instances(torch.tensor([box]).float(), torch.tensor([label]), mask)


def test_the_loss_adds_up_all_layers_and_masks_of_images_of_two_sizes():
    torch.manual_seed(0)
    net = tiny(masks=True)
    images = [torch.rand(3, 64, 96), torch.rand(3, 70, 50)]
    targets = [target_of((64, 96), [8, 8, 40, 40], 0), target_of((70, 50), [3, 5, 30, 60], 1)]
    losses = net.loss(images, targets)
    layers = [set_loss(out.logits, out.boxes, targets) for out in net.all_outputs(images)]
    for name in ("class", "box", "giou"):
        assert losses[name].item() == pytest.approx(sum(part[name].item() for part in layers))
    assert set(losses) == {"class", "box", "giou", "focal", "mask_dice"}
    assert set(tiny().loss(images, targets)) == {"class", "box", "giou"}
    sum(losses.values()).backward()
    idle = {name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()}
    # A softmax cancels the bias of its keys; the first self-attention sees queries of zeros.
    cancelled = {name for name in idle if name.endswith("k_proj.bias")}
    assert idle - cancelled == {"transformer.decoder.0.self_attn.v_proj.weight"}


def test_detections_have_the_size_of_their_image():
    logits, boxes = torch.randn(2, 3, 3), torch.full((2, 3, 4), 0.5)
    first, second = detections(DETROutput(logits, boxes, torch.randn(2, 3, 16, 24)),
                               [(64, 80), (50, 96)])  # fmt: skip
    assert first.masks.shape == (3, 64, 80) and second.masks.shape == (3, 50, 96)
    assert second.boxes[0].tolist() == [24, 12.5, 72, 37.5]
    with pytest.raises(ValueError, match="2 images came with 1 sizes"):
        detections(DETROutput(logits, boxes), [(64, 80)])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_works_within_autocast(dtype):
    torch.manual_seed(0)
    net = tiny(masks=True)
    images = [torch.rand(3, 64, 96), torch.rand(3, 70, 50)]
    targets = [target_of((64, 96), [8, 8, 40, 40], 0), target_of((70, 50), [3, 5, 30, 60], 1)]
    want = net.loss(images, targets)
    with torch.autocast("cpu", dtype):
        got = net.loss(images, targets)
    for name in want:
        assert got[name].item() == pytest.approx(want[name].item(), rel=0.05, abs=0.02)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_detections_of_half_precision_lie_where_those_of_single_lie(dtype):
    """A type of 16 bits has no pixel 1333 in the middle of others."""
    torch.manual_seed(0)
    output = DETROutput(torch.randn(1, 9, 4).to(dtype), torch.rand(1, 9, 4).to(dtype))
    [found] = detections(output, [(800, 1333)])
    [wanted] = detections(DETROutput(*(part.float() for part in output[:2])), [(800, 1333)])
    assert found.boxes.dtype == found.scores.dtype == torch.float32
    assert all(map(torch.equal, found[:3], wanted[:3]))


def test_a_batch_without_objects_has_a_loss():
    net, [_, _, nothing] = tiny(masks=True), some_targets([(64, 96)] * 3)
    losses = net.loss(torch.rand(2, 3, 64, 96), [nothing] * 2)
    sum(losses.values()).backward()
    assert losses["class"] > 0 and all(losses[name] == 0 for name in losses.keys() - {"class"})
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_more_objects_than_queries():
    net, image = tiny(num_queries=1), torch.rand(1, 3, 64, 96)
    [target] = some_targets([(64, 96)])
    target = target._replace(labels=torch.zeros(2).long())
    [indices] = hungarian_match(*net(image)[:2], [target])
    assert len(indices.query) == 1
    assert all(value.isfinite() for value in net.loss(image, [target]).values())


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_of_another_type(dtype):
    torch.manual_seed(0)
    net, images = tiny(masks=True).eval(), [torch.rand(3, 64, 96), torch.rand(3, 50, 70)]
    wanted = net(images)
    found = net.to(dtype)([image.to(dtype) for image in images])
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == dtype and torch.allclose(one.float(), other, atol=0.1)


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 1)])
def test_images_of_one_row_or_column(size):
    net = tiny(masks=True).eval()
    [found] = detections(net(torch.rand(1, 3, *size)), [size])
    assert found.masks.shape == (6, *size) and found.boxes.isfinite().all()
    target = target_of(size, [0, 0, 1, 1], 0)
    assert all(value.isfinite() for value in net.loss(torch.rand(1, 3, *size), [target]).values())
