"""Transformer: self-attention over the tokens of an image, cross-attention from queries to tokens.

Vaswani et al. "Attention Is All You Need." NIPS 2017. https://arxiv.org/abs/1706.03762; with
position embeddings added in every layer as in DETR, https://arxiv.org/abs/2005.12872, section A.4

    queries (Q, C) ─ q_proj ─┐
                             product ─ / sqrt(C per head) ─ softmax over T ─ weights (Q, T)
    keys    (T, C) ─ k_proj ─┘                                                  │
    values  (T, C) ─ v_proj ─────────────────────────────────────────────── product ─ o_proj ─→

Attention compares the contents of tokens, not their positions. Therefore an embedding of the
position is added to the queries and keys, which are compared, and never to the values, which are
averaged.

Names follow DETR and ``torch.nn.Transformer``: C is ``d_model``, the width of the feed-forward
layers is ``dim_feedforward``, and ``key_padding_mask`` is True where a token is padding.
"""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TEMPERATURE = 10_000.0


class Attention(nn.Module):
    """Average values by attention: queries (N, Q, C), keys and values (N, T, C) -> (N, Q, C).

    Args:
        d_model: C.
        num_heads: attention maps that are computed side by side; they divide C.
        dropout: share of the attention weights that training sets to zero.

    Raises:
        ValueError: if ``num_heads`` does not divide ``d_model``.
    """

    def __init__(self, d_model: int, num_heads: int, dropout: float = 0.0):
        super().__init__()
        if num_heads < 1 or d_model % num_heads:
            raise ValueError(
                f"Attention(d_model={d_model}, num_heads={num_heads}) cannot share out the "
                "channels: choose a number of heads that divides d_model."
            )
        self.num_heads, self.dropout = num_heads, dropout
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (
            nn.Linear(d_model, d_model) for _ in range(4)
        )

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None
    ) -> Tensor:
        q, k, v = self.q_proj(query), self.k_proj(key), self.v_proj(value)
        mean = F.scaled_dot_product_attention(
            self._split(q),
            self._split(k),
            self._split(v),
            attn_mask=None if key_padding_mask is None else ~key_padding_mask[:, None, None],
            dropout_p=self.dropout * self.training,
        )
        return self.o_proj(mean.transpose(1, 2).flatten(2))

    def attention_weights(
        self, query: Tensor, key: Tensor, key_padding_mask: Tensor | None = None
    ) -> Tensor:
        """Attention weights: (N, Q, C), (N, T, C) -> (N, heads, Q, T), each row sums to 1."""
        q, k = self._split(self.q_proj(query)), self._split(self.k_proj(key))
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        if key_padding_mask is not None:
            scores = scores.masked_fill(key_padding_mask[:, None, None], -torch.inf)
        return scores.softmax(dim=-1)

    def _split(self, x: Tensor) -> Tensor:
        """The channels of every head: (N, T, C) -> (N, heads, T, C / heads)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def sine_pos_embed(inside: Tensor, d_model: int) -> Tensor:
    """Position embeddings, half of the channels for the row: (N, h, w) bool -> (N, h * w, C).

    Sines and cosines in turn, of ever longer waves, of the row and the column. Rows and columns are
    counted from 1 inside the image and divided by its own height and width, so that they run to
    2 pi in every image of a padded batch.

    Args:
        inside: which cells belong to an image, and are no padding.
        d_model: C.

    Raises:
        ValueError: if ``d_model`` cannot be divided by 4.
    """
    if d_model < 4 or d_model % 4:
        raise ValueError(
            f"sine_pos_embed(d_model={d_model}) has no sine and cosine for rows and columns: "
            "choose a multiple of 4."
        )
    half = d_model // 2
    wave = torch.arange(half, device=inside.device) // 2
    length = TEMPERATURE ** (2 * wave / half)
    embeddings = []
    for axis in (1, 2):  # rows, columns
        position = inside.float().cumsum(dim=axis)
        last = position.narrow(axis, position.shape[axis] - 1, 1)
        angle = (position / (last + 1e-6) * 2 * math.pi)[..., None] / length  # (N, h, w, half)
        both = torch.stack([angle[..., 0::2].sin(), angle[..., 1::2].cos()], dim=-1)
        embeddings.append(both.flatten(3))
    return torch.cat(embeddings, dim=3).flatten(1, 2)


def _feed_forward(d_model: int, dim_feedforward: int, dropout: float) -> nn.Sequential:
    """Two layers that treat every token by itself: (..., C) -> (..., C)."""
    return nn.Sequential(
        nn.Linear(d_model, dim_feedforward),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Linear(dim_feedforward, d_model),
    )


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward layers: tokens (N, T, C), pos (N or 1, T, C) -> (N, T, C)."""

    def __init__(self, d_model: int, num_heads: int, dim_feedforward: int, dropout: float):
        super().__init__()
        self.self_attn = Attention(d_model, num_heads, dropout)
        self.norm1 = nn.LayerNorm(d_model)
        self.ffn = _feed_forward(d_model, dim_feedforward, dropout)
        self.norm2 = nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, pos: Tensor, key_padding_mask: Tensor | None = None) -> Tensor:
        attended = self.self_attn(x + pos, x + pos, x, key_padding_mask)
        x = self.norm1(x + self.dropout(attended))
        return self.norm2(x + self.dropout(self.ffn(x)))


