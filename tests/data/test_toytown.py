"""Toytown: scenes never change, their truths agree, and every knob does what it says."""

import hashlib
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2lab

from segcourse.data.sample import Cached, batches
from segcourse.data.toytown import CLASSES, MAX_THINGS, PALETTE, THINGS, Toytown
from segcourse.ops.labels import IGNORE, check_labels

CAR, PERSON, LAMP = THINGS
SIGHTS = {  # what the colour-blind see of linear RGB (Machado et al., 2009)
    "trichromat": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanope": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranope": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanope": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
HASH = "50f997d88808437ca096ecca4a27764d6cd4dabd8495f518bcb0162c7c2bd15f"
PIXELS = (
    80, 74, 83, 79, 143, 200, 63, 94, 131, 143, 61, 186, 116, 157, 125, 119,
    113, 113, 121, 118, 145, 188, 50, 91, 102, 107, 47, 131, 82, 113, 90, 99,
    146, 151, 156, 158, 107, 172, 43, 79, 46, 68, 41, 74, 54, 66, 64, 48,
    121, 143, 122, 123, 198, 96, 176, 86, 170, 183, 155, 192, 149, 197, 173, 146,
    153, 162, 157, 152, 162, 86, 146, 94, 165, 129, 156, 196, 146, 153, 123, 138,
    212, 224, 224, 225, 114, 54, 109, 36, 66, 107, 139, 80, 56, 109, 102, 52,
    136, 161, 126, 134, 60, 49, 61, 198, 93, 79, 150, 93, 66, 74, 80, 83,
    140, 163, 138, 145, 34, 56, 90, 196, 90, 101, 151, 117, 91, 80, 84, 88,
    149, 179, 164, 172, 27, 67, 51, 206, 60, 55, 144, 68, 51, 79, 81, 87,
)  # fmt: skip


def counts(town: Toytown, number: int) -> torch.Tensor:
    """Pixels of every class in the first scenes: (scenes, classes)."""
    return torch.stack(
        [torch.bincount(town[i].semantic.flatten(), minlength=256) for i in range(number)]
    )


def largest(town: Toytown, kind: int, number: int = 20) -> int:
    """The largest object of a class in the first scenes, in pixels."""
    sizes = [
        int(((scene.instance == identity) & (scene.semantic == kind)).sum())
        for scene in (town[i] for i in range(number))
        for identity in scene.instance.unique()
        if identity
    ]
    return max(sizes)


class TestSameEverywhere:
    def test_labels_have_the_stored_hash(self):
        digest = hashlib.sha256()
        for town in (Toytown(50), Toytown(10, seed=1, size=(72, 90)), Toytown(5, seed=2, void=2)):
            for index in range(len(town)):
                scene = town[index]
                digest.update(scene.semantic.numpy().astype(np.uint8).tobytes())
                digest.update(scene.instance.numpy().astype(np.uint8).tobytes())
        assert digest.hexdigest() == HASH

    def test_images_have_the_stored_values(self):
        found = torch.stack([Toytown(40)[i].image[:, 7::27, 11::35] for i in (0, 13, 39)])
        stored = torch.tensor(PIXELS).reshape(found.shape) / 255
        assert torch.allclose(found, stored, atol=1 / 255)

    def test_a_scene_is_the_same_every_time_and_in_every_length(self):
        for once, again in zip(Toytown(5)[3], Toytown(900)[3], strict=True):
            assert torch.equal(once, again)

    def test_seeds_share_no_scene(self):
        scenes = [Toytown(20, seed=seed)[i].image for seed in (0, 1, 2) for i in range(20)]
        assert len({image.numpy().tobytes() for image in scenes}) == len(scenes)

    def test_the_order_of_reading_does_not_matter(self):
        town, other = Toytown(4), Toytown(4)
        backwards = {i: town[i] for i in (3, 1, 2, 0)}
        assert all(torch.equal(backwards[i].image, other[i].image) for i in range(4))

    def test_textures_come_from_the_wheel(self, monkeypatch):
        """Nothing is fetched: with every way to the network cut, a town in a new size is drawn."""

        def refuse(*arguments, **more):
            raise AssertionError("the network was asked")

        monkeypatch.setattr("socket.socket.connect", refuse)
        monkeypatch.setattr("socket.getaddrinfo", refuse)
        from segcourse.data import toytown_surfaces

        for cached in (toytown_surfaces.texture, toytown_surfaces.upright, toytown_surfaces.lying):
            cached.cache_clear()
        assert Toytown(1, size=(40, 44))[0].image.std() > 0.05


class TestTruths:
    @pytest.mark.parametrize(
        "size", [(96, 128), (33, 47), (192, 256), (16, 16), (64, 200), (120, 17)]
    )
    def test_shapes_and_types(self, size):
        scene = Toytown(1, size=size)[0]
        assert scene.image.shape == (3, *size) and scene.image.dtype == torch.float32
        assert scene.semantic.shape == size and scene.semantic.dtype == torch.int64
        assert scene.instance.shape == size and scene.instance.dtype == torch.int64
        assert scene.image.is_contiguous() and 0 <= scene.image.min() < scene.image.max() <= 1

    @given(
        seed=st.integers(0, 2**62),
        height=st.integers(16, 80),
        width=st.integers(16, 80),
        knobs=st.fixed_dictionaries(
            {
                "variety": st.sampled_from((0.0, 0.5, 1.0, 2.0)),
                "people": st.sampled_from(((0, 0), (1, 4), (MAX_THINGS, MAX_THINGS))),
                "cars": st.sampled_from(((0, 0), (1, 4), (MAX_THINGS, MAX_THINGS))),
                "lamp_scale": st.sampled_from((0.1, 1.0, 5.0)),
                "void": st.sampled_from((0, 1, 3)),
            }
        ),
    )
    @settings(max_examples=60)
    def test_truths_agree_in_every_town(self, seed, height, width, knobs):
        scene = Toytown(3, seed=seed, size=(height, width), **knobs)[-1]
        check_labels(scene.semantic, len(CLASSES))
        is_thing = torch.isin(scene.semantic, torch.tensor(THINGS))
        assert torch.equal(is_thing, scene.instance > 0)
        identities = scene.instance[is_thing].unique()
        for identity in identities:
            assert len(scene.semantic[scene.instance == identity].unique()) == 1
        if not knobs["void"]:
            assert identities.tolist() == list(range(1, len(identities) + 1))
        assert scene.image.isfinite().all() and scene.image.min() >= 0 and scene.image.max() <= 1

    def test_every_class_has_its_share(self):
        seen = counts(Toytown(200), 200)[:, : len(CLASSES)]
        share = dict(zip(CLASSES, seen.sum(dim=0) / seen.sum(), strict=True))
        assert all(share[stuff] > 0.05 for stuff in CLASSES[:5])
        assert 0.02 < share["car"] < 0.06
        assert 0.005 < share["person"] < 0.018 and 0.005 < share["lamp"] < 0.018
        assert (seen > 0).float().mean(dim=0).min() > 0.95  # hardly a scene lacks a class

    def test_things_touch_and_come_in_many_sizes(self):
        touching, sizes = 0, []
        for index in range(60):
            instance = Toytown(60)[index].instance
            left, right = instance[:, :-1], instance[:, 1:]
            touching += bool(((left != right) & (left > 0) & (right > 0)).any())
            sizes += torch.bincount(instance.flatten())[1:].tolist()
        assert touching > 30
        assert np.percentile(sizes, 97) > 20 * np.percentile(sizes, 5)

    def test_a_colour_does_not_give_a_class_away(self):
        """Even the best table from colours (16 steps a channel) to classes misses many pixels."""
        scenes = [Toytown(60)[i] for i in range(60)]
        images = torch.stack([scene.image for scene in scenes]).movedim(1, -1).reshape(-1, 3)
        truth = torch.stack([scene.semantic for scene in scenes]).flatten()
        color = (images * 15).long() @ torch.tensor([256, 16, 1])
        table = torch.zeros(4096, len(CLASSES)).index_put_(
            (color, truth), torch.ones(len(truth)), accumulate=True
        )
        assert table.max(dim=1).values.sum() / table.sum() < 0.75

    def test_labels_are_never_blended(self):
        """A coarse and a fine canvas hold the same few classes, and nothing between them."""
        scene = Toytown(1, size=(24, 32), people=(3, 3))[0]
        assert set(scene.semantic.unique().tolist()) <= set(range(len(CLASSES)))


class TestKnobs:
    @pytest.mark.parametrize(("knob", "kind"), [("cars", CAR), ("people", PERSON), ("lamps", LAMP)])
    def test_none_and_many(self, knob, kind):
        assert counts(Toytown(20, **{knob: (0, 0)}), 20)[:, kind].sum() == 0
        few, many = (counts(Toytown(20, **{knob: (n, n)}), 20)[:, kind].sum() for n in (1, 6))
        assert many > 2 * few > 0

    def test_a_knob_leaves_the_rest_as_it_was(self):
        plain, empty = Toytown(10, noise=0), Toytown(10, noise=0, cars=(0, 0))
        for index in range(10):
            with_cars, without = plain[index], empty[index]
            elsewhere = (with_cars.semantic != CAR) & (without.semantic == with_cars.semantic)
            assert elsewhere.float().mean() > 0.8
            for kind in (PERSON, LAMP):
                hidden = (with_cars.semantic == kind) & (without.semantic != kind)
                assert not hidden.any()  # taking cars away uncovers others, it never moves them
            far = elsewhere[:20, :]
            assert torch.equal(with_cars.image[:, :20][:, far], without.image[:, :20][:, far])

    def test_trees_and_houses(self):
        bare = counts(Toytown(20, trees=(0, 0), houses=(0, 0)), 20)
        full = counts(Toytown(20, trees=(12, 12), houses=(8, 8)), 20)
        assert full[:, 4].sum() > 3 * bare[:, 4].sum()
        assert full[:, 1].sum() > 1.5 * bare[:, 1].sum()

    def test_scales(self):
        for knob, kind in (("person_scale", PERSON), ("lamp_scale", LAMP)):
            small, large = (largest(Toytown(20, **{knob: scale}), kind) for scale in (0.5, 1.5))
            assert large > 3 * small

    def test_noise_and_light_change_the_image_only(self):
        clean, noisy = Toytown(3, noise=0), Toytown(3, noise=0.1)
        difference = noisy[0].image - clean[0].image
        assert difference.std() == pytest.approx(0.1, rel=0.1)  # less where it is clipped
        assert torch.equal(clean[0].semantic, noisy[0].semantic)
        dark, bright = Toytown(3, light=(0.3, 0.3)), Toytown(3, light=(0.9, 0.9))
        assert bright[0].image.mean() > 2.5 * dark[0].image.mean()
        assert torch.equal(dark[0].semantic, bright[0].semantic)

    def test_texture_roughens_the_ground(self):
        def roughness(strength: float) -> float:
            scene = Toytown(1, texture=strength, noise=0)[0]
            step = (scene.image[:, :, 1:] - scene.image[:, :, :-1]).abs().mean(dim=0)
            return float(step[scene.semantic[:, 1:] == 3].mean())

        assert roughness(0) < 0.3 * roughness(1) < 0.3 * roughness(2)

    def test_variety_spreads_the_colours(self):
        def spread(variety: float) -> float:
            town = Toytown(24, variety=variety, light=(1, 1), noise=0)
            means = [town[i].image[:, town[i].semantic == 2].mean(dim=1) for i in range(24)]
            return float(torch.stack(means).std(dim=0).mean())

        assert spread(0) < 0.5 * spread(1)

    def test_void_surrounds_things_and_spares_them(self):
        plain, ringed = Toytown(10), Toytown(10, void=1)
        for index in range(10):
            before, after = plain[index], ringed[index]
            void = after.semantic == IGNORE
            assert void.any() and not (after.instance[void] > 0).any()
            assert torch.equal(before.semantic[~void], after.semantic[~void])
            assert torch.equal(before.image, after.image)
            near = torch.nn.functional.max_pool2d(before.instance[None].float(), 3, 1, 1)[0]
            assert torch.equal(void, near > before.instance)
        assert (Toytown(1, void=3)[0].semantic == IGNORE).sum() > void.sum() / 2


class TestDataset:
    def test_length_and_end(self):
        town = Toytown(3)
        assert len(town) == 3 and len(list(town)) == 3
        assert torch.equal(town[-1].image, town[2].image)
        assert torch.equal(town[np.int64(1)].image, town[torch.tensor(1)].image)
        for index in (3, -4):
            with pytest.raises(IndexError, match=f"no scene {index}: this town has 3"):
                town[index]
        assert len(Toytown(0)) == 0 and list(Toytown(0)) == []

    @pytest.mark.parametrize("index", [1.0, "1", None, slice(0, 2), [1]])
    def test_indices_that_are_no_integers(self, index):
        with pytest.raises(TypeError, match="one integer"):
            Toytown(3)[index]

    def test_batches_and_worker_processes(self):
        batch = next(iter(batches(Cached(Toytown(4, size=(16, 24))), batch_size=4, shuffle=False)))
        assert batch.image.shape == (4, 3, 16, 24)
        copy = pickle.loads(pickle.dumps(Toytown(4, seed=3, void=1)))
        assert torch.equal(copy[2].semantic, Toytown(4, seed=3, void=1)[2].semantic)

    @pytest.mark.parametrize("sight", SIGHTS)
    def test_the_palette_can_be_told_apart(self, sight):
        colors = np.array([*PALETTE, (0, 0, 0)]) / 255  # void is black
        assert colors.shape == (len(CLASSES) + 1, 3)
        linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
        seen = np.clip(linear @ np.array(SIGHTS[sight]).T, 0, 1)
        seen = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
        lab = rgb2lab(seen[None])[0]
        apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + 1e3 * np.eye(len(lab))
        assert apart.min() > 15  # 2.3 is just noticeable


BAD = [
    ({"length": -1}, ValueError, "length must lie from 0"),
    ({"length": 2.0}, TypeError, "length must be an integer"),
    ({"length": True}, TypeError, "length must be an integer"),
    ({"seed": -1}, ValueError, "seed must lie from 0"),
    ({"seed": "0"}, TypeError, "seed must be an integer"),
    ({"seed": None}, TypeError, "seed must be an integer"),
    ({"size": 96}, TypeError, "size must be a pair"),
    ({"size": (96,)}, TypeError, "size must be a pair"),
    ({"size": (96, 128, 3)}, TypeError, "size must be a pair"),
    ({"size": (15, 128)}, ValueError, r"size\[0\] must lie from 16"),
    ({"size": (96, 0)}, ValueError, r"size\[1\] must lie from 16"),
    ({"size": (96, 128.0)}, TypeError, r"size\[1\] must be an integer"),
    ({"size": (96, 10**6)}, ValueError, r"size\[1\] must lie from 16 to"),
    ({"cars": 3}, TypeError, r"cars must be a pair.*such as"),
    ({"cars": (4, 1)}, ValueError, "cars must be .*swap"),
    ({"people": (-1, 2)}, ValueError, r"people\[0\] must lie from 0"),
    ({"people": (0, MAX_THINGS + 1)}, ValueError, r"people\[1\] must lie from 0 to"),
    ({"lamps": (0.5, 2)}, TypeError, r"lamps\[0\] must be an integer"),
    ({"trees": None}, TypeError, "trees must be a pair"),
    ({"houses": "12"}, TypeError, "houses must be a pair"),
    ({"person_scale": 0}, ValueError, "person_scale must lie from 0.1"),
    ({"lamp_scale": "big"}, TypeError, "lamp_scale must be a number"),
    ({"variety": -0.1}, ValueError, "variety must lie from 0 to 2"),
    ({"texture": float("nan")}, ValueError, "texture must lie from 0 to 2"),
    ({"light": (1.0, 0.5)}, ValueError, "light must be .*swap"),
    ({"light": 1.0}, TypeError, "light must be a pair"),
    ({"noise": -1}, ValueError, "noise must lie from 0 to 1"),
    ({"noise": None}, TypeError, "noise must be a number"),
    ({"noise": True}, TypeError, "noise must be a number"),
    ({"void": 1.5}, TypeError, "void must be an integer"),
    ({"void": -1}, ValueError, "void must lie from 0"),
]


@pytest.mark.parametrize(("wrong", "error", "message"), BAD, ids=lambda value: str(value)[:40])
def test_bad_calls_say_what_is_wanted(wrong, error, message):
    with pytest.raises(error, match=message):
        Toytown(**{"length": 2} | wrong)
