"""DETR: the published counts and shapes, transformers' answers with equal weights, learning."""

from functools import partial

import pytest
import torch
from torch import nn
from transformers import DetrConfig, DetrForObjectDetection, DetrForSegmentation

from segcourse.blocks.resnet import ResNet
from segcourse.losses.set_matching import ObjectSet, set_loss
from segcourse.models.detr import DETR, Queries, detections
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
    frozen = count(body.stem, body.stages[0]) - sum(
        p.numel() for p in [*body.stem.parameters(), *body.stages[0].parameters()] if p.ndim == 1
    )
    assert frozen == 222_400 and 41_524_768 - frozen == 41_302_368
    assert count(net.backbone) - NORMALISATION == 23_454_912
    assert count(net.project) == 524_544
    assert count(net.transformer.encoder) == 7_890_432
    assert count(net.transformer.decoder, net.transformer.norm) == 9_473_024
    assert count(net.names, net.classify, net.locate) == 25_600 + 23_644 + 132_612
    assert count(panoptic) - NORMALISATION == 42_899_288
    assert count(panoptic) - count(panoptic.mask_head) - NORMALISATION == 41_565_631
    attention = count(panoptic.mask_head.query, panoptic.mask_head.key)
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
small = partial(
    DETR, 5, backbone=partial(ResNet, 18), channels=64, hidden=96, layers=(2, 3), queries=7
)


@torch.no_grad()
@pytest.mark.parametrize("build", [DetrForObjectDetection, DetrForSegmentation])
@pytest.mark.parametrize("size", [(96, 128), (75, 50)])
def test_answers_are_those_of_transformers(build, size):
    torch.manual_seed(0)
    theirs = build(CONFIG).eval()
    for name, value in theirs.state_dict().items():
        if value.ndim > 1 and "backbone" not in name:
            value.normal_(std=0.3 / value[0].numel() ** 0.25)
    ours = small(masks=build is DetrForSegmentation).eval()
    ours.load_state_dict(detr_from_transformers(theirs.state_dict()))
    image = torch.rand(2, 3, *size)
    want, got = theirs(image), ours(image)
    assert got.logits.std() > 0.1
    assert torch.allclose(got.logits, want.logits, atol=1e-5)
    assert torch.allclose(got.boxes, want.pred_boxes, atol=1e-5)
    if got.masks is not None:
        assert torch.allclose(got.masks, want.pred_masks, atol=1e-4) and got.masks.std() > 0.1


@torch.no_grad()
def test_queries_look_where_those_of_transformers_look():
    torch.manual_seed(0)
    theirs = DetrForObjectDetection(CONFIG).eval()
    theirs.set_attn_implementation("eager")
    ours = small().eval()
    ours.load_state_dict(detr_from_transformers(theirs.state_dict()))
    image = torch.rand(2, 3, 96, 128)
    want = theirs(image, output_attentions=True).cross_attentions[-1]
    got = ours.attention(image)
    assert got.shape == (2, 8, 7, 3, 4) and got.std() > 1e-4
    assert torch.allclose(got.flatten(3), want, atol=1e-6)


def test_other_weights_are_refused():
    with pytest.raises(ValueError, match=r"not the weights of that network: unknown are fc.weight"):
        detr_from_transformers({"fc.weight": torch.zeros(1)})


# ── behaviour ───────────────────────────────────────────────────────────────────────────────────

tiny = partial(
    DETR,
    2,
    backbone=partial(ResNet, 18, width=8, stages=3),
    channels=32,
    hidden=64,
    heads=4,
    layers=(1, 2),
    queries=6,
    dropout=0.0,
)


def test_every_layer_answers_and_only_the_last_draws():
    answers = tiny(masks=True)(torch.rand(2, 3, 64, 96))
    layers = tiny(masks=True).all_answers(torch.rand(2, 3, 64, 96))
    assert [found.masks is None for found in layers] == [True, False]
    assert answers.masks.shape == (2, 6, 16, 24)
    assert ((answers.boxes > 0) & (answers.boxes < 1)).all()


def test_no_query_draws_no_mask():
    net = tiny(masks=True)
    finer, coarse, tokens, places = net.look_at(torch.rand(2, 3, 64, 96))
    answers, memory = net.transformer(tokens, places, net.names.weight)
    assert net.mask_head(answers[-1][:, :0], memory, coarse, finer[::-1]).shape == (2, 0, 16, 24)


def test_a_single_decoder_layer_looks_too():
    net = tiny(layers=(1, 1))
    looks = net.attention(torch.rand(2, 3, 64, 96))
    assert looks.shape == (2, 4, 6, 4, 6) and not looks.requires_grad
    assert torch.allclose(looks.sum(dim=(3, 4)), torch.ones(2, 4, 6))


def test_answers_become_detections_best_first():
    logits = torch.tensor([[[0.0, 4, 0], [3, 0, 0], [0, 0, 9]], [[0, 0, 0], [9, 0, 0], [0, 1, 0]]])
    boxes = torch.tensor([0.5, 0.5, 0.5, 0.25]).repeat(2, 3, 1)
    boxes[0, 1] = torch.tensor([0.25, 0.75, 0.5, 0.5])
    masks = torch.arange(6.0).view(2, 3, 1, 1).expand(2, 3, 4, 8)
    first, second = detections(Queries(logits, boxes, masks), (40, 80))
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
    assert detections(Queries(logits, boxes), (40, 80))[0].masks is None


def test_a_query_looks_in_all_ways_together_once():
    torch.manual_seed(0)
    head = tiny(masks=True).mask_head
    looks = head.look(torch.randn(2, 6, 32), torch.randn(2, 24, 32))
    assert looks.shape == (2, 6, 4, 24)
    assert torch.allclose(looks.sum(dim=(2, 3)), torch.ones(2, 6))


def test_learns_two_objects_and_says_that_there_is_no_third():
    torch.manual_seed(0)
    image = torch.zeros(2, 3, 64, 96)
    image[:, 0, 8:40, 8:40], image[:, 1, 20:52, 50:90] = 1.0, 1.0
    boxes = torch.tensor([[24 / 96, 24 / 64, 32 / 96, 32 / 64], [70 / 96, 36 / 64, 40 / 96, 0.5]])
    objects = [ObjectSet(torch.tensor([0, 1]), boxes)] * 2
    net = tiny()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    for _ in range(150):
        layers = net.all_answers(image)
        loss = sum(sum(set_loss(x.logits, x.boxes, objects).values()) for x in layers)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 0.1)
        optimizer.step()
    logits, found, _ = net(image)
    labels = logits[0].argmax(dim=1)
    assert sorted(labels.tolist()) == [0, 1, 2, 2, 2, 2]
    for label in range(2):
        assert (found[0, labels == label][0] - boxes[label]).abs().max() < 0.1


@pytest.mark.parametrize("wrong", [dict(queries=0), dict(layers=(0, 1)), dict(num_classes=0)])
def test_what_finds_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match="finds nothing: all of them must be at least 1"):
        DETR(**{"num_classes": 2, **wrong})


def test_a_single_image_is_refused():
    with pytest.raises(ValueError, match=r"\(3, 64, 96\): add the axis"):
        tiny()(torch.rand(3, 64, 96))
