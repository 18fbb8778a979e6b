"""The four groups against their definitions, computed here example by example."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewise.data.displacement import random_orthogonal
from edgewise.data.examples import Dataset
from edgewise.data.groups import (
    GROUPS,
    NATURAL,
    SETS,
    Prototypes,
    axis_position,
    build_prototypes,
    centroid_distance,
    find_centroids,
)
from edgewise.params import PrototypeParams

CANDIDATES, TRAINED = 8, 3
PARAMS = PrototypeParams(candidates=CANDIDATES, trained=TRAINED)


def flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1).astype(np.float64)


def columns(prototypes: Prototypes, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y and group of a split."""
    examples = getattr(prototypes, split)
    return examples.x, examples.y, examples.group


def members(prototypes: Prototypes, group: str, label: int | None = None, split: str = "all") -> np.ndarray:
    """Images [m, d] of a group; with `label`, of its class (a flipped label is turned back)."""
    parts = []
    for part in ("train", "heldout") if split == "all" else (split,):
        x, y, names = columns(prototypes, part)
        wanted = None if label is None else (1 - label if group == "output_outlier" else label)
        parts.append(flat(x)[(names == group) & ((y == wanted) if label is not None else True)])
    return np.concatenate(parts)


def by_class(dataset: Dataset) -> list[np.ndarray]:
    return [flat(dataset.train_x[dataset.train_y == label]) for label in (0, 1)]


def as_set(x: np.ndarray) -> set[bytes]:
    return {row.astype(np.float32).tobytes() for row in x}


@pytest.fixture(scope="module")
def coherent(digits) -> Prototypes:
    return build_prototypes(digits, PARAMS, 3.0, "coherent")


@pytest.fixture(scope="module")
def random(digits) -> Prototypes:
    return build_prototypes(digits, PARAMS, 3.0, "random")


def test_counts_and_names_are_those_asked_for(coherent, digits):
    for label in (0, 1):
        for group in GROUPS:
            assert len(members(coherent, group, label, "train")) == TRAINED
            assert len(members(coherent, group, label, "heldout")) == CANDIDATES - TRAINED
    assert set(coherent.train.group) == {NATURAL, *GROUPS}
    assert set(coherent.heldout.group) == set(GROUPS)
    assert len(coherent.train.x) == 100 + 2 * 4 * TRAINED


def test_natural_data_are_kept_as_they_are(coherent, digits):
    natural = coherent.train.group == NATURAL
    np.testing.assert_array_equal(coherent.train.x[natural], digits.train_x)
    np.testing.assert_array_equal(coherent.train.y[natural], digits.train_y)


@pytest.mark.parametrize("label", [0, 1])
def test_inliers_are_the_nearest_to_the_mean_of_their_own_class(coherent, digits, label):
    own = by_class(digits)[label]
    distance = [np.sqrt(((image - own.mean(axis=0)) ** 2).sum()) for image in own]
    assert as_set(members(coherent, "inlier", label)) == as_set(own[np.argsort(distance)[:CANDIDATES]])


@pytest.mark.parametrize("label", [0, 1])
def test_boundary_examples_are_the_nearest_to_the_mean_of_the_other_class(coherent, digits, label):
    own, other = by_class(digits)[label], by_class(digits)[1 - label]
    distance = [np.sqrt(((image - other.mean(axis=0)) ** 2).sum()) for image in own]
    assert as_set(members(coherent, "boundary", label)) == as_set(own[np.argsort(distance)[:CANDIDATES]])


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("split", ["train", "heldout"])
def test_output_outliers_are_the_inliers_with_the_label_flipped(coherent, label, split):
    x, y, group = columns(coherent, split)
    inlier = x[(group == "inlier") & (y == label)]
    np.testing.assert_array_equal(x[(group == "output_outlier") & (y == 1 - label)], inlier)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 3.0, 10.0])
