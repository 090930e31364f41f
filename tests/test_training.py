"""The training loop: it learns, goes on to the same weights, leaves modes and devices alone."""

import copy
import math
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler

from segcourse.data.sample import Sample, stack
from segcourse.data.transforms import Transformed, compose, random_flip, random_scale_crop
from segcourse.ops.instances import Instances
from segcourse.ops.labels import IGNORE
from segcourse.training import (
    constant,
    cosine,
    evaluate,
    fit,
    poly,
    predict,
    seed_everything,
    warmup,
)


class Dots(Dataset):
    """Images whose pixels say their class, slightly disturbed by torch's own generator."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        semantic = torch.arange(64).reshape(8, 8) % (2 + index % 2)
        image = (semantic / 2).expand(3, 8, 8) + 0.01 * torch.randn(3, 8, 8)
        return Sample(image, semantic, torch.zeros_like(semantic))


def pairs(data: Dataset | None = None) -> DataLoader:
    """Shuffled batches of two samples."""
    own = torch.Generator().manual_seed(0)
    return DataLoader(data or Dots(), batch_size=2, shuffle=True, collate_fn=stack, generator=own)


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3),
        nn.Conv2d(8, 3, 1),
    )  # fmt: skip


def loss(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


def run(model, **options):
    return fit(model, loss, pairs(), progress=False, **options)


def test_the_loss_goes_down_and_every_step_is_recorded():
    seed_everything(0)
    history = run(network(), steps=40, learning_rate=1e-2)
    assert len(history) == 40 and history[-1] < history[0] / 2


def test_epochs_are_passes_over_the_batches():
    assert len(run(network(), epochs=2)) == 6


def batches_of_transforms():
    """Transforms that share a generator of their own, one of them inside another dataset."""
    own = torch.Generator().manual_seed(5)
    flipped = Transformed(Dots(), compose(random_flip(generator=own), random_flip()))
    cropped = random_scale_crop((8, 8), (1.0, 2.0), generator=own)
    return pairs(Transformed(flipped, cropped))


def batches_of_a_sampler():
    data, own = Dots(), torch.Generator().manual_seed(5)
    sampler = RandomSampler(data, replacement=True, generator=own)
    return DataLoader(data, batch_size=2, sampler=sampler, collate_fn=stack)


class Interrupt(Exception):
    pass


@pytest.mark.parametrize("make", [pairs, batches_of_transforms, batches_of_a_sampler])
@pytest.mark.parametrize(
    "stop, every", [(1, 1), (3, 1), (4, 1), (6, 1), (9, 1), (5, 4), (6, 4), (7, 3)]
)  # within an epoch, at its very end, and some steps after the last checkpoint
def test_an_interrupted_training_ends_in_the_same_weights(tmp_path, make, stop, every):
    seed_everything(0)
    whole = network()
    expected = fit(whole, loss, make(), steps=10, progress=False)
    path, calls = tmp_path / "fcn.pt", []

    def interrupted(model, batch):
        if len(calls) == stop:
            raise Interrupt
        calls.append(1)
        return loss(model, batch)

    options = dict(steps=10, progress=False, checkpoint=path, checkpoint_every=every)
    seed_everything(0)
    with pytest.raises(Interrupt):
        fit(network(), interrupted, make(), **options)
    seed_everything(99)  # the new process starts from anywhere
    resumed = network()
    assert fit(resumed, loss, make(), **options) == expected
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


def test_evaluation_counts_every_pixel_once():
    matrix = evaluate(network(), pairs(), num_classes=3)
    assert matrix.sum() == 6 * 64


def test_a_truth_that_is_void_everywhere_counts_nothing():
    void = torch.full((2, 8, 8), IGNORE)
    assert evaluate(network(), [(torch.rand(2, 3, 8, 8), void)], num_classes=3).sum() == 0


# ── modes ───────────────────────────────────────────────────────────────────────────────────────


def modes(model: nn.Module) -> list[bool]:
    return [layer.training for layer in model.modules()]


def frozen() -> nn.Module:
    """A network in training mode whose batch normalization is not."""
    model = network().train()
    model[1].eval()
    return model


IMAGES, CLASSES = torch.rand(1, 3, 8, 8), torch.zeros(1, 8, 8, dtype=torch.int64)
CALLS = {
    "predict": lambda model: predict(model, IMAGES),
    "evaluate": lambda model: evaluate(model, [(IMAGES, CLASSES)], num_classes=3),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("make", [frozen, lambda: network().train(), lambda: network().eval()])
def test_every_layer_gets_its_mode_back(make, call):
    model = make()
    before, seen = modes(model), []
    model[1].register_forward_hook(lambda *_: seen.append(modes(model)))
    call(model)
    assert modes(model) == before
    assert seen and not any(seen[0])  # in evaluation mode meanwhile


def test_the_modes_come_back_after_a_failure():
    model = frozen()
    before = modes(model)
    with pytest.raises(RuntimeError):
        predict(model, torch.rand(1, 5, 8, 8))  # five channels
    assert modes(model) == before


def test_the_modes_of_a_compiled_network_come_back():
    model = frozen()
    compiled = torch.compile(model, backend="eager")
    before = modes(compiled)
    predict(compiled, IMAGES)
    assert modes(compiled) == before and modes(model) == modes(frozen())


def test_training_leaves_frozen_layers_frozen():
    model = frozen()
    mean = model[1].running_mean.clone()
    run(model, steps=2)
    assert modes(model) == modes(frozen()) and torch.equal(model[1].running_mean, mean)


def test_training_puts_a_network_in_evaluation_mode_into_training_mode():
    model = network().eval()
    run(model, steps=1)
    assert all(modes(model))


# ── devices ─────────────────────────────────────────────────────────────────────────────────────


class Nothing(nn.Module):
    """A network without parameters: every image is its own logits."""

    def forward(self, image):
        return image


class OnMeta(nn.Module):
    """A network on the meta device, which holds no numbers; its outputs are on the CPU."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, device="meta"))
        self.seen = []

    def forward(self, image):
        self.seen.append(image.device.type)
        return torch.zeros(image.shape)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_network_is_used_where_it_is(call):
    model = OnMeta()
    call(model)
    assert model.seen == ["meta"] and model.weight.device.type == "meta"


