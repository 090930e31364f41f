"""Transformer: tokens gather what they need from each other, and queries from the tokens.

Vaswani et al. "Attention Is All You Need." NIPS 2017. https://arxiv.org/abs/1706.03762; with places
added in every layer as in DETR, https://arxiv.org/abs/2005.12872, section A.4

    queries (Q, C) ─ linear ─┐
                             product ─ / sqrt(C per head) ─ softmax over T ─ weights (Q, T)
    keys    (T, C) ─ linear ─┘                                                  │
    values  (T, C) ─ linear ─────────────────────────────────────────────── product ─ linear ─→

Attention compares what tokens hold, not where they are. So the code of the place is added to what
is compared, queries and keys, and never to the values that are passed on.
"""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TEMPERATURE = 10_000.0


class Attention(nn.Module):
    """Gather values: queries (N, Q, C), keys and values (N, T, C) -> (N, Q, C).

    Args:
        channels: C.
        heads: that work side by side; they divide the channels.
        dropout: share of the weights set to zero while training.

    Raises:
        ValueError: if the heads do not divide the channels.
    """

    def __init__(self, channels: int, heads: int, dropout: float = 0.0):
        super().__init__()
        if heads < 1 or channels % heads:
            raise ValueError(
                f"Attention(channels={channels}, heads={heads}) cannot share out the channels: "
                "choose heads that divide them."
            )
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.output = (
            nn.Linear(channels, channels) for _ in range(4)
        )

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        q, k, v = self.query(queries), self.key(keys), self.value(values)
        gathered = F.scaled_dot_product_attention(
            self.split(q), self.split(k), self.split(v), dropout_p=self.dropout * self.training
        )
        return self.output(gathered.transpose(1, 2).flatten(2))

    def weights(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Who looks at what: (N, Q, C), (N, T, C) -> (N, heads, Q, T), each row sums to one."""
        q, k = self.split(self.query(queries)), self.split(self.key(keys))
        return (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(dim=-1)

    def split(self, x: Tensor) -> Tensor:
        """Shares of the channels, one a head: (N, T, C) -> (N, heads, T, C / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def sine_positions(height: int, width: int, channels: int) -> Tensor:
    """A code of every place, half for its row and half for its column: -> (height * width, C).

    Waves of ever greater length, sine and cosine in turn, over rows and columns from 0 to 2 pi.

    Raises:
        ValueError: if the channels cannot be divided by 4.
    """
    if channels < 4 or channels % 4:
        raise ValueError(
            f"sine_positions(channels={channels}) has no sine and cosine for rows and columns: "
            "choose a multiple of 4."
        )
    half = channels // 2
    length = TEMPERATURE ** (2 * (torch.arange(half) // 2) / half)
    codes = []
    for count in (height, width):
        place = torch.arange(1, count + 1) / (count + 1e-6) * 2 * math.pi
        angle = place[:, None] / length  # (count, half)
        codes.append(torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], dim=2).flatten(1))
    rows, columns = codes
    grid = rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1)
    return torch.cat(grid, dim=2).flatten(0, 1)


def feed_forward(channels: int, hidden: int, dropout: float) -> nn.Sequential:
    """Every token by itself: (..., C) -> (..., C)."""
    return nn.Sequential(
        nn.Linear(channels, hidden),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Linear(hidden, channels),
    )


class EncoderLayer(nn.Module):
    """Tokens look at each other: (N, T, C), places (T, C) -> (N, T, C)."""

    def __init__(self, channels: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        self.attention = Attention(channels, heads, dropout)
        self.attention_norm = nn.LayerNorm(channels)
        self.think = feed_forward(channels, hidden, dropout)
        self.think_norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        seen = self.attention(x + places, x + places, x)
        x = self.attention_norm(x + self.dropout(seen))
        return self.think_norm(x + self.dropout(self.think(x)))


class DecoderLayer(nn.Module):
    """Queries look at each other, then at the image: (N, Q, C), (N, T, C) -> (N, Q, C)."""

    def __init__(self, channels: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        self.among = Attention(channels, heads, dropout)
        self.among_norm = nn.LayerNorm(channels)
        self.look = Attention(channels, heads, dropout)
        self.look_norm = nn.LayerNorm(channels)
        self.think = feed_forward(channels, hidden, dropout)
        self.think_norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def talk(self, x: Tensor, names: Tensor) -> Tensor:
        """The first half: queries look at each other."""
        seen = self.among(x + names, x + names, x)
        return self.among_norm(x + self.dropout(seen))

    def weights(self, x: Tensor, memory: Tensor, names: Tensor, places: Tensor) -> Tensor:
        """Where queries look in the memory: -> (N, heads, Q, T), each row sums to one."""
        return self.look.weights(self.talk(x, names) + names, memory + places)

    def forward(self, x: Tensor, memory: Tensor, names: Tensor, places: Tensor) -> Tensor:
        x = self.talk(x, names)
        seen = self.look(x + names, memory + places, memory)
        x = self.look_norm(x + self.dropout(seen))
        return self.think_norm(x + self.dropout(self.think(x)))


class Transformer(nn.Module):
    """Tokens and their places, queries -> answers of every decoder layer, and the memory.

    (N, T, C), (T, C), (Q, C) -> (layers, N, Q, C), (N, T, C)
    """

    def __init__(
        self, channels: int, *, heads: int, hidden: int, layers: tuple[int, int], dropout: float
    ):
        super().__init__()
        sizes = (channels, heads, hidden, dropout)
        self.encoder = nn.ModuleList(EncoderLayer(*sizes) for _ in range(layers[0]))
        self.decoder = nn.ModuleList(DecoderLayer(*sizes) for _ in range(layers[1]))
        self.norm = nn.LayerNorm(channels)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, tokens: Tensor, places: Tensor, names: Tensor) -> tuple[Tensor, Tensor]:
        memory = self.encode(tokens, places)
        answers = self.decode(memory, places, names, self.decoder)
        return torch.stack([self.norm(x) for x in answers]), memory

    def encode(self, tokens: Tensor, places: Tensor) -> Tensor:
        """What the tokens hold after they have looked at each other: (N, T, C) -> (N, T, C)."""
        for layer in self.encoder:
            tokens = layer(tokens, places)
        return tokens

    def decode(
        self, memory: Tensor, places: Tensor, names: Tensor, layers: Iterable[nn.Module]
    ) -> list[Tensor]:
        """What the queries hold after each of the layers: -> (N, Q, C) each."""
        x = torch.zeros_like(names).expand(len(memory), -1, -1)
        answers = []
        for layer in layers:
            x = layer(x, memory, names, places)
            answers.append(x)
        return answers

    def weights(self, tokens: Tensor, places: Tensor, names: Tensor) -> Tensor:
        """Where the queries look in the last decoder layer: -> (N, heads, Q, T)."""
        memory = self.encode(tokens, places)
        *before, last = self.decoder
        start = torch.zeros_like(names).expand(len(memory), -1, -1)
        x = [start, *self.decode(memory, places, names, before)][-1]
        return last.weights(x, memory, names, places)
