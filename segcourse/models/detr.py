"""DETR: a fixed number of queries attend to the image, and each predicts one object or none.

Carion, Massa, Synnaeve, Usunier, Kirillov, Zagoruyko. "End-to-End Object Detection with
Transformers." ECCV 2020. https://arxiv.org/abs/2005.12872; https://github.com/facebookresearch/detr

    image ─ ResNet ─ input_proj ─ tokens (h * w) ─ encoder: self-attention of the tokens
                                                      │ memory
    query_embed (100, learned) ───────────────── decoder: self-attention of the queries, then
                                                      │   cross-attention to the memory
                         for every query:   class, or "no object"    box    mask

DETR has no anchors and suppresses no duplicates, because queries attend to each other and because
the loss (``segcourse.losses.set_matching``) assigns every object to exactly one of them.

``masks=True`` adds a head that predicts the mask of every query: attention maps of the query, in 8
heads, are concatenated with the features and upsampled step by step with the help of finer ones.

Images of different sizes are padded to one size. Padded tokens are masked: no query and no token
attends to them, and positions are counted within every image. Boxes are shares of the image itself,
not of the padded one.

The defaults build the paper's network on ResNet-50. One thing differs: batch normalisation is
trained; the paper keeps ImageNet's means and variances.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcourse.blocks.conv import conv_gn_relu
from segcourse.blocks.resnet import ResNet
from segcourse.blocks.transformer import Transformer, sine_pos_embed
from segcourse.blocks.upsample import resize
from segcourse.losses.set_matching import (
    EOS_COEF,
    Indices,
    hungarian_match,
    set_loss,
    set_mask_loss,
)
from segcourse.ops.boxes import from_cxcywh
from segcourse.ops.image_batch import batch_images
from segcourse.ops.instances import Detections, Instances
from segcourse.ops.precision import widen

_conv = partial(conv_gn_relu, groups=8, bias=True)


class DETROutput(NamedTuple):
    """Predictions of Q queries for N images."""

    logits: Tensor  # (N, Q, K + 1), the last is "no object"
    boxes: Tensor  # (N, Q, 4) centre x, centre y, width, height, in [0, 1]
    masks: Tensor | None = None  # (N, Q, h, w) logits at stride 4, if there is a mask head


class Features(NamedTuple):
    """What the transformer and the mask head read of N images."""

    fine: list[Tensor]  # finer stages of the backbone, coarse to fine
    coarse: Tensor  # (N, C, h, w) the last stage, projected; its cells are the tokens
    pos_embed: Tensor  # (N or 1, T, C)
    key_padding_mask: Tensor | None  # (N, T) bool, True where a token is padding; None: nowhere

    def tokens(self) -> Tensor:
        """The cells of the last stage in a row: -> (N, T, C)."""
        return self.coarse.flatten(2).transpose(1, 2)


class FusionStage(nn.Module):
    """One step up of the mask head: (N * Q, C, h, w), (N, D, H, W) -> (N * Q, C / 2, H, W)."""

    def __init__(self, stage_channels: int, channels: int):
        super().__init__()
        self.fpn_adapter = nn.Conv2d(stage_channels, channels, kernel_size=1)
        self.refine = _conv(channels, channels // 2)

    def forward(self, x: Tensor, stage: Tensor) -> Tensor:
        x = F.interpolate(x, size=stage.shape[-2:], mode="nearest")
        adapted = self.fpn_adapter(stage)
        return self.refine(x + adapted.repeat_interleave(len(x) // len(stage), dim=0))


class MaskHead(nn.Module):
    """Masks of queries: hidden states (N, Q, C), memory, features -> logits (N, Q, H/4, W/4).

    Args:
        d_model: C, of the hidden states and the tokens.
        num_heads: attention maps of every query.
        fine_channels: of the backbone's finer stages, coarse to fine.
    """

    def __init__(self, d_model: int, num_heads: int, fine_channels: Sequence[int]):
        super().__init__()
        self.num_heads = num_heads
        self.q_proj, self.k_proj = nn.Linear(d_model, d_model), nn.Linear(d_model, d_model)
        joined = d_model + num_heads
        self.conv1, self.conv2 = _conv(joined, joined), _conv(joined, d_model // 2)
        widths = [d_model // 2 ** (step + 1) for step in range(len(fine_channels) + 1)]
        self.fpn_stages = nn.ModuleList(map(FusionStage, fine_channels, widths))
        self.output_conv = nn.Conv2d(widths[-1], 1, kernel_size=3, padding=1)

    def forward(self, hidden_states: Tensor, memory: Tensor, features: Features) -> Tensor:
        coarse = features.coarse
        weights = self.attention_weights(hidden_states, memory, features.key_padding_mask)
        maps = weights.flatten(0, 1).unflatten(-1, coarse.shape[-2:])  # (N * Q, heads, h, w)
        repeated = coarse.repeat_interleave(hidden_states.shape[1], dim=0)
        x = self.conv2(self.conv1(torch.cat([repeated, maps], dim=1)))
        for fuse, stage in zip(self.fpn_stages, features.fine, strict=True):
            x = fuse(x, stage)
        return self.output_conv(x)[:, 0].unflatten(0, hidden_states.shape[:2])

    def attention_weights(
        self, hidden_states: Tensor, memory: Tensor, key_padding_mask: Tensor | None = None
    ) -> Tensor:
        """Attention maps of every query: (N, Q, C), (N, T, C) -> (N, Q, heads, T).

        Other than in the transformer, one softmax runs over all heads: their maps sum to 1.
        """
        q = self.q_proj(hidden_states).unflatten(-1, (self.num_heads, -1))
        k = self.k_proj(memory).unflatten(-1, (self.num_heads, -1))
        scores = torch.einsum("nqhc,nthc->nqht", q / q.shape[-1] ** 0.5, k)
        if key_padding_mask is not None:
            scores = scores.masked_fill(key_padding_mask[:, None, None], -torch.inf)
        return scores.flatten(2).softmax(dim=-1).view_as(scores)


class DETR(nn.Module):
    """Predict a set of objects: images (N, 3, H, W), or N of (3, H_i, W_i) -> DETROutput.

    Args:
        num_classes: K; there is no background, but "no object" is one logit more.
        backbone: builds the network whose last features become tokens.
        d_model: channels of tokens and queries; 256 in the paper.
        num_heads: of every attention; 8 in the paper.
        dim_feedforward: width of the feed-forward layers; 2048 in the paper.
        num_encoder_layers, num_decoder_layers: 6 each in the paper.
        num_queries: how many objects can be found.
        dropout: in the transformer.
        masks: add the mask head.

    Raises:
        ValueError: if there is no class or no query, or the heads do not divide ``d_model``.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: Callable[[], nn.Module] = ResNet,
        d_model: int = 256,
        num_heads: int = 8,
        dim_feedforward: int = 2048,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        num_queries: int = 100,
        dropout: float = 0.1,
        masks: bool = False,
    ):
        super().__init__()
        if min(num_classes, num_queries, num_encoder_layers, num_decoder_layers) < 1:
            raise ValueError(
                f"DETR(num_classes={num_classes}, num_queries={num_queries}, num_encoder_layers="
                f"{num_encoder_layers}, num_decoder_layers={num_decoder_layers}) finds nothing: "
                "all of them must be at least 1."
            )
        self.num_classes = num_classes
        self.backbone = backbone()
        self.input_proj = nn.Conv2d(self.backbone.channels[-1], d_model, kernel_size=1)
        self.transformer = Transformer(
            d_model,
            num_heads=num_heads,
            dim_feedforward=dim_feedforward,
            num_encoder_layers=num_encoder_layers,
            num_decoder_layers=num_decoder_layers,
            dropout=dropout,
        )
        self.query_embed = nn.Embedding(num_queries, d_model)
        self.class_embed = nn.Linear(d_model, num_classes + 1)
        self.bbox_embed = nn.Sequential(
            nn.Linear(d_model, d_model),
            nn.ReLU(inplace=True),
            nn.Linear(d_model, d_model),
            nn.ReLU(inplace=True),
            nn.Linear(d_model, 4),
        )
        _, *fine, _ = self.backbone.channels
        self.mask_head = MaskHead(d_model, num_heads, fine[::-1]) if masks else None

    def forward(self, images: Tensor | Sequence[Tensor]) -> DETROutput:
        return self.all_outputs(images)[-1]

    def all_outputs(self, images: Tensor | Sequence[Tensor]) -> list[DETROutput]:
        """Predictions of every decoder layer, the last one best; only the last has masks."""
        features = self.encode_features(images)
        hidden_states, memory = self.transform(features)
        outputs = [self.predict_heads(x) for x in hidden_states]
        if self.mask_head is not None:
            masks = self.mask_head(hidden_states[-1], memory, features)
            outputs[-1] = outputs[-1]._replace(masks=masks)
        return outputs

    def encode_features(self, images: Tensor | Sequence[Tensor]) -> Features:
        """Backbone and projection of images, padded to one size where they differ.

        Raises:
            TypeError, ValueError: as ``segcourse.ops.image_batch.batch_images``.
        """
        batch = batch_images(images)
        _, *fine, last = self.backbone(batch.images)
        coarse = self.input_proj(last)
        size = coarse.shape[-2:]
        if len(set(batch.sizes)) == 1:  # nothing is padded
            inside = torch.ones(1, *size, dtype=torch.bool, device=coarse.device)
            key_padding_mask = None
        else:
            inside = F.interpolate(batch.inside()[:, None].float(), size=size)[:, 0] > 0
            key_padding_mask = ~inside.flatten(1)
        pos_embed = sine_pos_embed(inside, coarse.shape[1]).to(coarse.dtype)
        return Features(fine[::-1], coarse, pos_embed, key_padding_mask)

    def transform(self, features: Features) -> tuple[Tensor, Tensor]:
        """Hidden states of every decoder layer, and the memory: (layers, N, Q, C), (N, T, C)."""
        _, _, pos_embed, padding = features
        return self.transformer(features.tokens(), pos_embed, self.query_embed.weight, padding)

    def predict_heads(self, hidden_states: Tensor) -> DETROutput:
        """Classes and boxes of hidden states: (N, Q, C) -> DETROutput without masks."""
        return DETROutput(self.class_embed(hidden_states), self.bbox_embed(hidden_states).sigmoid())

    def loss(
        self,
        images: Tensor | Sequence[Tensor],
        targets: Sequence[Instances],
        *,
        indices: Sequence[Indices] | None = None,
        eos_coef: float = EOS_COEF,
    ) -> dict[str, Tensor]:
        """The set losses, summed over the decoder layers: -> {"class", "box", "giou"}, scalars.

        With a mask head also {"focal", "mask_dice"}, of the last layer; as in DETR's code, the
        padding of a batch counts as background there.

        Args:
            images: of any sizes.
            targets: the objects of every image.
            indices: the matched pairs of every image; by default the cheapest of every layer.
            eos_coef: weight of "no object".

        Raises:
            TypeError, ValueError: as ``segcourse.losses.set_matching.set_loss``.
        """
        outputs = self.all_outputs(images)
        losses = dict.fromkeys(("class", "box", "giou"), 0)
        for output in outputs:
            predictions = output.logits, output.boxes, targets
            pairs = indices or hungarian_match(*predictions)
            each = set_loss(*predictions, indices=pairs, eos_coef=eos_coef)
            losses = {name: losses[name] + value for name, value in each.items()}
        masks = outputs[-1].masks
        if masks is None:
            return losses
        return losses | set_mask_loss(masks, _padded_masks(targets), pairs)

    @torch.no_grad()
    def attention_weights(self, images: Tensor | Sequence[Tensor]) -> Tensor:
        """Cross-attention of every query in the last layer: images -> (N, heads, Q, h, w)."""
        features = self.encode_features(images)
        _, coarse, pos_embed, padding = features
        weights = self.transformer.attention_weights(
            features.tokens(), pos_embed, self.query_embed.weight, padding
        )
        return weights.unflatten(-1, coarse.shape[-2:])