def test_a_network_is_trained_where_it_is():
    model, seen = OnMeta(), []

    def spy(model, batch):
        seen.append(batch[0].device.type)
        raise Interrupt

    with pytest.raises(Interrupt):
        fit(model, spy, [(IMAGES, CLASSES)], steps=1, progress=False)
    assert seen == ["meta"] and model.weight.device.type == "meta"


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_network_without_parameters_is_used_on_the_cpu(call):
    call(Nothing())


def test_a_network_with_buffers_only_is_used_where_they_are():
    model = OnMeta()
    del model.weight
    model.register_buffer("mean", torch.zeros(3, device="meta"))
    predict(model, IMAGES)
    assert model.seen == ["meta"]


class Detected(NamedTuple):
    images: list[Tensor]
    targets: list[Instances]
    extra: dict


def test_every_tensor_of_a_batch_is_moved_and_every_container_kept():
    target = Instances(torch.zeros(1, 4), torch.zeros(1).long(), torch.zeros(1, 8, 8).bool())
    extra = {"names": ["a"], "size": (torch.zeros(2), 3), "nothing": None}
    seen = []

    def spy(model, batch):
        seen.append(batch)
        return model.weight.sum() * 0

    model = Scalar()
    batch = Detected([torch.rand(3, 8, 8)], [target], extra)
    with pytest.raises((NotImplementedError, RuntimeError)):  # a loss on meta has no value
        fit(model.to("meta"), spy, [batch], steps=1, progress=False)
    [found] = seen
    assert type(found) is Detected and type(found.targets[0]) is Instances
    tensors = [*found.images, *found.targets[0], found.extra["size"][0]]
    assert {each.device.type for each in tensors} == {"meta"}
    assert found.extra["names"] == ["a"] and found.extra["nothing"] is None
    assert type(found.extra["size"]) is tuple and found.extra["size"][1] == 3


