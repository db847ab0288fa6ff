"""Images from a folder: what is read, in which order, and what is said when it cannot be."""

import os
import shutil
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from orbitlens.data import copies_among, image_folder
from orbitlens.data._pictures import open_regular
from orbitlens.errors import OrbitLensError, OrbitLensWarning


def save(path: Path, pixels: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def grey(level: int, height: int = 8, width: int = 8) -> np.ndarray:
    return np.full((height, width), level, dtype=np.uint8)


def colour(red: int, green: int, blue: int) -> np.ndarray:
    return np.full((8, 8, 3), (red, green, blue), dtype=np.uint8)


def test_subfolders_are_classes_and_files_come_sorted(tmp_path: Path) -> None:
    save(tmp_path / "dog" / "b.png", grey(200))
    save(tmp_path / "dog" / "deep" / "er" / "a.png", grey(150))
    save(tmp_path / "cat" / "z.png", grey(100))
    inputs = image_folder(tmp_path, size=4)
    assert inputs.files == ("cat/z.png", "dog/b.png", "dog/deep/er/a.png")
    assert inputs.class_names == ("cat", "dog")
    assert inputs.labels is not None
    assert inputs.labels.tolist() == [0, 1, 1]
    assert inputs.values.shape == (3, 1, 4, 4)
    assert torch.equal(inputs.values[:, 0, 0, 0], torch.tensor([100, 200, 150]) / 255)
    assert inputs.name == tmp_path.name
    assert inputs.skipped == inputs.passed_over == ()


@pytest.mark.parametrize("subfolder", [".", "all/of/them"])
def test_a_flat_folder_or_a_single_subfolder_has_no_labels(tmp_path: Path, subfolder: str) -> None:
    save(tmp_path / subfolder / "a.png", grey(101))
    save(tmp_path / subfolder / "b.png", grey(102))
    inputs = image_folder(tmp_path)
    assert inputs.labels is None
    assert inputs.class_names == ()
    assert [Path(name).name for name in inputs.files] == ["a.png", "b.png"]


@pytest.mark.parametrize(
    "name", ["a.png", "a.PNG", "a.jpg", "a.JPEG", "a.tif", "a.Tiff", "a.webp", "a.WebP", "a.bmp"]
)
def test_every_ending_is_read_in_any_case(tmp_path: Path, name: str) -> None:
    options = {"lossless": True} if name.lower().endswith("webp") else {}
    save(tmp_path / name, grey(51), **options)
    assert image_folder(tmp_path).values.unique().tolist() == pytest.approx([0.2])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "MPO"])
def test_a_file_is_what_it_contains_whatever_its_ending_says(tmp_path: Path, kind: str) -> None:
    Image.fromarray(grey(51)).convert("RGB").save(tmp_path / "a.jpg", format=kind, quality=100)
    assert image_folder(tmp_path, channels=1).values.mean() == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("kind", ["GIF", "PPM", "TGA", "ICO", "PCX", "EPS"])
def test_other_decoders_stay_shut(tmp_path: Path, kind: str) -> None:
    Image.fromarray(grey(51)).convert("RGB").resize((16, 16)).save(tmp_path / "a.png", format=kind)
    with pytest.raises(OrbitLensError, match="none of PNG, JPEG, TIFF, WEBP, BMP"):
        image_folder(tmp_path)


def test_hidden_files_and_folders_are_ignored(tmp_path: Path) -> None:
    save(tmp_path / "a.png", grey(101))
    (tmp_path / "._a.png").write_bytes(b"resource fork")
    save(tmp_path / ".thumbnails" / "a.png", grey(102))
    assert image_folder(tmp_path).files == ("a.png",)


def test_links_are_followed_once(tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "a.png", grey(101))
    save(tmp_path / "images" / "one" / "b.png", grey(102))
    (tmp_path / "images" / "two").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "images" / "one" / "up").symlink_to(tmp_path / "images")
    assert image_folder(tmp_path / "images").files == ("one/b.png", "two/a.png")


