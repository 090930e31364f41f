"""Transfer: every weight arrives under its name, and a layer that differs stops it."""

import pytest
import torch
from torch import nn

from segcourse.transfer import below, part_of, rename, take_weights


def net(**changes) -> nn.Module:
    """A small network; ``changes`` are settings of its convolution that need no other weights."""
    conv = nn.Conv2d(2, 4, 3, **{"padding": 1, **changes})
    return nn.ModuleDict({"conv": conv, "bn": nn.BatchNorm2d(4), "pool": nn.MaxPool2d(2)})


def test_a_star_stands_for_any_number_and_stays():
    one, two = torch.ones(1), torch.zeros(1)
    table = {"a.*.b": "c.*.d", "e": "f"}
    renamed = rename({"a.0.b.weight": one, "a.12.b.weight": two, "e.bias": one}, table)
    assert list(renamed) == ["c.0.d.weight", "c.12.d.weight", "f.bias"]
    assert renamed["c.12.d.weight"] is two
    for name in ("a.x.b.weight", "a.1.2.b.weight", "a.b.weight", "aa.1.b.weight", "e"):
        with pytest.raises(ValueError, match=name):
            rename({name: one, "e.bias": one}, table)


def test_rows_of_stars_may_stay_empty_but_no_other():
    one = torch.ones(1)
    assert rename({"e.bias": one}, {"a.*": "b.*", "e": "f"}) == {"f.bias": one}
    with pytest.raises(ValueError, match=r"missing are e\."):
        rename({"g.bias": one}, {"e": "f", "g": "h"})


def test_the_first_row_that_fits_decides_and_an_empty_one_leaves_out():
    one, two = torch.ones(1), torch.zeros(1)
    table = below("a", {"1": "", "*": "*"}, "b")
    assert table == {"a.1": "", "a.*": "b.*"}
    assert rename({"a.1.bias": one, "a.2.bias": two}, table) == {"b.2.bias": two}


def test_equal_layers_get_the_weights_and_their_own_copy():
    theirs, ours = net(), net()
    take_weights(ours, theirs, also={"pool": "pool"})
    assert not ours.training
    for name, value in ours.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[name])
        assert value is not theirs.state_dict()[name]
    ours["conv"].weight.data.zero_()
    assert theirs["conv"].weight.any()


@pytest.mark.parametrize(
    "setting, value",
    [("stride", 2), ("padding", 0), ("dilation", 2), ("padding_mode", "reflect")],
)
def test_a_convolution_with_another_setting_is_refused_by_its_name(setting, value):
    ours = net()
    before = ours["conv"].weight.clone()
    with pytest.raises(ValueError, match=rf"their layer conv has {setting}=.*cannot be ported"):
        take_weights(ours, net(**{setting: value}), also={})
    assert torch.equal(ours["conv"].weight, before)


def test_the_dilation_of_a_1_x_1_kernel_does_not_matter():
    dilated = nn.ModuleDict({"conv": nn.Conv2d(2, 4, 1, dilation=2)})
    plain = nn.ModuleDict({"conv": nn.Conv2d(2, 4, 1)})
    take_weights(plain, dilated, also={})
    assert torch.equal(plain["conv"].weight, dilated["conv"].weight)


@pytest.mark.parametrize(
    "name, layer, words",
    [
        ("bn", nn.BatchNorm2d(4, eps=1e-3), "bn has eps=0.001, where ModuleDict has 1e-05"),
        ("bn", nn.SyncBatchNorm(4), "bn has kind=SyncBatchNorm, where ModuleDict has BatchNorm2d"),
        ("bn", nn.BatchNorm2d(4, track_running_stats=False), "missing are bn.running_mean"),
        ("pool", nn.MaxPool2d(3), "pool has kernel_size=3, where ModuleDict has 2"),
        ("pool", nn.MaxPool2d(2, ceil_mode=True), "pool has ceil_mode=True"),
        ("pool", nn.AvgPool2d(2), "pool has kind=AvgPool2d"),
        ("new", nn.SiLU(), "their layer new is a SiLU, which ModuleDict has not"),
        ("new", nn.Linear(1, 1), r"unknown are new\.weight, new\.bias"),
        ("conv", nn.Conv2d(2, 8, 3, padding=1), r"conv\.weight has shape \(8, 2, 3, 3\)"),
    ],
)
def test_other_layers_are_refused(name, layer, words):
    theirs = net()
    theirs[name] = layer
    with pytest.raises(ValueError, match=words):
        take_weights(net(), theirs, also={"pool": "pool"})


def test_a_missing_layer_is_refused():
    ours = net()
    ours["more"] = nn.Conv2d(1, 1, 1)
    with pytest.raises(ValueError, match=r"unknown are none, missing are more\.weight"):
        take_weights(ours, net(), also={})


def test_no_network_and_no_part_are_refused():
    with pytest.raises(TypeError, match=r"this is OrderedDict: .* Build their network"):
        part_of(net().state_dict(), "conv")
    with pytest.raises(ValueError, match=r"this ModuleDict has no part 'encoder'"):
        part_of(net(), "encoder")
    with pytest.raises(TypeError, match=r"dictionary of weights, but this is ModuleDict"):
        rename(net(), {})