# ── steps ───────────────────────────────────────────────────────────────────────────────────────


class Scalar(nn.Module):
    """One weight, for sums by hand."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([3.0, 4.0]))


@pytest.mark.parametrize(
    "max_norm, expected",
    [
        (None, [-27.0, -36.0]),  # 3 - 10 * 3, 4 - 10 * 4
        (1.0, [2.4, 3.2]),  # the gradient (30, 40) has the norm 50
        (100.0, [-27.0, -36.0]),
    ],
)
def test_gradients_are_clipped_on_request(max_norm, expected):
    model = Scalar()
    fit(
        model, lambda model, batch: 5 * model.weight.square().sum(), [()], steps=1,
        optimizer=torch.optim.SGD(model.parameters(), lr=1.0), max_norm=max_norm,
        schedule=constant(), progress=False,
    )  # fmt: skip
    assert model.weight.tolist() == pytest.approx(expected)


def test_predictions_do_not_depend_on_how_many_go_at_once():
    model, images = network(), torch.randn(5, 3, 8, 8)
    assert torch.equal(predict(model, images), predict(model, images, batch_size=2))


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


@pytest.mark.parametrize("length", [{"steps": 3}, {"epochs": 3}])
def test_no_batches_are_refused(length):
    with pytest.raises(ValueError, match="no batches"):
        fit(network(), loss, [], progress=False, **length)


def test_an_iterator_that_is_used_up_is_refused():
    once = iter([(IMAGES, CLASSES)])
    with pytest.raises(ValueError, match="an iterator that was used up"):
        fit(network(), loss, once, steps=2, progress=False)
    with pytest.raises(ValueError, match="give steps instead of epochs"):
        fit(network(), loss, once, epochs=2, progress=False)


def test_no_batches_cannot_be_evaluated():
    with pytest.raises(ValueError, match="no batches"):
        evaluate(network(), [], num_classes=3)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_of_no_image_is_refused(batch_size):
    with pytest.raises(ValueError, match=f"batch_size={batch_size} holds no image"):
        predict(network(), IMAGES, batch_size=batch_size)


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (2, 3, 1, 1), (1, 3, 1, 9), (1, 3, 9, 1)])
def test_predictions_have_the_size_of_their_images(shape):
    labels = predict(network(), torch.rand(shape))
    assert labels.shape == (shape[0], *shape[2:]) and labels.dtype == torch.int64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_predictions_of_every_number_type(dtype):
    model = network().to(dtype)
    assert predict(model, IMAGES.to(dtype)).dtype == torch.int64


def test_a_loss_that_blows_up_stops_at_its_step():
    model = network()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(FloatingPointError, match="nan at step 0"):
        fit(model, lambda model, batch: loss(model, batch) * math.nan,
            pairs(), steps=2, progress=False)  # fmt: skip
    for name, value in model.state_dict().items():
        if "running" not in name and "tracked" not in name:
            assert torch.equal(value, before[name]), "no step is taken on a loss that is nan"


def test_a_shorter_training_than_the_checkpoint_is_refused(tmp_path):
    run(network(), steps=4, checkpoint=tmp_path / "net.pt")
    with pytest.raises(ValueError, match="more than steps=2"):
        run(network(), steps=2, checkpoint=tmp_path / "net.pt")


def test_the_loss_sees_samples_as_samples():
    seen = []

    def named(model, batch):
        seen.append(type(batch))
        return F.cross_entropy(model(batch.image), batch.semantic)

    fit(network(), named, pairs(), steps=1, progress=False)
    assert seen == [Sample]
