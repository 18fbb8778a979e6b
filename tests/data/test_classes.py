"""Prototypes of more than two classes against their definitions, in plain loops."""

import numpy as np
import pytest

from edgewise.data.examples import Dataset
from edgewise.data.groups import choose_prototypes, grouped_data, other_classes
from edgewise.errors import ParameterError
from edgewise.params import DatasetParams, PrototypeParams
from edgewise.sources import load_dataset
from edgewise.unseen.shifts import displacements

CLASSES, EACH, CANDIDATES, TRAINED = (1, 7, 4, 9), 40, 6, 4


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_dataset(DatasetParams(name="digits", classes=list(CLASSES), n=4 * EACH))


@pytest.fixture(scope="module")
def prototypes(dataset):
    params = PrototypeParams(candidates=CANDIDATES, trained=TRAINED)
    return choose_prototypes(dataset, params, 4 * EACH, 3.0, "coherent", seed=2)


@pytest.fixture(scope="module")
def images(dataset, prototypes) -> list[np.ndarray]:
    """The seed's images [m, d] of each class."""
    mine = [prototypes.natural[dataset.train_y[prototypes.natural] == label] for label in range(4)]
    return [dataset.train_x[some].reshape(EACH, -1).astype(np.float64) for some in mine]


@pytest.fixture(scope="module")
def nearest(images) -> list[int]:
    """The class with the nearest mean, of each class."""
    means = [of_class.mean(axis=0) for of_class in images]
    found = []
    for own in range(4):
        distance = {k: float(np.sqrt(((means[own] - means[k]) ** 2).sum())) for k in range(4) if k != own}
        found.append(min(distance, key=distance.__getitem__))
    return found


def sources(dataset, prototypes, group, label):
    return dataset.train_x[prototypes.sources[group][label]].reshape(CANDIDATES, -1).astype(np.float64)


def test_the_other_class_is_that_of_the_nearest_mean_and_need_not_be_mutual(prototypes, nearest):
    assert prototypes.other.tolist() == nearest
    assert any(nearest[nearest[label]] != label for label in range(4))
    assert other_classes(np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0], [2.0, 0.0]])).tolist() == [3, 3, 1, 1]


def test_v_diff_leads_from_the_mean_of_the_other_class_to_the_own(prototypes, images, nearest):
    for label, other in enumerate(nearest):
        expected = images[label].mean(axis=0) - images[other].mean(axis=0)
        np.testing.assert_allclose(prototypes.v_diff[label].ravel(), expected, rtol=1e-5, atol=1e-6)


def test_inliers_are_nearest_to_their_mean_and_the_boundary_to_that_of_the_other_class(
    dataset, prototypes, images, nearest
):
    for label, other in enumerate(nearest):
        for group, of in (("inlier", label), ("boundary", other)):
            mean = images[of].mean(axis=0)
            found, everyone = sources(dataset, prototypes, group, label), images[label]
            distance = np.sort([np.linalg.norm(image - mean) for image in everyone])[:CANDIDATES]
            np.testing.assert_allclose(np.sort(np.linalg.norm(found - mean, axis=1)), distance, rtol=1e-5)


def test_flipped_labels_are_those_of_the_other_class_and_displacement_is_away_from_it(
    dataset, prototypes, images, nearest
):
    train = grouped_data(dataset, prototypes).train
    for label, other in enumerate(nearest):
        seeds = sources(dataset, prototypes, "inlier", label)[:TRAINED]
        moved = seeds + 3 * (images[label].mean(axis=0) - images[other].mean(axis=0))
        for group, x, y in (
            ("output_outlier", seeds, other),
            ("input_outlier", moved, label),
            ("inlier", seeds, label),
        ):
            part = slice(label * TRAINED, (label + 1) * TRAINED)
            mask = train.members[group]
            np.testing.assert_allclose(train.x[mask][part].reshape(TRAINED, -1), x, atol=1e-4)
            assert train.y[mask][part].tolist() == [y] * TRAINED


def test_means_lie_at_the_ends_of_the_axis_of_their_pair(dataset, prototypes, nearest):
    train = grouped_data(dataset, prototypes).train
    natural = train.members["natural"]
    for label, other in enumerate(nearest):
        along = train.position[natural & (train.y == label), 0]
        assert along.mean() == pytest.approx(float(label > other), abs=1e-5)


def test_strata_are_cut_within_each_class(dataset, prototypes):
    assert len(prototypes.strata) == 4 * 5
    assert prototypes.strata[5] == "class1_q1"
    labels = dataset.train_y[prototypes.natural]
    for i, name in enumerate(prototypes.strata):
        assert set(labels[prototypes.stratum == i]) == {int(name[len("class")])}
        assert (prototypes.stratum == i).sum() == EACH // 5


@pytest.mark.parametrize("direction", ["coherent", "random"])
def test_inputs_of_every_class_are_displaced_along_or_across_their_own_axis(prototypes, direction):
    y = np.array([3, 0, 2, 2, 1])
    away = displacements(y, prototypes.v_diff, direction, (0, 5)).reshape(5, -1)
    own = prototypes.v_diff[y].reshape(5, -1).astype(float)
    cosine = (away * own).sum(axis=1) / (own**2).sum(axis=1)
    np.testing.assert_allclose(cosine, float(direction == "coherent"), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(away, axis=1), np.linalg.norm(own, axis=1))


def test_with_two_classes_v_diff_is_the_papers_and_its_opposite():
    dataset = load_dataset(DatasetParams(name="digits", n=40))
    found = choose_prototypes(dataset, PrototypeParams(candidates=5, trained=2), 40, 3.0, "coherent")
    assert found.other.tolist() == [1, 0]
    np.testing.assert_array_equal(found.v_diff[0], -found.v_diff[1])


@pytest.mark.parametrize(
    ("n", "name", "words"),
    [(30, "dataset.n", "multiple of the 4 classes"), (16, "prototypes.candidates", "at most the 4")],
)
def test_images_that_are_not_as_many_or_too_few_are_an_error(dataset, n, name, words):
    with pytest.raises(ParameterError, match=name) as caught:
        choose_prototypes(dataset, PrototypeParams(candidates=6, trained=2), n, 3.0, "coherent")
    assert words in str(caught.value)
