"""Transformer: PyTorch's attention with equal weights, the printed codes of places, symmetries."""

import pytest
import torch
from torch import nn

from segcourse.blocks.transformer import Attention, Transformer, sine_pos_embed


def test_position_embeddings_by_hand():
    code = sine_pos_embed(torch.ones(1, 2, 3).bool(), 8).reshape(2, 3, 8)
    first = [1.34e-6, -1, 0.0314107, 0.9995065, 0.8660257, -0.4999994, 0.0209424, 0.9997807]
    last = [-2.7e-6, 1, 0.0627905, 0.9980267, -1.7e-6, 1, 0.0627905, 0.9980267]
    assert code[0, 0].tolist() == pytest.approx(first, abs=5e-7)
    assert code[1, 2].tolist() == pytest.approx(last, abs=5e-7)


def test_all_positions_differ_rows_and_columns_apart():
    code = sine_pos_embed(torch.ones(1, 5, 7).bool(), 16).reshape(5, 7, 16)
    assert len(code.flatten(0, 1).unique(dim=0)) == 35
    assert (code[:, :1, :8] == code[..., :8]).all() and (code[:1, :, 8:] == code[..., 8:]).all()
    with pytest.raises(ValueError, match=r"d_model=6.* multiple of 4"):
        sine_pos_embed(torch.ones(1, 2, 2).bool(), 6)


@torch.no_grad()
@pytest.mark.parametrize("last", [9, 4])
def test_attention_is_pytorchs_with_padding_and_without(last):
    torch.manual_seed(0)
    ours, theirs = Attention(16, num_heads=4), nn.MultiheadAttention(16, 4, batch_first=True)
    parts = (ours.q_proj, ours.k_proj, ours.v_proj)
    theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
    theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    theirs.out_proj.load_state_dict(ours.o_proj.state_dict())
    query, key, value = torch.randn(2, 5, 16), torch.randn(2, 9, 16), torch.randn(2, 9, 16)
    padding = torch.arange(9) >= torch.tensor([[9], [last]])
    masks = [padding, None] if last == 9 else [padding]
    for mask in masks:
        wanted, weights = theirs(
            query, key, value, key_padding_mask=mask, average_attn_weights=False
        )
        assert torch.allclose(ours(query, key, value, mask), wanted, atol=1e-6)
        found = ours.attention_weights(query, key, mask)
        assert torch.allclose(found, weights, atol=1e-6)
        assert torch.allclose(found.sum(dim=-1), torch.ones(2, 4, 5))


def test_dropout_sets_its_share_of_the_weights_to_zero_in_training_only():
    torch.manual_seed(0)
    layer = Attention(64, num_heads=4, dropout=0.25)
    with torch.no_grad():
        layer.v_proj.weight.zero_(), layer.v_proj.bias.fill_(1.0)
        layer.o_proj.weight.copy_(torch.eye(64)), layer.o_proj.bias.zero_()
    query = torch.zeros(1, 2000, 64)  # attends to the only token, whose value is 1
    kept = layer.train()(query, torch.zeros(1, 1, 64), torch.zeros(1, 1, 64))
    assert kept.unique().tolist() == [0.0, pytest.approx(1 / 0.75)]
    assert (kept == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert (layer.eval()(query, torch.zeros(1, 1, 64), torch.zeros(1, 1, 64)) == 1).all()


def test_positions_are_counted_within_the_image():
    inside = torch.zeros(2, 4, 6, dtype=torch.bool)
    inside[0, :3, :5], inside[1, :4, :6] = True, True
    padded = sine_pos_embed(inside, 16).reshape(2, 4, 6, 16)
    alone = sine_pos_embed(torch.ones(1, 3, 5).bool(), 16).reshape(3, 5, 16)
    assert torch.equal(padded[0, :3, :5], alone)


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match=r"d_model=16, num_heads=3.* heads that divides"):
        Attention(16, num_heads=3)


def small() -> Transformer:
    torch.manual_seed(0)
    sizes = dict(num_encoder_layers=2, num_decoder_layers=3, dim_feedforward=32, dropout=0.1)
    return Transformer(16, num_heads=4, **sizes).eval()


@torch.no_grad()
def test_without_positions_the_order_of_tokens_does_not_matter():
    net, tokens, query_embed = small(), torch.randn(2, 12, 16), torch.randn(5, 16)
    order = torch.randperm(12)
    nowhere, pos_embed = torch.zeros(12, 16), sine_pos_embed(torch.ones(1, 3, 4).bool(), 16)
    before, memory = net(tokens, nowhere, query_embed)
    after, shuffled = net(tokens[:, order], nowhere, query_embed)
    assert before.shape == (3, 2, 5, 16) and memory.shape == (2, 12, 16)
    assert torch.allclose(before, after, atol=1e-5)
    assert torch.allclose(memory[:, order], shuffled, atol=1e-5)
    placed, moved = (
        net(tokens, pos_embed, query_embed)[0],
        net(tokens[:, order], pos_embed, query_embed)[0],
    )
    assert not torch.allclose(placed, moved, atol=1e-2)


@torch.no_grad()
def test_queries_are_told_apart_by_their_embeddings_alone():
    net, tokens, pos_embed = (
        small(),
        torch.randn(1, 12, 16),
        sine_pos_embed(torch.ones(1, 3, 4).bool(), 16),
    )
    query_embed = torch.randn(5, 16)
    query_embed[3] = query_embed[1]
    hidden_states, _ = net(tokens, pos_embed, query_embed)
    assert torch.allclose(hidden_states[..., 3, :], hidden_states[..., 1, :], atol=1e-6)
    assert not torch.allclose(hidden_states[..., 0, :], hidden_states[..., 1, :], atol=1e-2)
