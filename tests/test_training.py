"""The training loop: it learns, it resumes to the same weights, it never leaves half a file."""

import math
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segcourse import training
from segcourse.data.sample import Sample, batches
from segcourse.training import (
    cosine,
    evaluate,
    fit,
    load_checkpoint,
    poly,
    predict,
    save_checkpoint,
    seed_everything,
    warmup,
)


class Dots(torch.utils.data.Dataset):
    """Images whose pixels say their class, slightly disturbed by torch's own generator."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        semantic = torch.arange(64).reshape(8, 8) % (2 + index % 2)
        image = (semantic / 2).expand(3, 8, 8) + 0.01 * torch.randn(3, 8, 8)
        return Sample(image, semantic, torch.zeros_like(semantic))


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3),
        nn.Conv2d(8, 3, 1),
    )  # fmt: skip


def loss(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


def run(model, **options):
    return fit(model, loss, batches(Dots(), batch_size=2), progress=False, **options)


def test_the_loss_goes_down_and_every_step_is_recorded():
    seed_everything(0)
    history = run(network(), steps=40, learning_rate=1e-2)
    assert len(history) == 40 and history[-1] < history[0] / 2


def test_epochs_are_passes_over_the_batches():
    assert len(run(network(), epochs=2)) == 6


@pytest.mark.parametrize("stop", [1, 3, 4, 6, 9])  # within an epoch, and at its very end
def test_an_interrupted_training_ends_in_the_same_weights(tmp_path, stop):
    seed_everything(0)
    whole = network()
    expected = run(whole, steps=10)

    class Interrupt(Exception):
        pass

    path, calls = tmp_path / "fcn.pt", []

    def interrupted(model, batch):
        if len(calls) == stop:
            raise Interrupt
        calls.append(1)
        return loss(model, batch)

    seed_everything(0)
    with pytest.raises(Interrupt):
        fit(network(), interrupted, batches(Dots(), batch_size=2), steps=10, progress=False,
            checkpoint=path, checkpoint_every=1)  # fmt: skip
    seed_everything(99)  # the new process starts from anywhere
    resumed = network()
    history = run(resumed, steps=10, checkpoint=path)
    assert history == expected
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_finished_training_is_not_repeated(tmp_path):
    path = tmp_path / "done.pt"
    seed_everything(0)
    first = network()
    history = run(first, steps=4, checkpoint=path)
    again = network()
    assert run(again, steps=4, checkpoint=path) == history
    assert torch.equal(first[0].weight, again[0].weight)


@pytest.mark.parametrize("schedule", [poly(), cosine(), warmup(poly(), 0.2)])
def test_schedules_stay_between_0_and_1_and_end_at_0(schedule):
    values = [schedule(step / 50) for step in range(51)]
    assert all(0 <= value <= 1 for value in values) and values[-1] == pytest.approx(0, abs=1e-12)


def test_poly_has_the_values_of_the_papers_formula():
    values = [poly(0.9)(share) for share in (0.25, 0.5, 0.75, 0.99)]
    assert values == pytest.approx([0.77189, 0.535887, 0.287175, 0.015849], abs=1e-5)


def test_the_schedule_reaches_the_optimizer():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    run(model, steps=4, optimizer=optimizer, schedule=lambda done: 1e-3 * (1 - done))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0)


def test_evaluation_counts_every_pixel_once_and_leaves_the_mode_alone():
    model = network().train()
    matrix = evaluate(model, batches(Dots(), batch_size=4, shuffle=False), num_classes=3)
    assert matrix.sum() == 6 * 64 and model.training


def test_predictions_do_not_depend_on_how_many_go_at_once():
    model, images = network(), torch.randn(5, 3, 8, 8)
    assert torch.equal(predict(model, images), predict(model, images, size=2))


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

    monkeypatch.setattr(training.torch, "save", fails)
    with pytest.raises(OSError):
        save_checkpoint(path, model=model)
    assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_process_killed_while_saving_leaves_a_complete_checkpoint(tmp_path):
    path = tmp_path / "net.pt"
    script = textwrap.dedent(
        f"""
        import torch
        from segcourse.training import save_checkpoint
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


@pytest.mark.parametrize(
    "options, message",
    [
        ({}, "exactly one"),
        ({"steps": 3, "epochs": 1}, "exactly one"),
        ({"steps": 0}, "at least 1"),
        ({"epochs": -1}, "at least 1"),
    ],
)
def test_a_training_without_a_length_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        run(network(), **options)


def test_an_empty_dataset_is_refused():
    with pytest.raises(ValueError, match="no batches"):
        fit(network(), loss, [], steps=3, progress=False)
    with pytest.raises(ValueError, match="no batches"):
        evaluate(network(), [], num_classes=3)


def test_a_loss_that_blows_up_stops_at_its_step():
    with pytest.raises(FloatingPointError, match="nan at step 0"):
        fit(network(), lambda model, batch: loss(model, batch) * math.nan,
            batches(Dots(), batch_size=2), steps=2, progress=False)  # fmt: skip


def test_a_shorter_training_than_the_checkpoint_is_refused(tmp_path):
    run(network(), steps=4, checkpoint=tmp_path / "net.pt")
    with pytest.raises(ValueError, match="more than steps=2"):
        run(network(), steps=2, checkpoint=tmp_path / "net.pt")


def test_the_loss_sees_samples_as_samples():
    seen = []

    def named(model, batch):
        seen.append(type(batch))
        return F.cross_entropy(model(batch.image), batch.semantic)

    fit(network(), named, batches(Dots(), batch_size=2), steps=1, progress=False)
    assert seen == [Sample]
