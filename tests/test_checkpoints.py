"""Checkpoints: whole or not at all, for the right network, on any device, with every generator."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn

from segcourse import checkpoints
from segcourse.checkpoints import (
    ResumableBatches,
    get_rng_state,
    load_checkpoint,
    save_checkpoint,
    set_rng_state,
    unwrap,
)


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Sequential(nn.Conv2d(8, 3, 1)))


# ── files ───────────────────────────────────────────────────────────────────────────────────────


def test_a_truncated_checkpoint_is_refused_and_changes_nothing(tmp_path):
    path, model = tmp_path / "net.pt", network()
    save_checkpoint(path, model=model)
    content = path.read_bytes()
    before = model[0].weight.clone()
    for length in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="not a complete checkpoint"):
            load_checkpoint(path, model=model)
    assert torch.equal(model[0].weight, before)


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    path = tmp_path / "net.pt"
    save_checkpoint(path, model=nn.Conv2d(3, 4, 1))
    with pytest.raises(ValueError, match=r"weight is \(4, 3, 1, 1\) there and \(5, 3, 1, 1\) here"):
        load_checkpoint(path, model=nn.Conv2d(3, 5, 1))


def test_a_failed_save_leaves_the_previous_checkpoint(tmp_path, monkeypatch):
    path, model = tmp_path / "net.pt", network()
    save_checkpoint(path, model=model)
    content = path.read_bytes()

    def fails(state, file):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(checkpoints.torch, "save", fails)
    with pytest.raises(OSError):
        save_checkpoint(path, model=model)
    assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_process_killed_while_saving_leaves_a_complete_checkpoint(tmp_path):
    path = tmp_path / "net.pt"
    script = textwrap.dedent(
        f"""
        import torch
        from segcourse.checkpoints import save_checkpoint
        while True:
            save_checkpoint({str(path)!r}, weights=torch.zeros(2_000_000))
            print("saved", flush=True)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    process.stdout.readline()
    for delay in (0.003, 0.007, 0.013):
        time.sleep(delay)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert load_checkpoint(path)["weights"].shape == (2_000_000,)


def test_a_missing_part_is_named_beside_those_that_are_there(tmp_path):
    path, model = tmp_path / "net.pt", network()
    save_checkpoint(path, model=model, history=[])
    with pytest.raises(ValueError, match=r"holds \['model', 'history'\] but no \['optimizer'\]"):
        load_checkpoint(path, model=model, optimizer=torch.optim.SGD(model.parameters()))


# ── wrapped networks ────────────────────────────────────────────────────────────────────────────


class Child(nn.Module):
    """A network with a layer that is called as DataParallel calls what it wraps."""

    def __init__(self):
        super().__init__()
        self.module = nn.Linear(2, 2)


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")


def compiled_inside(model: nn.Module) -> nn.Module:
    model[2] = compiled(model[2])
    return model


WRAPPERS = {
    "none": lambda model: model,
    "compiled": compiled,
    "compiled inside": compiled_inside,
    "data parallel": nn.DataParallel,
    "both": lambda model: compiled(nn.DataParallel(model)),
}


@pytest.mark.parametrize("there", WRAPPERS)
@pytest.mark.parametrize("here", WRAPPERS)
def test_a_wrapped_network_is_the_network_inside(tmp_path, there, here):
    path, model = tmp_path / "net.pt", network()
    wanted = [value.clone() for value in model.state_dict().values()]
    save_checkpoint(path, model=WRAPPERS[there](model))
    other = network()
    nn.init.zeros_(other[0].weight)
    load_checkpoint(path, model=WRAPPERS[here](other))
    assert all(map(torch.equal, wanted, other.state_dict().values()))


@pytest.mark.parametrize("there", WRAPPERS)
def test_a_file_with_the_names_of_a_wrapper_fits_the_network_inside(tmp_path, there):
    path, model = tmp_path / "net.pt", network()
    torch.save({"model": WRAPPERS[there](model).state_dict()}, path)
    other = network()
    nn.init.zeros_(other[0].weight)
    load_checkpoint(path, model=other)
    assert torch.equal(other[0].weight, model[0].weight)


