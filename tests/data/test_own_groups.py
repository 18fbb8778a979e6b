"""Groups of natural training images: those of a file, and label noise."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dictionary
from edgewise.data.examples import Dataset
from edgewise.data.groups import GROUPS, NATURAL, Prototypes, choose_prototypes, grouped_data, with_noise
from edgewise.data.memberships import read_groups
from edgewise.errors import ParameterError, shown
from edgewise.params import GroupParams, PrototypeParams

NAMES = ["a.png", "b.png", "c.png", "d.png"]


def csv(path: Path, *rows: str, header: str = "example,group") -> Path:
    file = path / "groups.csv"
    file.write_text("\n".join([header, *rows]) + "\n")
    return file


def fails(path: Path, *parts: str, names: list[str] = NAMES) -> None:
    with pytest.raises(ParameterError) as caught:
        read_groups(path, names)
    message = str(caught.value)
    assert message.startswith(f"groups.file: was {shown(str(path))}; ")
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_an_example_of_a_csv_may_be_in_several_groups_and_groups_keep_their_order(tmp_path):
    found = read_groups(csv(tmp_path, "d.png,rare", "a.png,first", "d.png,first", "d.png,rare"), NAMES)
    assert {group: mask.tolist() for group, mask in found.items()} == {
        "rare": [False, False, False, True],
        "first": [True, False, False, True],
    }
    assert list(found) == ["rare", "first"]


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (["x", "", "y", "x"], {"x": [True, False, False, True], "y": [False, False, True, False]}),
        ([7, 8, 7, -1], {"group-7": [True, False, True, False], "group-8": [False, True, False, False]}),
    ],
)
def test_an_array_has_the_group_of_each_example_and_may_have_none_of_some(tmp_path, group, expected):
    np.savez(tmp_path / "a.npz", train_group=np.array(group))
    found = read_groups(tmp_path / "a.npz", NAMES)
    assert {name: mask.tolist() for name, mask in found.items()} == expected


def test_a_csv_may_come_from_a_spreadsheet(tmp_path):
    file = tmp_path / "groups.csv"
    file.write_bytes(b'\xef\xbb\xbfgroup,note,"example"\r\nrare,"a, b",a.png\r\n\r\nrare,,d.png\r\n')
    assert read_groups(file, NAMES)["rare"].tolist() == [True, False, False, True]


def test_files_that_cannot_be_meant_are_an_error(tmp_path):
    fails(csv(tmp_path, "e.png,rare"), "line 2", "'e.png'", "not among the 4", "'a.png' to 'd.png'")
    fails(csv(tmp_path, f"{'e' * 1000},rare"), f"example '{'e' * 77}...{'e' * 78}' is not")
    fails(csv(tmp_path, "a.png,rare", header="image,group"), "columns example and group", "image")
    fails(csv(tmp_path, "a.png,rare,x"), "line 2", "2 columns")
    fails(csv(tmp_path, "a.png,rare", "b.png"), "line 3", "2 columns")
    fails(csv(tmp_path, "a.png,rare,x", header="example,group,group"), "once each")
    fails(csv(tmp_path, "e.png,rare"), "'a\\nb' to 'c'", names=["a\nb", "c"])
    (tmp_path / "latin.csv").write_bytes("example,group\na.png,gr\xfcn\n".encode("latin-1"))
    fails(tmp_path / "latin.csv", "readable CSV")
    fails(csv(tmp_path), "names 0 groups", "1 to 50")
    fails(csv(tmp_path, *(f"a.png,g{i}" for i in range(51))), "names 51 groups", "1 to 50")
    fails(tmp_path / "none.csv", "readable CSV")
    np.savez(tmp_path / "short.npz", train_group=np.array(["x"]))
    fails(tmp_path / "short.npz", "(1,)", "(4,)")
    np.savez(tmp_path / "other.npz", train_y=np.zeros(4))
    fails(tmp_path / "other.npz", "train_group")


def test_what_would_hang_or_fill_the_memory_is_an_error(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.csv")
    for endless in (tmp_path / "pipe.csv", Path("/dev/zero"), tmp_path):
        fails(endless, "must be a regular file")
    np.savez_compressed(tmp_path / "large.npz", train_group=np.zeros(4, dtype=int))
    files = csv(tmp_path, "a.png,rare"), tmp_path / "large.npz"
    monkeypatch.setattr(os, "sysconf", lambda name: 4)
    for file in files:
        fails(file, "of memory or more")


def names_that_collide() -> set[str]:
    """Names of groups with which a column that has a group's name in it would be another column of its table."""
    names = dictionary.content()["names"]

    def spelt_out(template: str) -> list[str]:
        """With every name in it, but for those of groups: {}."""
        found = dictionary.NAME.search(template)
        if not found:
            return [template]
        own = found[1] in ("group", "tracked", "set", "measured")
        values = ["{}"] if own else names[found[1]].get("values", ["7"])
        return [one for value in values for one in spelt_out(template.replace(found[0], value, 1))]

    collide = set()
    for file in dictionary.files():
        columns = [one for entry in file.entries for one in spelt_out(entry.name) if "." not in one]
        for begin, end in (one.split("{}") for one in columns if one.count("{}") == 1):
            for other in columns:
                inner = other.removeprefix(begin).removesuffix(end)
                if other.startswith(begin) and inner not in ("{}", "") and len(inner) == len(other) - len(begin + end):
                    collide.add(inner.format("x"))
    return collide


def test_no_name_of_a_group_makes_a_column_that_there_is(tmp_path):
    collide = names_that_collide()
    assert {"step", "quantile", "over_step_x", "exit_x", "x_fgsm", "inlier"} <= collide
    for name in collide:
        fails(csv(tmp_path, f"a.png,{name}"), f"group {name!r}")


