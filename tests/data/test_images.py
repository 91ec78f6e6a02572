"""A user's own images, in folders and zip files."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from fedlab.data import Images
from fedlab.errors import DataError
from fedlab.fingerprint import data_fingerprint

RNG = np.random.default_rng(0)
PIXELS = {name: RNG.integers(0, 256, (4, 5, 3), np.uint8) for name in "abcdef"}
FILES = {  # path → pixels
    **{f"cat/{name}.png": PIXELS[name] for name in "abc"},
    **{f"dog/{name}.png": PIXELS[name] for name in "def"},
}


def encoded(pixels, format="png", **options) -> bytes:
    content = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(content, format, **options)
    return content.getvalue()


def folder(place, files):
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content if isinstance(content, bytes) else encoded(content))
    return str(place)


def zipped(place, files):
    with zipfile.ZipFile(place.with_suffix(".zip"), "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content if isinstance(content, bytes) else encoded(content))
    return str(place.with_suffix(".zip"))


@pytest.mark.parametrize("write", [folder, zipped])
def test_pixels_and_labels_are_those_of_the_files(tmp_path, write):
    extra = {"readme.txt": b"hello", "cat/.hidden.png": b"x", "__MACOSX/cat/._a.png": b"x", "cat/Thumbs.db": b"x"}
    train, test = Images(path=write(tmp_path / "own", FILES | extra))._read()
    assert test is None and train.user_ids is None
    assert np.array_equal(train.x, np.stack(list(PIXELS.values()))) and train.y.tolist() == [0, 0, 0, 1, 1, 1]
    assert train.task.labels == ("cat", "dog")


def test_a_folder_and_its_zip_file_are_the_same_data(tmp_path):
    made = [Images(path=write(tmp_path / "own", FILES)).load(3) for write in (folder, zipped)]
    assert data_fingerprint(made[0]) == data_fingerprint(made[1])


@pytest.mark.parametrize("write", [folder, zipped])
def test_the_test_set_is_in_the_folder_or_named(tmp_path, write):
    parted = {f"{'test' if name in 'cf' else 'train'}/{path}": PIXELS[name] for path in FILES for name in path[4]}
    inside = Images(path=write(tmp_path / "parted", parted)).load(0)
    paths = [
        write(tmp_path / part, {path[len(part) + 1 :]: pixels for path, pixels in parted.items() if path.startswith(part)})
        for part in ("train", "test")
    ]
    named = Images(path=paths[0], test_path=paths[1]).load(0)
    assert data_fingerprint(inside) == data_fingerprint(named)
    assert np.array_equal(inside.test.x, [PIXELS["c"], PIXELS["f"]]) and len(inside.train) == 4
    with pytest.raises(ValueError, match="give one of them"):
        Images(path="a", test_path="b", test_fraction=0.1)


def test_users_have_their_folders(tmp_path):
    files = {f"{user}/{path}": pixels for user, (path, pixels) in zip("zzyyxx", FILES.items())}
    train, _ = Images(path=folder(tmp_path, files), by_user=True)._read()
    assert train.user_ids.tolist() == ["x", "x", "y", "y", "z", "z"] and train.y.tolist() == [1, 1, 0, 1, 0, 0]
    with pytest.raises(DataError, match=r"x/dog/e.png is not at CLASS/IMAGE: .*set data.by_user=true"):
        Images(path=str(tmp_path))._read()


GRAY = PIXELS["a"][..., 0]


@pytest.mark.parametrize(
    ("image", "color", "expected"),
    [
        (GRAY, "auto", GRAY[..., None]),
        (GRAY, "rgb", np.stack([GRAY] * 3, -1)),
        (Image.fromarray(PIXELS["a"]).convert("L"), "gray", None),
        (PIXELS["a"], "gray", np.asarray(Image.fromarray(PIXELS["a"]).convert("L"))[..., None]),
        (Image.fromarray(PIXELS["a"]).convert("RGBA"), "auto", PIXELS["a"]),
        (Image.fromarray(GRAY).convert("LA"), "auto", GRAY[..., None]),
        (Image.fromarray(GRAY).convert("1"), "auto", np.asarray(Image.fromarray(GRAY).convert("1").convert("L"))[..., None]),
        (Image.fromarray(PIXELS["a"] // 64 * 64).quantize(64), "auto", PIXELS["a"] // 64 * 64),
    ],
)
def test_colours(tmp_path, image, color, expected):
    place = folder(tmp_path, {"a/1.png": encoded(image), "a/2.png": encoded(image), "b/1.png": encoded(image)})
    x = Images(path=place, color=color)._read()[0].x
    assert x.shape[-1] == (1 if color == "gray" or (expected is not None and expected.shape[-1] == 1) else 3)
    if expected is not None:
        assert all(np.array_equal(each, expected) for each in x)


def test_one_image_in_colour_makes_all_of_them_coloured(tmp_path):
    x = Images(path=folder(tmp_path, {"a/1.png": GRAY, "a/2.png": PIXELS["b"], "b/1.png": GRAY}))._read()[0].x
    assert np.array_equal(x, [np.stack([GRAY] * 3, -1), PIXELS["b"], np.stack([GRAY] * 3, -1)])


def test_sizes_are_equal_or_scaled(tmp_path):
    place = folder(tmp_path, {**FILES, "dog/g.png": PIXELS["a"][:3]})
    with pytest.raises(DataError, match=r"2 sizes \(3×5, 4×5\): set data.size, such as data.size=\[3,5\]"):
        Images(path=place)._read()
    x = Images(path=place, size=(8, 6))._read()[0].x
    assert x.shape == (7, 8, 6, 3) and abs(x[0].mean() - PIXELS["a"].mean()) < 10


def test_photographs_stand_upright(tmp_path):
    """Cameras store the rotation beside the pixels."""
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to show
    files = {f"{label}/{i}.png": encoded(PIXELS["a"], exif=exif) for label in "ab" for i in range(2)}
    x = Images(path=folder(tmp_path, files))._read()[0].x
    assert np.array_equal(x[0], np.rot90(PIXELS["a"], -1))


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({}, "no image. It must contain a folder of images per class"),
        ({"a.png": PIXELS["a"]}, "a.png is not at CLASS/IMAGE"),
        ({"cat/a.png": PIXELS["a"], "cat/b.png": PIXELS["b"]}, "all labels are cat, so there is one class"),
        ({**FILES, "cat/z.png": encoded(PIXELS["a"])[:40]}, r"cat/z.png is not a readable image \("),
        ({**FILES, "cat/z.jpg": b"hello"}, r"cat/z.jpg is not a readable image \("),
        ({**FILES, "cat/z.png": (GRAY.astype(np.uint16) * 256)}, "cat/z.png has more than 8 bits per channel"),
    ],
)
@pytest.mark.parametrize("write", [folder, zipped])
def test_wrong_images_are_one_line(tmp_path, write, files, problem):
    (tmp_path / "own").mkdir()
    with pytest.raises(DataError, match=problem) as caught:
        Images(path=write(tmp_path / "own", files))._read()
    assert "\n" not in str(caught.value)


def test_other_files_are_no_zip_files(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"hello")
    for path, problem in (("a.zip", "not a zip file"), ("gone", "no such folder or zip file")):
        with pytest.raises(DataError, match=problem):
            Images(path=str(tmp_path / path))._read()


def test_a_folder_around_everything_and_backslashes_in_a_zip_file_change_nothing(tmp_path):
    expected = data_fingerprint(Images(path=folder(tmp_path / "own", FILES)).load(3))
    around = {f"my photos/all/{name}": pixels for name, pixels in FILES.items()}
    back = {name.replace("/", "\\"): pixels for name, pixels in FILES.items()}
    for path in (folder(tmp_path / "a", around), zipped(tmp_path / "a", around), zipped(tmp_path / "b", back)):
        assert data_fingerprint(Images(path=path).load(3)) == expected
    (tmp_path / "own" / "dog").rename(tmp_path / "elsewhere")
    (tmp_path / "own" / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "own")  # a circle
    assert data_fingerprint(Images(path=str(tmp_path / "own")).load(3)) == expected


@pytest.mark.parametrize("folders", [("train", "val"), ("train", "val", "test"), ("training", "testing")])
@pytest.mark.parametrize("by_user", [False, True])
def test_sets_with_other_names_are_no_users_and_no_classes(tmp_path, folders, by_user):
    files = {f"{part}/{name}": pixels for part in folders for name, pixels in FILES.items()}
    with pytest.raises(DataError, match=r"it contains .*, and not train and test only.* data\.test_path=…/test") as caught:
        Images(path=folder(tmp_path / "own", files), by_user=by_user).load(0)
    assert "by_user" not in str(caught.value)


def test_sets_may_have_capital_letters_and_a_class_may_be_called_train(tmp_path):
    files = {f"{part}/{name}": pixels for part in ("Train", "Test") for name, pixels in FILES.items()}
    assert len(Images(path=folder(tmp_path / "own", files)).load(0).test) == 6
    files = {name.replace("dog", "train"): pixels for name, pixels in FILES.items()}
    assert Images(path=folder(tmp_path / "vehicles", files)).load(0).train.task.labels == ("cat", "train")


def test_folders_with_numbers_are_in_order_of_the_numbers(tmp_path):
    files = {f"{i}/a.png": PIXELS["a"] for i in range(12)} | {"3/b.png": PIXELS["b"]}
    train, _ = Images(path=folder(tmp_path / "own", files))._read()
    assert train.y.tolist() == [0, 1, 10, 11, 2, 3, 3, 4, 5, 6, 7, 8, 9] and train.task.labels is None
    files = {f"0{i}/a.png": PIXELS["a"] for i in range(3)} | {"01/b.png": PIXELS["b"]}
    assert Images(path=folder(tmp_path / "names", files))._read()[0].task.labels == ("00", "01", "02")


def test_folders_without_an_image_and_links_to_nothing_are_reported(tmp_path):
    place = folder(tmp_path / "own", {**FILES, "owl/a.heic": b"x"})
    with pytest.raises(DataError, match=r"the folder owl contains no image in one of .*: remove it, or name the classes"):
        Images(path=place).load(0)
    assert len(Images(path=place, classes=("cat", "dog"))._read()[0]) == 6
    (tmp_path / "own" / "cat" / "z.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"cat/z.png is not a readable image \(No such file or directory\)"):
        Images(path=place, classes=("cat", "dog")).load(0)


@pytest.mark.parametrize(
    ("content", "problem"), [(b"", "it is empty"), (b"<html>", "its content has no image format that is known")]
)
def test_other_contents_are_described_without_objects_of_python(tmp_path, content, problem):
    with pytest.raises(DataError, match=rf"cat/z.png is not a readable image \({problem}\)"):
        Images(path=folder(tmp_path / "own", {**FILES, "cat/z.png": content})).load(0)


def test_damaged_metadata_and_transparent_palettes_give_no_warning(tmp_path):
    """Warnings are errors in these tests."""
    broken = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12"
    palette = Image.fromarray(PIXELS["a"]).convert("P")
    files = {
        "cat/a.jpg": encoded(Image.fromarray(PIXELS["a"]), "jpeg", exif=broken),
        "dog/a.png": encoded(palette, transparency=bytes(range(256))),
        "dog/b.png": PIXELS["b"],
    }
    train, _ = Images(path=folder(tmp_path / "own", files))._read()
    assert np.array_equal(train.x[1], np.asarray(palette.convert("RGB")))
