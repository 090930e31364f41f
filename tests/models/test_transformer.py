"""Transformer: PyTorch's attention with equal weights, the printed codes of places, symmetries."""

import pytest
import torch
from torch import nn

from segcourse.models.transformer import Attention, Transformer, sine_positions


def test_codes_of_places_by_hand():
    code = sine_positions(2, 3, 8).reshape(2, 3, 8)
    first = [1.34e-6, -1, 0.0314107, 0.9995065, 0.8660257, -0.4999994, 0.0209424, 0.9997807]
    last = [-2.7e-6, 1, 0.0627905, 0.9980267, -1.7e-6, 1, 0.0627905, 0.9980267]
    assert code[0, 0].tolist() == pytest.approx(first, abs=5e-7)
    assert code[1, 2].tolist() == pytest.approx(last, abs=5e-7)


def test_all_places_differ_rows_and_columns_apart():
    code = sine_positions(5, 7, 16).reshape(5, 7, 16)
    assert len(code.flatten(0, 1).unique(dim=0)) == 35
    assert (code[:, :1, :8] == code[..., :8]).all() and (code[:1, :, 8:] == code[..., 8:]).all()
    with pytest.raises(ValueError, match=r"channels=6.* multiple of 4"):
        sine_positions(2, 2, 6)


@torch.no_grad()
def test_attention_is_pytorchs():
    torch.manual_seed(0)
    ours, theirs = Attention(16, heads=4), nn.MultiheadAttention(16, 4, batch_first=True)
    parts = (ours.query, ours.key, ours.value)
    theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
    theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    theirs.out_proj.load_state_dict(ours.output.state_dict())
    queries, keys, values = torch.randn(2, 5, 16), torch.randn(2, 9, 16), torch.randn(2, 9, 16)
    wanted, weights = theirs(queries, keys, values, average_attn_weights=False)
    assert torch.allclose(ours(queries, keys, values), wanted, atol=1e-6)
    assert torch.allclose(ours.weights(queries, keys), weights, atol=1e-6)
    assert torch.allclose(ours.weights(queries, keys).sum(dim=-1), torch.ones(2, 4, 5))


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match=r"channels=16, heads=3.* choose heads that divide"):
        Attention(16, heads=3)


def small() -> Transformer:
    torch.manual_seed(0)
    return Transformer(16, heads=4, hidden=32, layers=(2, 3), dropout=0.1).eval()


@torch.no_grad()
def test_without_places_the_order_of_tokens_does_not_matter():
    net, tokens, names = small(), torch.randn(2, 12, 16), torch.randn(5, 16)
    order = torch.randperm(12)
    nowhere, places = torch.zeros(12, 16), sine_positions(3, 4, 16)
    before, memory = net(tokens, nowhere, names)
    after, shuffled = net(tokens[:, order], nowhere, names)
    assert before.shape == (3, 2, 5, 16) and memory.shape == (2, 12, 16)
    assert torch.allclose(before, after, atol=1e-5)
    assert torch.allclose(memory[:, order], shuffled, atol=1e-5)
    placed, moved = net(tokens, places, names)[0], net(tokens[:, order], places, names)[0]
    assert not torch.allclose(placed, moved, atol=1e-2)


@torch.no_grad()
def test_queries_are_told_apart_by_their_names_alone():
    net, tokens, places = small(), torch.randn(1, 12, 16), sine_positions(3, 4, 16)
    names = torch.randn(5, 16)
    names[3] = names[1]
    answers, _ = net(tokens, places, names)
    assert torch.allclose(answers[..., 3, :], answers[..., 1, :], atol=1e-6)
    assert not torch.allclose(answers[..., 0, :], answers[..., 1, :], atol=1e-2)