@pytest.mark.parametrize(
    "name",
    ["", "two words", "1", "3.0", "_x", "\u00fcber", "NA", "nan", "None", "TRUE", "x_low", "class0_q1", "x" * 41],
)
def test_a_group_has_a_name_that_tables_read_as_one(tmp_path, name):
    fails(csv(tmp_path, f"a.png,{name}"), f"group {name!r}", "begins with a letter")


# In the experiment.


@pytest.fixture
def dataset(digits) -> Dataset:
    """With two groups that overlap: every third image, and the first twenty."""
    place = np.arange(len(digits.train_y))
    return replace(digits, groups={"third": place % 3 == 0, "early": place < 20})


def choose(dataset: Dataset, n: int = 100, seed: int = 0, **groups: object) -> Prototypes:
    params = PrototypeParams(candidates=6, trained=4)
    return choose_prototypes(dataset, params, n, 3.0, "coherent", seed=seed, groups=GroupParams(**groups))


@pytest.mark.parametrize(
    ("source", "noise", "names"),
    [
        ("prototypes", 0.0, GROUPS),
        ("file", 0.0, ("third", "early")),
        ("both", 0.0, (*GROUPS, "third", "early")),
        ("none", 0.1, ("mislabelled", "clean")),
        ("both", 0.1, (*GROUPS, "third", "early", "mislabelled", "clean")),
    ],
)
def test_the_groups_are_those_asked_for_and_the_prototypes_alone_are_added(dataset, source, noise, names):
    chosen = choose(dataset, source=source, noise=noise)
    data = grouped_data(dataset, chosen)
    assert chosen.groups == data.groups == names
    assert list(data.train.members) == [NATURAL, *names]
    added = len(data.train.y) - 100
    assert added == (4 * 2 * 4 if source in ("prototypes", "both") else 0)
    assert Prototypes.from_bytes(chosen.to_bytes()).to_bytes() == chosen.to_bytes()


@pytest.mark.parametrize("source", ["file", "both"])
def test_members_that_the_seed_trains_on_are_tracked_and_the_others_are_held_out(dataset, source):
    chosen = choose(dataset, source=source)
    data = grouped_data(dataset, chosen)
    for name, mask in dataset.groups.items():
        trained = [i for i in chosen.natural if mask[i]]
        left = sorted(set(np.flatnonzero(mask)) - set(trained))
        assert len(trained) > 0 < len(left)
        np.testing.assert_array_equal(data.train.x[data.train.members[name]], dataset.train_x[trained])
        np.testing.assert_array_equal(data.heldout.x[data.heldout.members[name]], dataset.train_x[left])
        np.testing.assert_array_equal(data.heldout.y[data.heldout.members[name]], dataset.train_y[left])


def test_shared_images_are_counted_between_all_pairs(dataset):
    chosen = choose(dataset, source="both", noise=0.2)
    images = {name: set(chosen.natural[mask]) for name, mask in chosen.of_natural.items()}
    images |= {name: set(chosen.sources[name][:, :4].ravel()) for name in GROUPS}
    found = chosen.shared()
    assert len(found) == 8 * 7 // 2
    for pair, count in found.items():
        one, other = pair.split(" & ")
        assert count == len(images[one] & images[other])
    assert found["mislabelled & clean"] == 0 < found["third & clean"]


def test_a_group_without_an_image_of_the_seed_is_an_error(dataset):
    last = replace(dataset, groups={"last": np.arange(len(dataset.train_y)) == 3})
    seeds = [seed for seed in range(30) if 3 not in choose(last, source="none", noise=0.1, seed=seed).natural]
    with pytest.raises(ParameterError, match=r"groups.file: .*'last' has none of the 100 training images of seed"):
        choose(last, source="file", seed=seeds[0])


def test_noise_changes_the_labels_that_are_trained_on_and_nothing_else(dataset):
    plain, noisy = (grouped_data(dataset, choose(dataset, source="none", noise=noise)) for noise in (0.02, 0.3))
    np.testing.assert_array_equal(plain.train.x, noisy.train.x)
    np.testing.assert_array_equal(plain.train.distance, noisy.train.distance)
    for data, wrong in ((plain, 1), (noisy, 15)):
        chosen = data.train.members["mislabelled"]
        np.testing.assert_array_equal(chosen, ~data.train.members["clean"])
        truth = np.repeat([0, 1], 50)
        np.testing.assert_array_equal(data.train.y != truth, chosen)
        assert [chosen[truth == label].sum() for label in (0, 1)] == [wrong, wrong]


def test_noise_is_a_fraction_of_each_class_and_takes_every_other_label():
    y = np.repeat(np.arange(4), 300)
    noisy = with_noise(y, 0.5, (0, 1))
    for label in range(4):
        counts = np.bincount(noisy[y == label], minlength=4)
        assert counts[label] == 150
        assert (np.delete(counts, label) > 25).all()
    np.testing.assert_array_equal(noisy, with_noise(y, 0.5, (0, 1)))
    assert (noisy != with_noise(y, 0.5, (0, 2))).any()
    np.testing.assert_array_equal(y, with_noise(y, 0.0, (0, 1)))


@pytest.mark.parametrize("noise", [0.01, 0.99])
def test_noise_that_changes_no_label_or_all_is_an_error(noise):
    with pytest.raises(ParameterError, match=rf"groups.noise: was {noise}; .* 10 training images"):
        with_noise(np.repeat([0, 1], 10), noise, (0,))