@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("split", ["train", "heldout"])
def test_input_outliers_are_inliers_moved_by_exactly_alpha_v_diff_away_from_the_other_class(
    digits, alpha, label, split
):
    prototypes = build_prototypes(digits, PARAMS, alpha, "coherent")
    zero, one = by_class(digits)
    shift = alpha * (one.mean(axis=0) - zero.mean(axis=0)) * (1 if label == 1 else -1)
    expected = (members(prototypes, "inlier", label, split) + shift).astype(np.float32)
    np.testing.assert_array_equal(members(prototypes, "input_outlier", label, split).astype(np.float32), expected)
    np.testing.assert_allclose(prototypes.v_diff.ravel(), one.mean(axis=0) - zero.mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("split", ["train", "heldout"])
def test_the_random_control_moves_the_same_seeds_as_far_but_orthogonally(coherent, random, label, split):
    np.testing.assert_array_equal(members(random, "inlier", label, split), members(coherent, "inlier", label, split))
    shift = members(random, "input_outlier", label, split) - members(random, "inlier", label, split)
    v_diff = flat(random.v_diff[None])[0]
    length = np.linalg.norm(v_diff)
    np.testing.assert_allclose(np.linalg.norm(shift, axis=1), 3 * length, rtol=1e-5)
    np.testing.assert_allclose(shift @ v_diff / (3 * length**2), 0, atol=1e-5)
    assert len(as_set(shift)) == len(shift)  # each example has a direction of its own


def test_the_random_control_changes_nothing_but_the_input_outliers(coherent, random):
    for group in (NATURAL, "inlier", "boundary", "output_outlier"):
        np.testing.assert_array_equal(members(random, group), members(coherent, group))
    np.testing.assert_array_equal(random.train.y, coherent.train.y)
    np.testing.assert_array_equal(random.train.group, coherent.train.group)


@pytest.mark.parametrize("way", ["coherent", "random"])
def test_both_controls_are_there_whichever_way_is_trained_on(request, coherent, random, way):
    """The control of a way is what training on that way trains on."""
    trained = request.getfixturevalue(way)
    for prototypes in (coherent, random):
        control = getattr(prototypes, f"control_{way}")
        mask = trained.train.group == "input_outlier"
        for column, values in vars(control).items():
            np.testing.assert_array_equal(values, getattr(trained.train, column)[mask])


def test_the_random_control_preserves_the_distance_to_the_centroid(coherent, random):
    medians = [np.median(p.train.distance[p.train.group == "input_outlier"]) for p in (coherent, random)]
    assert medians[1] == pytest.approx(medians[0], rel=0.05)
    inlier = np.median(coherent.train.distance[coherent.train.group == "inlier"])
    assert medians[0] > 2 * inlier


@pytest.mark.parametrize("clusters", [1, 3])
@pytest.mark.parametrize("split", ["train", "heldout"])
def test_distances_are_to_the_nearest_centroid_of_the_class_the_image_is_of(digits, clusters, split):
    params = PrototypeParams(candidates=CANDIDATES, trained=TRAINED, clusters=clusters)
    prototypes = build_prototypes(digits, params, 3.0, "coherent")
    x, y, group = columns(prototypes, split)
    image_class = np.where(group == "output_outlier", 1 - y, y)
    centroids = prototypes.centroids.reshape(2, clusters, -1).astype(np.float64)
    expected = [
        min(np.sqrt(((image - centroid) ** 2).sum()) for centroid in centroids[c])
        for image, c in zip(flat(x), image_class, strict=True)
    ]
    np.testing.assert_allclose(getattr(prototypes, split).distance, expected, rtol=1e-5)


def test_with_clusters_inliers_are_the_nearest_to_any_centroid_of_their_class(digits):
    params = PrototypeParams(candidates=CANDIDATES, trained=TRAINED, clusters=3)
    prototypes = build_prototypes(digits, params, 3.0, "coherent")
    for label in (0, 1):
        own = by_class(digits)[label]
        for group, whose in (("inlier", label), ("boundary", 1 - label)):
            centroids = prototypes.centroids[whose].reshape(3, -1)
            distance = [min(np.linalg.norm(image - centroid) for centroid in centroids) for image in own]
            chosen = own[np.argsort(distance)[:CANDIDATES]]
            assert as_set(members(prototypes, group, label)) == as_set(chosen)


def test_one_centroid_is_the_mean_and_v_diff_is_always_that_of_the_means(digits):
    zero, one = by_class(digits)
    np.testing.assert_allclose(find_centroids(zero, 1, 0), [zero.mean(axis=0)], atol=1e-12)
    params = PrototypeParams(candidates=CANDIDATES, trained=TRAINED, clusters=3)
    v_diff = build_prototypes(digits, params, 3.0, "coherent").v_diff
    np.testing.assert_allclose(v_diff.ravel(), one.mean(axis=0) - zero.mean(axis=0), rtol=1e-5)


def test_k_means_finds_separate_clusters(rng):
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    x = np.concatenate([centre + 0.1 * rng.standard_normal((30, 2)) for centre in centres])
    found = find_centroids(x, 3, seed=0)
    expected = [x[30 * i : 30 * i + 30].mean(axis=0) for i in range(3)]
    np.testing.assert_allclose(found[np.lexsort(found.round().T)], np.array(expected)[[0, 1, 2]], atol=1e-6)


def test_centroid_distance_by_hand():
    x = np.array([[0.0, 0.0], [3.0, 4.0], [10.0, 0.0]], np.float32)
    np.testing.assert_allclose(centroid_distance(x, np.array([[0.0, 0.0]])), [0, 5, 10])
    np.testing.assert_allclose(centroid_distance(x, np.array([[0.0, 0.0], [10.0, 1.0]])), [0, 5, 1])


@given(seed=st.integers(0, 1000), size=st.integers(2, 40))
def test_random_directions_are_orthogonal_and_of_the_same_length(seed, size):
    rng = np.random.default_rng(seed)
    v = rng.standard_normal(size) * 10 ** rng.uniform(-3, 3)
    directions = random_orthogonal(v, 5, rng)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), np.linalg.norm(v), rtol=1e-9)
    np.testing.assert_allclose(directions @ v / (v @ v), 0, atol=1e-9)