@pytest.mark.parametrize(
    ("ending", "mode", "byte_order"),
    [("png", "I;16", "<u2"), ("tif", "I;16", "<u2"), ("tif", "I;16B", ">u2")],
)
def test_sixteen_bit_grey_is_scaled_by_65535(
    tmp_path: Path, ending: str, mode: str, byte_order: str
) -> None:
    levels = np.repeat(np.array([[0, 13107, 65535, 300]], dtype=byte_order), 4, axis=0)
    Image.frombytes(mode, (4, 4), levels.tobytes()).save(tmp_path / f"a.{ending}")
    values = image_folder(tmp_path, size=4).values
    assert values.shape == (1, 1, 4, 4)
    assert values[0, 0, 0].tolist() == pytest.approx([0, 0.2, 1, 300 / 65535])


def test_sixteen_bit_grey_keeps_more_than_eight_bits_when_resized(tmp_path: Path) -> None:
    save(tmp_path / "a.png", np.full((32, 32), 40001, dtype=np.uint16))
    values = image_folder(tmp_path, size=8).values
    torch.testing.assert_close(values, torch.full_like(values, 40001 / 65535))


def test_auto_is_grey_only_if_every_image_is(tmp_path: Path) -> None:
    save(tmp_path / "a.png", grey(51))
    assert image_folder(tmp_path).values.shape[1] == 1
    save(tmp_path / "b.png", colour(255, 0, 51))
    values = image_folder(tmp_path).values
    assert values[:, :, 0, 0].flatten().tolist() == pytest.approx([0.2, 0.2, 0.2, 1, 0, 0.2])


def test_channels_can_be_chosen(tmp_path: Path) -> None:
    save(tmp_path / "a.png", grey(51))
    save(tmp_path / "b.png", colour(255, 0, 0))
    assert image_folder(tmp_path, channels=3).values.shape[1] == 3
    luminance = image_folder(tmp_path, channels=1).values[:, :, 0, 0]
    assert luminance.flatten().tolist() == pytest.approx([0.2, 0.299], abs=0.002)
    shutil.rmtree(tmp_path)
    save(tmp_path / "a.png", grey(51))
    assert image_folder(tmp_path, channels=3).values.shape[1] == 3


@pytest.mark.parametrize(
    ("mode", "pixel", "expected"),
    [
        ("1", 1, [1.0]),
        ("L", 51, [0.2]),
        ("LA", (51, 255), [0.2]),
        ("LA", (51, 0), [1.0]),
        ("RGBA", (255, 0, 51, 255), [1.0, 0.0, 0.2]),
        ("RGBA", (255, 0, 51, 0), [1.0, 1.0, 1.0]),
    ],
)
def test_modes_of_png_and_transparency_onto_white(
    tmp_path: Path, mode: str, pixel: object, expected: list[float]
) -> None:
    Image.new(mode, (8, 8), pixel).save(tmp_path / "a.png")
    values = image_folder(tmp_path).values
    assert values[0, :, 3, 3].tolist() == pytest.approx(expected)


def test_palettes_are_colour_and_may_be_transparent(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 255, 0, 51])
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "b.png", transparency=bytes([255, 0]))
    values = image_folder(tmp_path).values[:, :, 0, 0]
    assert values.flatten().tolist() == pytest.approx([1, 0, 0.2, 1, 1, 1])


def test_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    assert image_folder(tmp_path).values[0, :, 0, 0].tolist() == pytest.approx([1, 0, 0], abs=0.02)


@pytest.mark.parametrize(("height", "width"), [(8, 20), (20, 8), (9, 8)])
def test_the_centre_of_the_longer_side_is_kept(tmp_path: Path, height: int, width: int) -> None:
    pixels = grey(0, height, width)
    top, left = (height - 8) // 2, (width - 8) // 2
    pixels[top : top + 8, left : left + 8] = 255
    save(tmp_path / "a.png", pixels)
    assert image_folder(tmp_path, size=8).values.unique().tolist() == [1.0]


