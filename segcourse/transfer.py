"""Transfer: weights of a network into another one that computes the same, or none at all.

    theirs   encoder.layer1.0.conv1.weight     decoder.conv.0.weight    segmentation_head.0.bias
    ours     backbone.layer1.0.conv1.weight    classifier.0.0.weight    classifier.2.bias

A ``state_dict`` is a dictionary from names to tensors, so the first part of the work is renaming by
a table of layers. A name without a row is refused, and so is a row without a name: a network of
which a part was forgotten predicts nonsense without complaint.

Equal tensors are not enough. Strides, paddings and dilations have no weights, so the second part is
to compare the layers themselves, pair by pair. (How maps are concatenated and resized stands in
code and can be compared by the logits alone; tests do.)
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from torch import Tensor, nn

Weights = dict[str, Tensor]
Table = dict[str, str]  # their layer -> ours, or "" to leave it out; * is any number, and stays

_SETTINGS = {  # what a layer computes beside its weights
    nn.Conv2d: ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"),
    nn.ConvTranspose2d: ("kernel_size", "stride", "padding", "output_padding", "groups"),
    nn.Linear: (),
    nn.Embedding: (),
    nn.BatchNorm2d: ("eps",),
    nn.LayerNorm: ("eps",),
    nn.GroupNorm: ("num_groups", "eps"),
    nn.MaxPool2d: ("kernel_size", "stride", "padding", "dilation", "ceil_mode"),
}
_KINDS = {kind.__name__ for kind in _SETTINGS}
_FROZEN = "FrozenBatchNorm2d"
_OTHER_LAYERS = (  # which compute the same whatever their settings, in evaluation
    nn.ReLU,
    nn.AdaptiveAvgPool2d,
    nn.Dropout,
    nn.Dropout2d,
    nn.Upsample,
    nn.Identity,
    nn.Sequential,
)


def below(theirs: str, table: Table, ours: str) -> Table:
    """The same rows for layers inside another: put its name in front on both sides."""
    return {f"{theirs}.{layer}": f"{ours}.{own}" if own else "" for layer, own in table.items()}


def rename(state_dict: Mapping[str, Tensor], table: Table) -> Weights:
    """The same tensors under our names, see :func:`renamed`.

    Raises:
        ValueError: if a layer is unknown or missing.
        TypeError: if this is no state_dict.
    """
    if not isinstance(state_dict, Mapping):
        raise TypeError(
            f"porting takes a dictionary of weights, but this is {type(state_dict).__name__}: pass "
            "what its state_dict() returns."
        )
    return {new: state_dict[old] for old, new in renamed(state_dict, table).items()}


def renamed(names: Iterable[str], table: Table) -> dict[str, str]:
    """Their names -> ours: the first row that fits the layer says how.

    Every name needs a row; rows with ``*`` may stay without a name.

    Raises:
        ValueError: if a layer is unknown or missing.
    """
    rows = {
        re.compile(re.escape(theirs).replace(r"\*", r"(\d+)")): ours
        for theirs, ours in table.items()
    }
    found, unknown, missing = {}, [], {layer for layer in table if "*" not in layer}
    for name in names:
        layer, _, kind = name.rpartition(".")  # kind: weight, bias, running_mean, ...
        missing.discard(layer)
        fit = next((fit for row in rows if (fit := row.fullmatch(layer))), None)
        if fit is None:
            unknown.append(name)
        elif own := rows[fit.re]:
            for number in fit.groups():
                own = own.replace("*", number, 1)
            found[name] = f"{own}.{kind}"
    _check_names(unknown, sorted(missing))
    return found


def part_of(theirs: nn.Module, name: str) -> nn.Module:
    """A part of a network.

    Raises:
        ValueError: if it has none of this name.
        TypeError: if this is no network.
    """
    if not isinstance(theirs, nn.Module):
        raise TypeError(
            f"porting takes the network itself, but this is {type(theirs).__name__}: strides and "
            "dilations have no weights, so a state_dict does not say what to build. Build their "
            "network, load its weights, and pass it."
        )
    try:
        return theirs.get_submodule(name)
    except AttributeError:
        raise ValueError(
            f"this {type(theirs).__name__} has no part {name!r}: pass a network of the kind that "
            "the function is named after, on a ResNet."
        ) from None


def take_weights(
    net: nn.Module,
    theirs: nn.Module,
    table: Table | None = None,
    *,
    also: Table,
    edit: Callable[[Weights], Weights] = dict,
    read: Sequence[str] = (),
) -> nn.Module:
    """Copy their weights into ``net``, if every layer of it computes what theirs computes.

    Args:
        table: without one, the names are the same.
        also: layers without weights that are to be compared too, such as poolings.
        edit: what is to be done to the renamed weights.
        read: kinds of layers whose settings the caller has read, or compared, itself.

    Raises:
        ValueError: if a layer is unknown or missing, or differs in its shape or its settings.
    """
    state, own = theirs.state_dict(), net.state_dict()
    names = {name: name for name in state} if table is None else renamed(state, table)
    weights = edit({new: state[old] for old, new in names.items()})
    unknown = [old for old, new in names.items() if new in weights.keys() - own.keys()]
    counters = "num_batches_tracked"  # which frozen normalisations do not have, and nothing needs
    missing = [new for new in own if new not in weights and not new.endswith(counters)]
    _check_names(unknown, missing)
    for old, new in names.items():
        if state[old].shape != own.get(new, state[old]).shape:
            raise ValueError(
                f"their {old} has shape {tuple(state[old].shape)}, but {type(net).__name__} needs "
                f"{tuple(own[new].shape)} there: a network of other channels cannot be ported."
            )
    _check_layers(
        net, theirs, {_layer_of(old): _layer_of(new) for old, new in names.items()} | also, read
    )
    net.load_state_dict(own | weights)
    return net.eval()


def _check_layers(
    net: nn.Module, theirs: nn.Module, layers: dict[str, str], read: Sequence[str]
) -> None:
    """Refuse layers that fit the weights and compute something else, or are of another kind."""
    for their, own in layers.items():
        wanted, found = _settings(net.get_submodule(own)), _settings(theirs.get_submodule(their))
        for name in {**found, **wanted}:
            if found.get(name) != wanted.get(name):
                raise ValueError(
                    f"their layer {their} has {name}={found.get(name)}, where "
                    f"{type(net).__name__} has {wanted.get(name)}: equal weights would give other "
                    "logits, so this network cannot be ported."
                )
    for name, each in theirs.named_modules():
        kind, leaf = _settings(each)["kind"], not list(each.children())
        known = kind in _KINDS or kind in read or isinstance(each, _OTHER_LAYERS)
        if leaf and not known:
            raise ValueError(
                f"their layer {name} is a {type(each).__name__}, which {type(net).__name__} has "
                "not: build their network without it."
            )


def _settings(layer: nn.Module) -> dict[str, object]:
    """What a layer computes beside its weights; a kernel of 1 x 1 has no dilation."""
    kind = type(layer).__name__
    if kind.endswith(_FROZEN):  # in evaluation the same, and usually written with this epsilon
        return {"kind": "BatchNorm2d", "eps": getattr(layer, "eps", 1e-5)}
    names = _SETTINGS.get(type(layer), ())
    settings = {"kind": kind, **{name: getattr(layer, name) for name in names}}
    if settings.get("kernel_size") == (1, 1):
        del settings["dilation"]
    return settings


def _layer_of(name: str) -> str:
    """The layer that a weight belongs to."""
    return name.rpartition(".")[0]


def _check_names(unknown: list[str], missing: list[str]) -> None:
    """Refuse a layer too many or too few."""
    if unknown or missing:
        raise ValueError(
            f"these are not the weights of that network: unknown are {_listed(unknown)}, missing "
            f"are {_listed(missing)}. Pass the network that the function is named after, or what "
            "its own state_dict() returns, without layers that ours has not."
        )


def _listed(names: list[str]) -> str:
    """The first three names, and how many follow."""
    more = [f"{len(names) - 3} more"] if len(names) > 3 else []
    return " and ".join([", ".join(names[:3]), *more]) if names else "none"
