"""DETR: a fixed number of queries ask a transformer what is in the image, and each answers once.

Carion, Massa, Synnaeve, Usunier, Kirillov, Zagoruyko. "End-to-End Object Detection with
Transformers." ECCV 2020. https://arxiv.org/abs/2005.12872; https://github.com/facebookresearch/detr

    image ─ ResNet ─ 1 x 1 ─ tokens (h * w) ─ encoder: every token looks at every other
                                                  │ memory
    queries (100, learned) ───────────────── decoder: queries look at each other, then at the memory
                                                  │
                      for every query:   class, or "no object"    box    mask

No anchors and no suppression of duplicates: queries see each other, and the loss
(``segcourse.losses.set_matching``) gives every object to exactly one of them.

``masks=True`` adds a head that draws every query's mask: where the query looks, in 8 ways, joined
with the features, and enlarged step by step with the help of finer ones.

The defaults build the paper's network on ResNet-50. Two things differ:

- Batch normalisation is trained; the paper keeps ImageNet's means and variances.
- The images of a batch have one size, so that no tokens need be hidden as padding.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segcourse.blocks.conv import conv_gn_relu
from segcourse.blocks.resnet import ResNet
from segcourse.blocks.upsample import resize
from segcourse.models.transformer import Transformer, sine_positions
from segcourse.ops.boxes import from_cxcywh
from segcourse.ops.instances import Detections

conv = partial(conv_gn_relu, groups=8, bias=True)


class Queries(NamedTuple):
    """What every query answers: Q of them, N images."""

    logits: Tensor  # (N, Q, K + 1), the last is "no object"
    boxes: Tensor  # (N, Q, 4) centre x, centre y, width, height, in [0, 1]
    masks: Tensor | None = None  # (N, Q, h, w) logits at stride 4, if there is a mask head


class MaskHead(nn.Module):
    """Draw the mask of every query: answers (N, Q, C), ... -> logits (N, Q, H/4, W/4).

    Args:
        channels: of the answers and the tokens.
        heads: ways of looking.
        finer: channels of the backbone's finer stages, coarse to fine.
    """

    def __init__(self, channels: int, heads: int, finer: Sequence[int]):
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(channels, channels), nn.Linear(channels, channels)
        joined = channels + heads
        self.first = nn.Sequential(conv(joined, joined), conv(joined, channels // 2))
        widths = [channels // 2 ** (step + 1) for step in range(len(finer) + 1)]
        self.adapt = nn.ModuleList(
            nn.Conv2d(own, width, kernel_size=1) for own, width in zip(finer, widths, strict=False)
        )
        self.refine = nn.ModuleList(conv(*pair) for pair in pairwise(widths))
        self.score = nn.Conv2d(widths[-1], 1, kernel_size=3, padding=1)

    def forward(
        self, answers: Tensor, memory: Tensor, coarse: Tensor, finer: Sequence[Tensor]
    ) -> Tensor:
        looks = self.look(answers, memory).unflatten(-1, coarse.shape[-2:])  # (N, Q, heads, h, w)
        queries = answers.shape[1]
        x = torch.cat([repeat(coarse, queries), looks.flatten(0, 1)], dim=1)
        x = self.first(x)
        for stage, adapt, refine in zip(finer, self.adapt, self.refine, strict=True):
            x = F.interpolate(x, size=stage.shape[-2:], mode="nearest")
            x = refine(x + repeat(adapt(stage), queries))
        return self.score(x)[:, 0].unflatten(0, answers.shape[:2])

    def look(self, answers: Tensor, memory: Tensor) -> Tensor:
        """Where queries look: (N, Q, C), (N, T, C) -> (N, Q, heads, T), in all ways together 1."""
        q = self.query(answers).unflatten(-1, (self.heads, -1))
        k = self.key(memory).unflatten(-1, (self.heads, -1))
        products = torch.einsum("nqhc,nthc->nqht", q / q.shape[-1] ** 0.5, k)
        return products.flatten(2).softmax(dim=-1).view_as(products)


def repeat(x: Tensor, queries: int) -> Tensor:
    """The same map for every query: (N, C, H, W) -> (N * Q, C, H, W)."""
    return x.repeat_interleave(queries, dim=0)


class DETR(nn.Module):
    """Find a set of objects: images (N, 3, H, W) -> Queries.

    Args:
        num_classes: K; there is no background, but "no object" is one logit more.
        backbone: builds the network whose last features become tokens.
        channels: of tokens and queries; 256 in the paper.
        heads: of every attention; 8 in the paper.
        hidden: of the layers between; 2048 in the paper.
        layers: of the encoder and of the decoder.
        queries: how many objects can be found.
        dropout: in the transformer.
        masks: add the mask head.

    Raises:
        ValueError: if there is no class or no query, or the heads do not divide the channels.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        backbone: Callable[[], nn.Module] = ResNet,
        channels: int = 256,
        heads: int = 8,
        hidden: int = 2048,
        layers: tuple[int, int] = (6, 6),
        queries: int = 100,
        dropout: float = 0.1,
        masks: bool = False,
    ):
        super().__init__()
        if min(num_classes, queries, *layers) < 1:
            raise ValueError(
                f"DETR(num_classes={num_classes}, queries={queries}, layers={layers}) finds "
                "nothing: all of them must be at least 1."
            )
        self.backbone = backbone()
        self.project = nn.Conv2d(self.backbone.channels[-1], channels, kernel_size=1)
        self.transformer = Transformer(
            channels, heads=heads, hidden=hidden, layers=layers, dropout=dropout
        )
        self.names = nn.Embedding(queries, channels)
        self.classify = nn.Linear(channels, num_classes + 1)
        self.locate = nn.Sequential(
            nn.Linear(channels, channels),
            nn.ReLU(inplace=True),
            nn.Linear(channels, channels),
            nn.ReLU(inplace=True),
            nn.Linear(channels, 4),
        )
        _, *finer, _ = self.backbone.channels
        self.mask_head = MaskHead(channels, heads, finer[::-1]) if masks else None

    def forward(self, images: Tensor) -> Queries:
        return self.all_answers(images)[-1]

    def all_answers(self, images: Tensor) -> list[Queries]:
        """What every decoder layer answers, the last one best; only the last has masks."""
        finer, coarse, tokens, places = self.look_at(images)
        answers, memory = self.transformer(tokens, places, self.names.weight)
        found = [self.answer(x) for x in answers]
        if self.mask_head is not None:
            masks = self.mask_head(answers[-1], memory, coarse, finer[::-1])
            found[-1] = found[-1]._replace(masks=masks)
        return found

    def look_at(self, images: Tensor) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        """Finer features, then the last ones as a map, as tokens (N, T, C), and their places."""
        _, *finer, last = self.backbone(images)
        coarse = self.project(last)
        places = sine_positions(*coarse.shape[-2:], coarse.shape[1]).to(coarse)
        return finer, coarse, coarse.flatten(2).transpose(1, 2), places

    def answer(self, held: Tensor) -> Queries:
        """What queries say, from what they hold: (N, Q, C) -> classes and boxes."""
        return Queries(self.classify(held), self.locate(held).sigmoid())

    @torch.no_grad()
    def attention(self, images: Tensor) -> Tensor:
        """Where every query looks in the last layer: (N, 3, H, W) -> (N, heads, Q, h, w)."""
        _, coarse, tokens, places = self.look_at(images)
        weights = self.transformer.weights(tokens, places, self.names.weight)
        return weights.unflatten(-1, coarse.shape[-2:])


def detections(found: Queries, size: tuple[int, int]) -> list[Detections]:
    """Every query's best class, in images of (height, width), best first: -> N Detections of Q.

    Nothing is suppressed or dropped. Without a mask head, ``masks`` is None.
    """
    scale = torch.tensor([size[1], size[0], size[1], size[0]]).to(found.boxes)
    scores, labels = found.logits.softmax(dim=-1)[..., :-1].max(dim=-1)
    boxes = from_cxcywh(found.boxes) * scale
    masks = [None] * len(boxes)
    if found.masks is not None:
        masks = resize(found.masks, size).sigmoid()
    answers = []
    for box, label, score, mask in zip(boxes, labels, scores, masks, strict=True):
        order = score.argsort(descending=True, stable=True)
        score = score[order]
        mask = None if mask is None else mask[order]
        answers.append(Detections(box[order], label[order], score, mask, score))
    return answers