def test_an_image_of_the_right_size_is_untouched(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    save(tmp_path / "a.png", pixels)
    expected = torch.from_numpy(pixels).permute(2, 0, 1) / 255
    assert torch.equal(image_folder(tmp_path, size=16).values[0], expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_resizing_averages_and_stays_within_bounds(tmp_path: Path, dtype: type) -> None:
    checkers = (np.indices((64, 64)).sum(0) % 2 * np.iinfo(dtype).max).astype(dtype)
    save(tmp_path / "checkers.png", checkers)
    step = np.zeros((16, 16), dtype=dtype)
    step[:, 8:] = np.iinfo(dtype).max
    save(tmp_path / "step.png", step)
    small = image_folder(tmp_path, size=8).values[0]
    assert (small - 0.5).abs().max() < 0.06
    large = image_folder(tmp_path, size=64).values
    assert large.aminmax() == (0.0, 1.0)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    pixels = grey(0)
    pixels[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    save(tmp_path / "a.png", pixels, exif=exif)
    values = image_folder(tmp_path, size=8).values[0, 0]
    assert torch.equal(values, torch.from_numpy(np.rot90(pixels, -1) / 255).float())


def test_limit_takes_the_same_random_files_for_the_same_seed(tmp_path: Path) -> None:
    for i in range(12):
        save(tmp_path / f"{i:02}.png", grey(100 + i))
    everything = image_folder(tmp_path).files
    chosen = [image_folder(tmp_path, limit=5, seed=seed).files for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert len(chosen[0]) == 5
    assert list(chosen[0]) == sorted(set(chosen[0]) & set(everything))
    assert image_folder(tmp_path, limit=100).files == everything


def damaged_folder(tmp_path: Path) -> Path:
    save(tmp_path / "a.png", grey(101))
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    save(tmp_path / "truncated.jpg", noise)
    whole = (tmp_path / "truncated.jpg").read_bytes()
    (tmp_path / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "z.png").write_bytes(b"")
    return tmp_path


def test_an_unreadable_file_stops_and_is_named(tmp_path: Path) -> None:
    with pytest.raises(OrbitLensError, match=r"truncated\.jpg.*--unreadable skip") as caught:
        image_folder(damaged_folder(tmp_path))
    assert "\n" not in str(caught.value)


def test_unreadable_files_can_be_skipped_and_are_listed(tmp_path: Path) -> None:
    inputs = image_folder(damaged_folder(tmp_path), unreadable="skip")
    assert inputs.files == ("a.png",)
    assert inputs.skipped == ("truncated.jpg", "z.png")
    assert len(inputs.values) == 1


@pytest.mark.parametrize("ending", ["png", "tif", "jpg"])
def test_a_file_damaged_anywhere_is_read_or_refused_but_never_crashes(
    tmp_path: Path, ending: str
) -> None:
    generator = np.random.default_rng(0)
    save(tmp_path / f"a.{ending}", generator.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    whole = (tmp_path / f"a.{ending}").read_bytes()
    save(tmp_path / "whole.png", grey(101))
    for position in generator.choice(len(whole), min(len(whole), 60), replace=False):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        (tmp_path / f"a.{ending}").write_bytes(damaged)
        inputs = image_folder(tmp_path, size=8, unreadable="skip")
        assert len(inputs.files) + len(inputs.skipped) == 2


def test_a_folder_of_unreadable_files_is_rejected_even_when_skipping(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no image")
    (tmp_path / "b.png").write_text("no image")
    with pytest.raises(OrbitLensError, match=r"received 2 that cannot be read.*a\.png"):
        image_folder(tmp_path, unreadable="skip")


def test_floating_point_images_are_refused_because_their_white_is_unknown(tmp_path: Path) -> None:
    save(tmp_path / "a.tif", np.zeros((8, 8), dtype=np.float32))
    with pytest.raises(OrbitLensError, match=r"32 bits per pixel \(mode F\)"):
        image_folder(tmp_path)


def test_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    save(tmp_path / "bomb.png", grey(0))
    content = bytearray((tmp_path / "bomb.png").read_bytes())
    for side in (10_000, 60_000):  # where Pillow warns, and where it gives up
        content[16:24] = struct.pack(">II", side, side)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
        (tmp_path / "bomb.png").write_bytes(content)
        with pytest.raises(OrbitLensError, match=r"bomb\.png.*decompression bomb"):
            image_folder(tmp_path)


@pytest.mark.parametrize("in_memory", [True, False])
def test_what_is_passed_over_is_counted(tmp_path: Path, in_memory: bool) -> None:
    save(tmp_path / "a" / "1.png", grey(100))
    save(tmp_path / "a" / "2.png", grey(100, 8, 10))
    save(tmp_path / "b" / "3.png", grey(100, 16, 8))
    (tmp_path / "b" / "4.gif").write_bytes(b"GIF89a")
    for name in ("notes\n.txt", "5.txt", "6.txt"):
        (tmp_path / name).write_text("no image")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    (tmp_path / "b" / "broken.png").write_bytes(b"")
    Image.fromarray(grey(100)).save(
        tmp_path / "b" / "pages.tif", save_all=True, append_images=[Image.fromarray(grey(50))]
    )
    inputs = image_folder(tmp_path, unreadable="skip", in_memory=in_memory)
    assert inputs.files == ("a/1.png", "a/2.png", "b/3.png", "b/pages.tif")
    others = ("5.txt", "6.txt", "b/4.gif", "notes\n.txt")
    assert inputs.skipped == ("b/broken.png", *others, "a/pipe.png")
    assert inputs.passed_over == (
        "1 file could not be read: b/broken.png.",
        "4 files of other formats: 5.txt, 6.txt, b/4.gif and 1 more.",
        "1 file of no content (a pipe, a socket or a device): a/pipe.png.",
        "2 oblong images cut to the centred square, at most 50% of the area lost.",
        "1 file with several pages or frames, of which the first was read.",
    )


def test_files_that_were_not_chosen_are_counted(tmp_path: Path) -> None:
    for i in range(5):
        save(tmp_path / f"{i}.png", grey(100))
    assert image_folder(tmp_path, limit=2).passed_over == ("2 of 5 files were chosen at random.",)


@pytest.mark.parametrize("lost", ["c", "b"])
def test_a_class_without_images_is_told(tmp_path: Path, lost: str) -> None:
    for name in {"a", "b", "c"} - {lost}:
        save(tmp_path / name / "1.png", grey(100))
    (tmp_path / lost / "deep").mkdir(parents=True)
    (tmp_path / lost / "1.gif").write_bytes(b"GIF89a")
    (tmp_path / "__MACOSX").mkdir()
    with pytest.warns(OrbitLensWarning, match=f"no images in the subfolders {lost};"):
        inputs = image_folder(tmp_path)
    assert inputs.skipped == (f"{lost}/1.gif", f"{lost}/")
    assert inputs.passed_over[-1] == f"1 subfolder without images: {lost}."


def test_a_pipe_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(OrbitLensError, match="received 1 others"):
        image_folder(tmp_path)
    with pytest.raises(ValueError, match="a pipe, a socket or a device"):
        open_regular(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    save(tmp_path / "elsewhere" / "c.jpg", grey(100))
    (tmp_path / "c.png").symlink_to(tmp_path / "elsewhere" / "c.jpg")
    shutil.move(tmp_path / "elsewhere", tmp_path / ".elsewhere")
    (tmp_path / "c.png").unlink()
    (tmp_path / "c.png").symlink_to(tmp_path / ".elsewhere" / "c.jpg")
    inputs = image_folder(tmp_path)
    assert inputs.files == ("c.png",)
    assert inputs.skipped == ("a.png", "b.png")


def tiff(path: Path, raw: bytes, tags: dict[int, int]) -> None:
    """Write a little-endian TIFF of 8 x 8 pixels in one strip."""
    known = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 8, 279: len(raw)}
    entries = sorted({**known, **tags}.items())
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    ends = struct.pack("<H", len(entries)) + body + bytes(4)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(raw)) + raw + ends)


RAMP = np.arange(64).reshape(8, 8)
PACKED_12 = b"".join(
    bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in (RAMP * 65).reshape(-1, 2).tolist()
)


@pytest.mark.parametrize(
    ("raw", "tags", "expected"),
    [
        ((RAMP * 4).astype("u1").tobytes(), {}, RAMP * 4 / 255),
        ((RAMP * 4).astype("u1").tobytes(), {262: 0}, 1 - RAMP * 4 / 255),
        ((RAMP * 1040).astype("<u2").tobytes(), {258: 16}, RAMP * 1040 / 65535),
        ((RAMP * 1040).astype("<u2").tobytes(), {258: 16, 262: 0}, 1 - RAMP * 1040 / 65535),
        (PACKED_12, {258: 12}, RAMP * 65 / 4095),
    ],
)
def test_white_and_black_of_a_tiff_are_those_of_its_tags(
    tmp_path: Path, raw: bytes, tags: dict[int, int], expected: np.ndarray
) -> None:
    tiff(tmp_path / "a.tif", raw, tags)
    values = image_folder(tmp_path, size=8).values[0, 0].numpy()
    np.testing.assert_allclose(values, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({258: 10}, "such as 10 bits per sample"),
        ({258: 14}, "such as 10 bits per sample"),
        ({258: 16, 339: 2}, r"16 bits per pixel \(mode I\), signed whole numbers"),
        ({258: 32}, r"32 bits per pixel \(mode I\), numbers whose white is not known"),
        ({258: 32, 339: 3}, r"32 bits per pixel \(mode F\), floating point numbers"),
        ({258: 12, 262: 0}, "none of PNG, JPEG, TIFF"),
    ],
)
def test_a_tiff_whose_white_is_not_known_is_refused(
    tmp_path: Path, tags: dict[int, int], message: str
) -> None:
    tiff(tmp_path / "a.tif", bytes(256), tags)
    with pytest.raises(OrbitLensError, match=message):
        image_folder(tmp_path)


@pytest.mark.parametrize(
    ("dtype", "most", "guess"),
    [(np.uint16, 4000, 4095), (np.uint16, 16383, 16383), (np.uint8, 1, 1)],
)
@pytest.mark.parametrize("in_memory", [True, False])
def test_images_far_below_their_white_are_told_and_white_can_be_given(
    tmp_path: Path, dtype: type, most: int, guess: int, in_memory: bool
) -> None:
    pixels = np.zeros((8, 8), dtype=dtype)
    pixels[0, 0] = most
    save(tmp_path / "a.png", pixels)
    save(tmp_path / "b.png", pixels // 2)
    white = np.iinfo(dtype).max
    message = f"in files whose white is {white} is {most}, .*pass white={guess} .*--white {guess}"
    with pytest.warns(OrbitLensWarning, match=message):
        image_folder(tmp_path, size=8, in_memory=in_memory)
    values = image_folder(tmp_path, size=8, in_memory=in_memory, white=guess).values[:]
    assert values[0, 0, 0, 0] == pytest.approx(most / guess)
    dark = image_folder(tmp_path, size=8, in_memory=in_memory, white=int(white)).values[:]
    assert dark[0, 0, 0, 0] == pytest.approx(most / white)


def test_a_white_that_cannot_be_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.png", np.full((8, 8), 5000, dtype=np.uint16))
    with pytest.raises(
        OrbitLensError, match="a number of 5000 in it, and white is said to be 4095"
    ):
        image_folder(tmp_path, white=4095)
    save(tmp_path / "a.png", grey(200))
    with pytest.raises(OrbitLensError, match="255 is the largest number in it, and white is said"):
        image_folder(tmp_path, white=4095)


def test_white_is_zero_of_twelve_bits_in_sixteen(tmp_path: Path) -> None:
    tiff(tmp_path / "a.tif", (RAMP * 65).astype("<u2").tobytes(), {258: 16, 262: 0})
    values = image_folder(tmp_path, size=8, white=4095).values[0, 0].numpy()
    np.testing.assert_allclose(values, 1 - RAMP * 65 / 4095, atol=1e-6)


@pytest.mark.parametrize("ending", ["png", "jpg", "tif", "webp"])
def test_every_format_is_turned_upright_once(tmp_path: Path, ending: str) -> None:
    pixels = grey(0)
    pixels[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"lossless": True} if ending == "webp" else {}
    save(tmp_path / f"a.{ending}", pixels, exif=exif, **options)
    values = image_folder(tmp_path, size=8, channels=1).values[0, 0]
    assert torch.equal(values.round(), torch.from_numpy(np.rot90(pixels, -1) / 255).float())


def test_images_beside_class_folders_are_rejected(tmp_path: Path) -> None:
    save(tmp_path / "stray.png", grey(101))
    save(tmp_path / "cat" / "a.png", grey(101))
    with pytest.raises(OrbitLensError, match=r"subfolders cat, the first being stray\.png"):
        image_folder(tmp_path)


def test_a_folder_that_does_not_exist_or_is_a_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(OrbitLensError, match=r"an existing folder, received .*missing"):
        image_folder(tmp_path / "missing")
    save(tmp_path / "a.png", grey(101))
    with pytest.raises(OrbitLensError, match=r"a folder, not a file, received .*a\.png"):
        image_folder(str(tmp_path / "a.png"))


def test_a_folder_without_images_says_which_endings_are_looked_for(tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(b"GIF89a")
    with pytest.raises(OrbitLensError, match=r"\.png, \.jpg, \.jpeg, \.tif, \.tiff"):
        image_folder(tmp_path)


def test_a_subfolder_that_cannot_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "open" / "a.png", grey(101))
    (tmp_path / "closed").mkdir()
    listed = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(OrbitLensError, match=r"closed: .*received an error: Permission denied"):
        image_folder(tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "`size`: expected at least 1, received 0"),
        ({"limit": 0}, "`limit`: expected at least 1, received 0"),
        ({"white": 0}, "`white`: expected at least 1, received 0"),
        ({"channels": 2}, "`channels`: expected .* received 2"),
        ({"channels": "grey"}, "`channels`: expected .* received 'grey'"),
        ({"unreadable": "skp"}, "did you mean 'skip'"),
    ],
)
def test_settings_are_checked_before_any_file_is_read(
    tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(OrbitLensError, match=message):
        image_folder(tmp_path / "missing", **settings)


def test_without_pillow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(OrbitLensError, match=r"orbitlens\[data\]"):
        image_folder(tmp_path)


@pytest.mark.parametrize("first", [grey(201), colour(201, 1, 1)])
def test_copies_are_known_of_files_that_are_read_as_they_are_needed(
    tmp_path: Path, first: np.ndarray
) -> None:
    for name, pixels in enumerate((first, colour(209, 0, 0), colour(209, 0, 0), grey(205))):
        save(tmp_path / f"{name}.png", pixels)
    inputs = image_folder(tmp_path, in_memory=False)
    assert inputs.digest == image_folder(tmp_path).digest
    rows = copies_among(inputs.values)
    assert (len(rows), len(set(rows))) == (4, 3)


@pytest.mark.parametrize(("height", "width"), [(4, 12), (12, 4)])
def test_an_oblong_image_is_cut_squeezed_or_filled_up(
    tmp_path: Path, height: int, width: int
) -> None:
    """Thirds of levels 51, 102 and 153 along the longer side."""
    levels = np.repeat(np.array([51, 102, 153], dtype=np.uint8), 4)
    along = np.broadcast_to(levels, (4, 12))
    save(tmp_path / "a.png", np.ascontiguousarray(along if width == 12 else along.T))

    def read(crop: str) -> list[list[float]]:
        inputs = image_folder(tmp_path, size=12, crop=crop)
        assert inputs.oblong == 1
        image = inputs.values[0, 0]
        return [[round(5 * v.item()) for v in each] for each in (image[6], image[:, 6])]

    cut = [2] * 12
    assert read("centre") == [cut, cut]
    squeezed = read("none")[0 if width == 12 else 1]
    assert (squeezed[0], squeezed[6], squeezed[11]) == (1, 2, 3)
    across = [0] * 4 + [2] * 4 + [0] * 4
    filled = read("pad") if width == 12 else read("pad")[::-1]
    assert filled == [levels.__floordiv__(51).tolist(), across]


@pytest.mark.parametrize(
    ("crop", "sentence"),
    [
        ("centre", "1 oblong image cut to the centred square, at most 50% of the area lost."),
        ("none", "1 oblong image squeezed into squares."),
        ("pad", "1 oblong image filled up to squares with black."),
    ],
)
def test_what_happened_to_oblong_images_is_told(tmp_path: Path, crop: str, sentence: str) -> None:
    save(tmp_path / "a.png", grey(100, 4, 8))
    save(tmp_path / "b.png", grey(100))
    assert image_folder(tmp_path, crop=crop).passed_over == (sentence,)


def test_a_crop_of_another_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OrbitLensError, match="`crop`: expected one of centre, none, pad"):
        image_folder(tmp_path, crop="center crop")