def test_a_checkpoint_of_a_compiled_network_has_the_names_of_the_network(tmp_path):
    save_checkpoint(tmp_path / "net.pt", model=compiled(network()))
    assert load_checkpoint(tmp_path / "net.pt")["model"].keys() == network().state_dict().keys()


def test_a_layer_called_module_stays(tmp_path):
    path, model, other = tmp_path / "net.pt", Child(), Child()
    save_checkpoint(path, model=nn.DataParallel(model))
    load_checkpoint(path, model=other)
    assert torch.equal(model.module.weight, other.module.weight)
    assert unwrap(model) is model


def test_another_compiled_network_is_refused_by_the_name_of_its_class(tmp_path):
    save_checkpoint(tmp_path / "net.pt", model=nn.Conv2d(3, 4, 1))
    with pytest.raises(ValueError, match="another network than this Conv2d"):
        load_checkpoint(tmp_path / "net.pt", model=compiled(nn.Conv2d(3, 5, 1)))


# ── generators ──────────────────────────────────────────────────────────────────────────────────


def draws(own: torch.Generator) -> list[float]:
    return [
        random.random(), float(np.random.rand()), float(np.random.randn()),
        float(torch.rand(())), float(torch.rand((), generator=own)),
    ]  # fmt: skip


def test_every_generator_goes_back(tmp_path):
    own = torch.Generator().manual_seed(1)
    np.random.randn()  # NumPy keeps the second of two numbers
    save_checkpoint(tmp_path / "state.pt", state=get_rng_state([own]))
    wanted = draws(own)
    draws(own)
    set_rng_state(load_checkpoint(tmp_path / "state.pt")["state"], [own])
    assert draws(own) == wanted


@pytest.fixture
def gpus(monkeypatch):
    """Pretended GPUs: a list of their generators' states, which may become longer or shorter."""
    states = [torch.tensor([1]), torch.tensor([2])]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(states))
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: [each.clone() for each in states])
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda new, index: states[index].copy_(new))
    return states


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_generators_of_gpus_go_back_on_as_many_as_there_are(gpus, number, tmp_path):
    save_checkpoint(tmp_path / "state.pt", state=get_rng_state())
    gpus[:] = [torch.tensor([9]) for _ in range(number)]
    set_rng_state(load_checkpoint(tmp_path / "state.pt")["state"])
    assert [int(each) for each in gpus] == [1, 2, 9][:number]


def test_a_state_of_a_computer_without_gpus_leaves_those_of_another_alone(gpus, monkeypatch):
    with monkeypatch.context() as without:
        without.setattr(torch.cuda, "is_initialized", lambda: False)
        state = get_rng_state()
    set_rng_state(state)
    assert [int(each) for each in gpus] == [1, 2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_generator_of_a_gpu_goes_back():
    torch.rand(1, device="cuda")
    state = get_rng_state()
    wanted = torch.rand(3, device="cuda")
    set_rng_state(state)
    assert torch.equal(torch.rand(3, device="cuda"), wanted)


# ── batches ─────────────────────────────────────────────────────────────────────────────────────


def test_batches_go_on_where_they_were():
    stream = ResumableBatches("abcd")
    seen = list(islice(stream, 6))
    state = stream.state_dict()
    other = ResumableBatches("abcd")
    other.load_state_dict(state)
    assert "".join(seen) == "abcdab"
    assert "".join(islice(other, 4)) == "cdab"


def test_batches_with_other_generators_are_refused():
    state = ResumableBatches("abcd", [torch.Generator()]).state_dict()
    with pytest.raises(ValueError, match=r"with 1 generators .* have 0: go on with"):
        ResumableBatches("abcd").load_state_dict(state)


def test_fewer_batches_than_before_are_refused():
    stream = ResumableBatches("abcd")
    assert list(islice(stream, 4)) == list("abcd")
    other = ResumableBatches("abc")
    other.load_state_dict(stream.state_dict())
    with pytest.raises(ValueError, match="after 4 batches of an epoch, but there are 3"):
        next(iter(other))