def _padded_masks(targets: Sequence[Instances]) -> list[Tensor]:
    """The true masks of a batch in one size, as its images: -> (G, H, W) bool each."""
    masks = [target.masks for target in targets]
    height, width = (max(sides) for sides in zip(*(each.shape[-2:] for each in masks), strict=True))
    return [F.pad(m, (0, width - m.shape[2], 0, height - m.shape[1])) for m in masks]


def detections(output: DETROutput, sizes: Sequence[tuple[int, int]]) -> list[Detections]:
    """Every query's best class, best first: N images of (height, width) -> N Detections of Q.

    Nothing is suppressed or dropped. Without a mask head, ``masks`` is None.

    Raises:
        ValueError: if there are not as many sizes as images.
    """
    if len(sizes) != len(output.logits):
        raise ValueError(
            f"predictions for {len(output.logits)} images came with {len(sizes)} sizes: give the "
            "(height, width) of every image."
        )
    logits, predicted_boxes = *widen(output.logits), *widen(output.boxes)
    scores, labels = logits.softmax(dim=-1)[..., :-1].max(dim=-1)
    padded = [max(sides) for sides in zip(*sizes, strict=True)]
    found = []
    for index, (height, width) in enumerate(sizes):
        order = scores[index].argsort(descending=True, stable=True)
        score = scores[index, order]
        scale = predicted_boxes.new_tensor([width, height, width, height])
        boxes = from_cxcywh(predicted_boxes[index, order]) * scale
        masks = None
        if output.masks is not None:
            masks = resize(output.masks[index : index + 1], padded)[0, order].sigmoid()
            masks = masks[:, :height, :width]
        found.append(Detections(boxes, labels[index, order], score, masks, score))
    return found
