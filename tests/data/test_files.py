"""Reading images, label maps and texts, and finding folders."""

import warnings

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from segcourse.data.files import find_folder, load_image, load_labels, read_text


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_a_picture_of_any_kind_has_three_colours(tmp_path, mode):
    pixels = Image.fromarray(np.full((4, 6, 3), (255, 0, 51), dtype=np.uint8)).convert(mode)
    pixels.save(tmp_path / "a.png")
    image = load_image(tmp_path / "a.png")
    assert image.shape == (3, 4, 6) and image.dtype == torch.float32
    if mode != "L":
        assert image[:, 0, 0].tolist() == pytest.approx([1, 0, 0.2])


@pytest.mark.parametrize("dtype, largest", [(np.uint8, 255), (np.uint16, 369)])
def test_labels_are_read_as_they_are_stored(tmp_path, dtype, largest):
    labels = np.array([[0, 1], [7, largest]], dtype=dtype)
    Image.fromarray(labels).save(tmp_path / "a.png")
    assert load_labels(tmp_path / "a.png").tolist() == labels.tolist()


def test_colours_are_no_labels(tmp_path):
    Image.fromarray(np.zeros((4, 6, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a.png has mode RGB, colours instead of numbers"):
        load_labels(tmp_path / "a.png")


RAMP = np.linspace(0, 1, 64).reshape(8, 8)
DEEP = (RAMP * 65535).round().astype(np.uint16)


def save_deep(folder, name: str):
    """RAMP as a gray image of 16 bits or of floats."""
    if name == "big.tif":
        image = Image.frombytes("I;16B", (8, 8), DEEP.astype(">u2").tobytes())
    elif name == "float.tif":
        image = Image.fromarray(RAMP.astype(np.float32))
    else:
        image = Image.fromarray(DEEP)
    image.save(folder / name)
    return folder / name


@pytest.mark.parametrize("name", ["a.png", "a.tif", "big.tif", "float.tif", "a.pgm"])
def test_deep_gray_values_are_kept(tmp_path, name):
    image = load_image(save_deep(tmp_path, name))
    assert image.shape == (3, 8, 8) and image.dtype == torch.float32
    assert torch.allclose(image[0].double(), torch.from_numpy(RAMP), atol=1e-5)
    assert torch.equal(image[0], image[2])


@pytest.mark.parametrize("values", [RAMP * 255, RAMP - 0.5, np.where(RAMP > 0.5, np.nan, RAMP)])
def test_floats_outside_of_0_to_1_are_refused(tmp_path, values):
    Image.fromarray(values.astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a.tif holds floats .* lie in \[0, 1\]"):
        load_image(tmp_path / "a.tif")


def test_integers_of_32_bits_are_refused(tmp_path):
    Image.fromarray(DEEP.astype(np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"32 bits, from 0 to 65535.*8 or 16 bits"):
        load_image(tmp_path / "a.tif")
    assert load_labels(tmp_path / "a.tif").tolist() == DEEP.tolist()  # a number is a number


@pytest.mark.parametrize("mode, name", [
    ("1", "a.png"), ("LA", "a.png"), ("RGBA", "a.png"), ("CMYK", "a.jpg"), ("CMYK", "a.tif"),
    ("YCbCr", "a.tif"), ("P", "a.gif"),
])  # fmt: skip
def test_every_kind_of_color_is_read(tmp_path, mode, name):
    Image.new("RGB", (6, 4), "white").convert(mode).save(tmp_path / name)
    assert (load_image(tmp_path / name) - 1).abs().max() < 0.01


def test_a_palette_with_transparency_keeps_its_colors(tmp_path):
    image = Image.new("P", (6, 4), 1)
    image.putpalette([0, 0, 0, 255, 0, 51])
    image.save(tmp_path / "a.png", transparency=bytes([0, 100]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = load_image(tmp_path / "a.png")
    assert found[:, 0, 0].tolist() == pytest.approx([1, 0, 0.2])
    assert (load_labels(tmp_path / "a.png") == 1).all()


@pytest.mark.parametrize("name", ["a.gif", "a.tif", "a.png", "a.webp"])
def test_files_of_several_images_are_refused(tmp_path, name):
    frames = [Image.new("L", (6, 4), value) for value in (0, 100, 200)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    for load in (load_image, load_labels):
        with pytest.raises(ValueError, match=f"{name} holds 3 images, but one is wanted"):
            load(tmp_path / name)


def test_a_photograph_with_a_preview_is_one_image(tmp_path):
    photograph = Image.new("RGB", (6, 4), "red")
    photograph.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[photograph])
    assert load_image(tmp_path / "a.jpg").shape == (3, 4, 6)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_and_labels_stand_upright(tmp_path, orientation, name):
    """A quadrant is marked, so that every one of the eight orientations looks different."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:8, :12] = 255
    options = {"quality": 95} if name in ("a.jpg", "a.webp") else {}
    Image.fromarray(pixels).save(tmp_path / name, exif=exif, **options)
    with Image.open(tmp_path / name) as file:
        wanted = np.asarray(ImageOps.exif_transpose(file).convert("RGB")) / 255
    assert wanted.shape == ((16, 24, 3) if orientation < 5 else (24, 16, 3))
    found = load_image(tmp_path / name).permute(1, 2, 0).numpy()
    assert found.shape == wanted.shape and np.abs(found - wanted).max() < 0.02
    if name in ("a.png", "a.tif"):
        exif = Image.Exif()  # saving adds to it
        exif[0x0112] = orientation
        Image.fromarray(pixels[..., 0]).save(tmp_path / name, exif=exif)
        assert np.array_equal(load_labels(tmp_path / name), wanted[..., 0] * 255)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
def test_images_one_pixel_high_or_wide(tmp_path, size):
    Image.new("L", size, 51).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png").shape == (3, size[1], size[0])
    assert load_labels(tmp_path / "a.png").tolist() == [[51] * size[0]] * size[1]


def test_negative_labels_and_floats_are_refused(tmp_path):
    Image.fromarray(np.array([[0, -1]], dtype=np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a.tif holds the label -1.*too narrow"):
        load_labels(tmp_path / "a.tif")
    Image.fromarray(np.zeros((2, 2), dtype=np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a.tif has mode F"):
        load_labels(tmp_path / "a.tif")


@pytest.mark.parametrize("load", [load_image, load_labels])
def test_files_that_are_no_image_or_damaged_are_named(tmp_path, load):
    (tmp_path / "a.png").write_text("<html>")
    with pytest.raises(ValueError, match=r"a.png is no image"):
        load(tmp_path / "a.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 50), np.uint8)).save(
        tmp_path / "a.png"
    )
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"a.png is damaged .*copy it again"):
        load(tmp_path / "a.png")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nowhere.png")


def test_texts_with_and_without_a_byte_order_mark(tmp_path):
    for content in ("Größe", "\ufeffGröße"):
        (tmp_path / "a.txt").write_bytes(content.encode())
        assert read_text(tmp_path / "a.txt") == "Größe"


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "gbk"])
def test_other_encodings_are_refused_with_the_name_of_the_file(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes("ä".encode(encoding, "replace") + "中".encode("gbk"))
    with pytest.raises(ValueError, match=r"a.txt is no text in UTF-8 .*save it") as caught:
        read_text(tmp_path / "a.txt")
    assert not isinstance(caught.value, UnicodeDecodeError)


def test_folders_are_found_where_they_are_named_or_below_the_variable(tmp_path, monkeypatch):
    (tmp_path / "cities" / "images").mkdir(parents=True)
    search = ("Cities", None, ("cities",), "images", "https://x.org")
    monkeypatch.delenv("SEGCOURSE_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"neither root nor SEGCOURSE_DATA.*https://x.org"):
        find_folder(*search)
    monkeypatch.setenv("SEGCOURSE_DATA", str(tmp_path))
    assert find_folder(*search) == tmp_path / "cities"
    here = find_folder("Cities", tmp_path / "cities", (), "images", "https://x.org")
    assert here == tmp_path / "cities"
    with pytest.raises(FileNotFoundError, match="it is not in"):
        find_folder("Cities", tmp_path / "cities" / "images", (), "images", "https://x.org")