def test_positions_are_zero_and_one_at_the_means_and_measure_the_distance_from_the_axis():
    origin, v_diff = np.array([1.0, 1.0]), np.array([0.0, 4.0])
    x = np.array([[1.0, 1.0], [1.0, 5.0], [3.0, 3.0], [-1.0, -3.0]])
    np.testing.assert_allclose(axis_position(x, origin, v_diff), [[0, 0], [1, 0], [0.5, 0.5], [-1, 0.5]], atol=1e-7)


def test_coherent_input_outliers_lie_beyond_their_class_on_the_axis(coherent):
    along = coherent.train.position[:, 0]
    for label, sign in ((0, -1), (1, 1)):
        of_class = coherent.train.y == label
        moved = along[(coherent.train.group == "input_outlier") & of_class]
        seeds = along[(coherent.train.group == "inlier") & of_class]
        np.testing.assert_allclose(moved - seeds, 3 * sign, atol=1e-5)


def test_the_seed_decides_which_candidates_are_trained_and_nothing_else(digits, coherent):
    other = build_prototypes(digits, PARAMS.model_copy(update={"seed": 1}), 3.0, "coherent")
    assert as_set(members(other, "inlier")) == as_set(members(coherent, "inlier"))
    assert as_set(members(other, "inlier", split="train")) != as_set(members(coherent, "inlier", split="train"))


def test_bytes_come_back_as_the_same_prototypes_and_equal_input_gives_equal_bytes(digits, coherent):
    content = coherent.to_bytes()
    again = Prototypes.from_bytes(content)
    assert set(vars(coherent)) == {*SETS, "centroids", "v_diff"}
    for name in SETS:
        for column, value in vars(getattr(coherent, name)).items():
            np.testing.assert_array_equal(getattr(getattr(again, name), column), value)
    np.testing.assert_array_equal(again.centroids, coherent.centroids)
    np.testing.assert_array_equal(again.v_diff, coherent.v_diff)
    assert build_prototypes(digits, PARAMS, 3.0, "coherent").to_bytes() == content
    assert coherent.train.x.dtype == coherent.heldout.x.dtype == np.float32
    assert coherent.train.y.dtype == coherent.heldout.y.dtype == np.int64