class DecoderLayer(nn.Module):
    """Self-attention of queries, then cross-attention: (N, Q, C), memory (N, T, C) -> (N, Q, C)."""

    def __init__(self, d_model: int, num_heads: int, dim_feedforward: int, dropout: float):
        super().__init__()
        self.self_attn = Attention(d_model, num_heads, dropout)
        self.norm1 = nn.LayerNorm(d_model)
        self.cross_attn = Attention(d_model, num_heads, dropout)
        self.norm2 = nn.LayerNorm(d_model)
        self.ffn = _feed_forward(d_model, dim_feedforward, dropout)
        self.norm3 = nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        query_embed: Tensor,
        pos: Tensor,
        key_padding_mask: Tensor | None = None,
    ) -> Tensor:
        x = self._attend_to_queries(x, query_embed)
        attended = self.cross_attn(x + query_embed, memory + pos, memory, key_padding_mask)
        x = self.norm2(x + self.dropout(attended))
        return self.norm3(x + self.dropout(self.ffn(x)))

    def attention_weights(
        self,
        x: Tensor,
        memory: Tensor,
        query_embed: Tensor,
        pos: Tensor,
        key_padding_mask: Tensor | None = None,
    ) -> Tensor:
        """Weights of the cross-attention: -> (N, heads, Q, T), each row sums to 1."""
        query = self._attend_to_queries(x, query_embed) + query_embed
        return self.cross_attn.attention_weights(query, memory + pos, key_padding_mask)

    def _attend_to_queries(self, x: Tensor, query_embed: Tensor) -> Tensor:
        attended = self.self_attn(x + query_embed, x + query_embed, x)
        return self.norm1(x + self.dropout(attended))


class Transformer(nn.Module):
    """Encoder of tokens, decoder of queries -> hidden states of every decoder layer, and memory.

    tokens (N, T, C), pos_embed (N or 1, T, C), query_embed (Q, C), key_padding_mask (N, T) bool
    -> (layers, N, Q, C), (N, T, C)
    """

    def __init__(
        self,
        d_model: int,
        *,
        num_heads: int,
        dim_feedforward: int,
        num_encoder_layers: int,
        num_decoder_layers: int,
        dropout: float,
    ):
        super().__init__()
        sizes = (d_model, num_heads, dim_feedforward, dropout)
        self.encoder = nn.ModuleList(EncoderLayer(*sizes) for _ in range(num_encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(*sizes) for _ in range(num_decoder_layers))
        self.norm = nn.LayerNorm(d_model)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(
        self,
        tokens: Tensor,
        pos_embed: Tensor,
        query_embed: Tensor,
        key_padding_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        memory = self.encode(tokens, pos_embed, key_padding_mask)
        states = self._decode(memory, pos_embed, query_embed, key_padding_mask, self.decoder)
        return torch.stack([self.norm(x) for x in states]), memory

    def encode(
        self, tokens: Tensor, pos_embed: Tensor, key_padding_mask: Tensor | None = None
    ) -> Tensor:
        """The memory, what the encoder makes of the tokens: (N, T, C) -> (N, T, C)."""
        for layer in self.encoder:
            tokens = layer(tokens, pos_embed, key_padding_mask)
        return tokens

    def attention_weights(
        self,
        tokens: Tensor,
        pos_embed: Tensor,
        query_embed: Tensor,
        key_padding_mask: Tensor | None = None,
    ) -> Tensor:
        """Cross-attention weights of the last decoder layer: -> (N, heads, Q, T)."""
        memory = self.encode(tokens, pos_embed, key_padding_mask)
        *before, last = self.decoder
        start = torch.zeros_like(query_embed).expand(len(memory), -1, -1)
        states = self._decode(memory, pos_embed, query_embed, key_padding_mask, before)
        x = [start, *states][-1]
        return last.attention_weights(x, memory, query_embed, pos_embed, key_padding_mask)

    def _decode(
        self,
        memory: Tensor,
        pos_embed: Tensor,
        query_embed: Tensor,
        key_padding_mask: Tensor | None,
        layers: Iterable[nn.Module],
    ) -> list[Tensor]:
        """The queries' hidden states after each of the layers: -> (N, Q, C) each."""
        x = torch.zeros_like(query_embed).expand(len(memory), -1, -1)
        states = []
        for layer in layers:
            x = layer(x, memory, query_embed, pos_embed, key_padding_mask)
            states.append(x)
        return states
