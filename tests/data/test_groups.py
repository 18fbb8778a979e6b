"""The groups and strata against their definitions, computed here example by example, and what a seed draws."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from edgewise.data.displacement import DIRECTIONS, displace, random_orthogonal
from edgewise.data.examples import Dataset
from edgewise.data.files import unpack
from edgewise.data.groups import (
    CONTROLS,
    GROUPS,
    NATURAL,
    TYPICAL,
    Examples,
    GroupedData,
    Prototypes,
    axis_position,
    centroid_distance,
    choose_prototypes,
    find_centroids,
    grouped_data,
    quantile_of,
)
from edgewise.errors import ParameterError
from edgewise.params import PrototypeParams

N, CANDIDATES, TRAINED = 100, 8, 3
REPLICATES = ("all", "initialisation")

replicates = pytest.mark.parametrize("replicate", REPLICATES)
classes = pytest.mark.parametrize("label", [0, 1])
splits = pytest.mark.parametrize("split", ["train", "heldout"])
both_disjoint = pytest.mark.parametrize("disjoint", [False, True])


def flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1).astype(np.float64)


def choose(
    dataset: Dataset,
    n: int = N,
    alpha: float = 3.0,
    direction: str = "coherent",
    seed: int = 0,
    replicate: str = "all",
    params_seed: int = 0,
    **params: object,
) -> Prototypes:
    prototypes = PrototypeParams(**{"candidates": CANDIDATES, "trained": TRAINED, "seed": params_seed, **params})
    return choose_prototypes(dataset, prototypes, n, alpha, direction, seed=seed, replicate=replicate)


@dataclass(frozen=True)
class Chosen:
    """Prototypes, their examples, and the seed's own images of each class."""

    prototypes: Prototypes
    data: GroupedData
    own: list[np.ndarray]


def chosen(dataset: Dataset, **options) -> Chosen:
    prototypes = choose(dataset, **options)
    mine = [prototypes.natural[dataset.train_y[prototypes.natural] == label] for label in (0, 1)]
    return Chosen(prototypes, grouped_data(dataset, prototypes), [flat(dataset.train_x[some]) for some in mine])


def group_of(examples: Examples) -> np.ndarray:
    """The one group of each example."""
    masks = np.stack(list(examples.members.values()))
    assert (masks.sum(axis=0) == 1).all()
    return np.array(list(examples.members))[masks.argmax(axis=0)]


def columns(data: GroupedData, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y and group of a split."""
    examples = getattr(data, split)
    return examples.x, examples.y, group_of(examples)


def members(data: GroupedData, group: str, label: int | None = None, split: str = "all") -> np.ndarray:
    """Images [m, d] of a group; with `label`, of its class (a flipped label is turned back)."""
    parts = []
    for part in ("train", "heldout") if split == "all" else (split,):
        x, y, names = columns(data, part)
        wanted = None if label is None else (1 - label if group == "output_outlier" else label)
        parts.append(flat(x)[(names == group) & ((y == wanted) if label is not None else True)])
    return np.concatenate(parts)


def as_set(x: np.ndarray) -> set[bytes]:
    return {row.astype(np.float32).tobytes() for row in x}


def arrays_of(examples: Examples) -> list[np.ndarray]:
    return [examples.x, examples.y, examples.distance, examples.position, *examples.members.values()]


def assert_same(one: Examples, other: Examples) -> None:
    assert list(one.members) == list(other.members)
    for values, again in zip(arrays_of(one), arrays_of(other), strict=True):
        np.testing.assert_array_equal(again, values)
        assert again.dtype == values.dtype


@pytest.fixture(scope="module", params=REPLICATES)
def coherent(digits, request) -> Chosen:
    return chosen(digits, replicate=request.param)


@pytest.fixture(scope="module")
def random(digits, coherent) -> Chosen:
    """As `coherent`, but for the direction."""
    replicate = "all" if len(coherent.prototypes.entropy) == 2 else "initialisation"
    return chosen(digits, direction="random", replicate=replicate)


@pytest.fixture(scope="module")
def small() -> Dataset:
    """Twenty images of three pixels of class 0, thirty of class 1, in mixed order."""
    rng = np.random.default_rng(7)
    y = rng.permutation(np.repeat([0, 1], [20, 30]))
    x = (rng.standard_normal((50, 1, 1, 3)) + y[:, None, None, None]).astype(np.float32)
    ones = np.ones(1, np.float32)
    return Dataset(x, y, x[:2], y[:2], 0 * ones, ones, ("few", "many"), "npz")


@pytest.fixture(scope="module")
def balanced(small) -> Dataset:
    """Twenty images of either class of `small`: all that there are for n = 40."""
    kept = np.sort(np.concatenate([np.flatnonzero(small.train_y == label)[:20] for label in (0, 1)]))
    return replace(small, train_x=small.train_x[kept], train_y=small.train_y[kept])


# What the groups are.


def test_counts_and_names_are_those_asked_for(coherent):
    for label in (0, 1):
        for group in GROUPS:
            assert len(members(coherent.data, group, label, "train")) == TRAINED
            assert len(members(coherent.data, group, label, "heldout")) == CANDIDATES - TRAINED
    assert set(group_of(coherent.data.train)) == {NATURAL, *GROUPS}
    assert set(group_of(coherent.data.heldout)) == set(GROUPS)
    assert len(coherent.data.train.x) == N + 2 * 4 * TRAINED


def test_natural_data_are_the_seeds_images_as_they_are(coherent, digits):
    train, mine = coherent.data.train, coherent.prototypes.natural
    natural = train.members[NATURAL]
    np.testing.assert_array_equal(train.x[natural], digits.train_x[mine])
    np.testing.assert_array_equal(train.y[natural], digits.train_y[mine])
    assert natural[:N].all()
    assert digits.train_y[mine].tolist() == [0] * (N // 2) + [1] * (N // 2)
    assert len(set(mine)) == N


@classes
def test_inliers_are_the_nearest_to_the_mean_of_their_own_class(coherent, label):
    own = coherent.own[label]
    distance = [np.sqrt(((image - own.mean(axis=0)) ** 2).sum()) for image in own]
    assert as_set(members(coherent.data, "inlier", label)) == as_set(own[np.argsort(distance)[:CANDIDATES]])


@classes
def test_boundary_examples_are_the_nearest_to_the_mean_of_the_other_class(coherent, label):
    own, other = coherent.own[label], coherent.own[1 - label]
    distance = [np.sqrt(((image - other.mean(axis=0)) ** 2).sum()) for image in own]
    assert as_set(members(coherent.data, "boundary", label)) == as_set(own[np.argsort(distance)[:CANDIDATES]])


@classes
@splits
def test_output_outliers_are_the_inliers_with_the_label_flipped(coherent, label, split):
    x, y, group = columns(coherent.data, split)
    inlier = x[(group == "inlier") & (y == label)]
    np.testing.assert_array_equal(x[(group == "output_outlier") & (y == 1 - label)], inlier)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 3.0, 10.0])
@classes
@splits
@replicates
def test_input_outliers_are_inliers_moved_by_exactly_alpha_v_diff_away_from_the_other_class(
    digits, alpha, label, split, replicate
):
    case = chosen(digits, alpha=alpha, replicate=replicate)
    v_diff = case.own[1].mean(axis=0) - case.own[0].mean(axis=0)
    np.testing.assert_allclose(case.prototypes.v_diff[1].ravel(), v_diff, rtol=1e-6, atol=1e-7)
    shift = alpha * flat(case.prototypes.v_diff)[1] * (1 if label == 1 else -1)
    expected = (members(case.data, "inlier", label, split) + shift).astype(np.float32)
    np.testing.assert_array_equal(members(case.data, "input_outlier", label, split).astype(np.float32), expected)


@classes
@splits
def test_the_random_control_moves_the_same_images_as_far_but_orthogonally(coherent, random, label, split):
    inliers = members(random.data, "inlier", label, split)
    np.testing.assert_array_equal(inliers, members(coherent.data, "inlier", label, split))
    shift = members(random.data, "input_outlier", label, split) - inliers
    v_diff = flat(random.prototypes.v_diff)[1]
    length = np.linalg.norm(v_diff)
    np.testing.assert_allclose(np.linalg.norm(shift, axis=1), 3 * length, rtol=1e-5)
    np.testing.assert_allclose(shift @ v_diff / (3 * length**2), 0, atol=1e-5)
    cosines = (shift @ shift.T / (3 * length) ** 2)[~np.eye(len(shift), dtype=bool)]
    assert np.abs(cosines).max() < 0.6  # each example has a direction of its own


def test_the_random_control_changes_nothing_but_the_input_outliers(coherent, random):
    for group in (NATURAL, "inlier", "boundary", "output_outlier"):
        np.testing.assert_array_equal(members(random.data, group), members(coherent.data, group))
    np.testing.assert_array_equal(random.data.train.y, coherent.data.train.y)
    np.testing.assert_array_equal(group_of(random.data.train), group_of(coherent.data.train))


@pytest.mark.parametrize("way", ["coherent", "random"])
def test_both_controls_are_there_whichever_way_is_trained_on(request, coherent, random, way):
    """The control of a way is what training on that way trains on."""
    trained = request.getfixturevalue(way).data
    for case in (coherent, random):
        control = getattr(case.data, f"control_{way}")
        mask = trained.train.members["input_outlier"]
        for values, among_all in zip(arrays_of(control), arrays_of(trained.train), strict=True):
            np.testing.assert_array_equal(values, among_all[mask])


@both_disjoint
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_control_moves_the_trained_input_outliers_images_as_far_either_way(digits, direction, disjoint):
    case = chosen(digits, direction=direction, disjoint=disjoint, alpha=2.0)
    sources = case.prototypes.sources["input_outlier"][:, :TRAINED]
    images = flat(digits.train_x[sources.ravel()])
    v_diff = flat(case.prototypes.v_diff)[1]
    length = np.linalg.norm(v_diff)
    for way, along in (("coherent", [-2.0] * TRAINED + [2.0] * TRAINED), ("random", [0.0] * 2 * TRAINED)):
        control = getattr(case.data, f"control_{way}")
        shift = flat(control.x) - images
        np.testing.assert_allclose(np.linalg.norm(shift, axis=1), 2 * length, rtol=1e-5)
        np.testing.assert_allclose(shift @ v_diff / length**2, along, atol=1e-5)
        assert control.y.tolist() == [0] * TRAINED + [1] * TRAINED
        assert set(group_of(control)) == {"input_outlier"}


def test_the_random_control_preserves_the_distance_to_the_centroid(coherent, random):
    trains = coherent.data.train, random.data.train
    medians = [np.median(train.distance[train.members["input_outlier"]]) for train in trains]
    assert medians[1] == pytest.approx(medians[0], rel=0.05)
    inlier = np.median(trains[0].distance[trains[0].members["inlier"]])
    assert medians[0] > 2 * inlier


@pytest.mark.parametrize("clusters", [1, 3])
@splits
def test_distances_are_to_the_nearest_centroid_of_the_class_the_image_is_of(digits, clusters, split):
    case = chosen(digits, clusters=clusters)
    x, y, group = columns(case.data, split)
    image_class = np.where(group == "output_outlier", 1 - y, y)
    centroids = case.prototypes.centroids.reshape(2, clusters, -1).astype(np.float64)
    expected = [
        min(np.sqrt(((image - centroid) ** 2).sum()) for centroid in centroids[c])
        for image, c in zip(flat(x), image_class, strict=True)
    ]
    np.testing.assert_allclose(getattr(case.data, split).distance, expected, rtol=1e-5)


@replicates
def test_with_clusters_inliers_are_the_nearest_to_any_centroid_of_their_class(digits, replicate):
    case = chosen(digits, clusters=3, replicate=replicate)
    for label in (0, 1):
        own = case.own[label]
        for group, whose in (("inlier", label), ("boundary", 1 - label)):
            centroids = case.prototypes.centroids[whose].reshape(3, -1)
            distance = [min(np.linalg.norm(image - centroid) for centroid in centroids) for image in own]
            nearest = own[np.argsort(distance)[:CANDIDATES]]
            assert as_set(members(case.data, group, label)) == as_set(nearest)


def test_one_centroid_is_the_mean_and_v_diff_is_always_that_of_the_means(digits):
    for clusters in (1, 3):
        case = chosen(digits, clusters=clusters)
        zero, one = case.own
        v_diff = case.prototypes.v_diff[1].ravel()
        np.testing.assert_allclose(v_diff, one.mean(axis=0) - zero.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(find_centroids(zero, 1, 0), [zero.mean(axis=0)], atol=1e-12)
    ones = choose(digits).centroids.reshape(2, -1)
    np.testing.assert_allclose(ones, [zero.mean(axis=0), one.mean(axis=0)], atol=1e-6)


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


def test_a_random_direction_is_decided_by_entropy_label_and_place_and_scaled_by_alpha():
    x, v = np.zeros((6, 9)), np.arange(1.0, 10.0)
    v_diff = np.stack([-v, v])

    def moved(count: int = 6, label: int = 0, alpha: float = 1.0, entropy: tuple[int, ...] = (0, 1)) -> np.ndarray:
        return displace(x[:count], label, alpha, v_diff, "random", entropy)

    np.testing.assert_array_equal(moved(), moved())
    np.testing.assert_array_equal(moved(4), moved()[:4])
    np.testing.assert_allclose(moved(alpha=7), 7 * moved(), rtol=1e-6)
    others = [moved(label=1), moved(entropy=(0, 2)), moved(entropy=(1, 1)), moved(entropy=(0,))]
    directions = np.concatenate([moved(), *others]) / np.linalg.norm(v)
    assert np.abs(directions @ directions.T - np.eye(len(directions))).max() < 0.95


def test_positions_are_zero_and_one_at_the_means_and_measure_the_distance_from_the_axis():
    origin, v_diff = np.array([1.0, 1.0]), np.array([0.0, 4.0])
    x = np.array([[1.0, 1.0], [1.0, 5.0], [3.0, 3.0], [-1.0, -3.0]])
    np.testing.assert_allclose(axis_position(x, origin, v_diff), [[0, 0], [1, 0], [0.5, 0.5], [-1, 0.5]], atol=1e-7)


def test_natural_images_lie_around_zero_and_one_on_the_seeds_own_axis(coherent):
    train = coherent.data.train
    for label in (0, 1):
        along = train.position[(train.members[NATURAL]) & (train.y == label), 0]
        assert along.mean() == pytest.approx(label, abs=1e-5)


def test_coherent_input_outliers_lie_beyond_their_class_on_the_axis(coherent):
    train = coherent.data.train
    for label, sign in ((0, -1), (1, 1)):
        along = train.position[train.y == label, 0]
        group = group_of(train)[train.y == label]
        np.testing.assert_allclose(along[group == "input_outlier"] - along[group == "inlier"], 3 * sign, atol=1e-5)


# What a seed draws.


@both_disjoint
def test_seeds_that_replicate_all_draw_images_candidates_and_directions(digits, disjoint):
    one, other = (choose(digits, seed=seed, disjoint=disjoint, direction="random") for seed in (0, 1))
    assert set(one.natural) != set(other.natural)
    assert not np.array_equal(one.v_diff, other.v_diff)
    for group in GROUPS:
        assert set(one.sources[group][:, :TRAINED].ravel()) != set(other.sources[group][:, :TRAINED].ravel())


def test_seeds_draw_their_candidates_and_directions_even_from_the_same_images(balanced):
    one, other = (chosen(balanced, n=40, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(one.prototypes.natural, other.prototypes.natural)
    np.testing.assert_array_equal(one.prototypes.v_diff, other.prototypes.v_diff)
    for group in GROUPS:
        mine, theirs = (case.prototypes.sources[group] for case in (one, other))
        np.testing.assert_array_equal(np.sort(mine), np.sort(theirs))
        assert set(mine[:, :TRAINED].ravel()) != set(theirs[:, :TRAINED].ravel())
    # An image that both train on is moved in different directions.
    moved = []
    for case in (one, other):
        sources = case.prototypes.sources["input_outlier"][:, :TRAINED].ravel()
        moved.append(dict(zip(sources, flat(case.data.control_random.x), strict=True)))
    common = set(moved[0]) & set(moved[1])
    assert common
    assert all(np.abs(moved[0][i] - moved[1][i]).max() > 0.1 for i in common)


@both_disjoint
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_seeds_that_replicate_the_initialisation_have_the_same_data_to_the_byte(digits, direction, disjoint):
    options = {"replicate": "initialisation", "direction": direction, "disjoint": disjoint}
    contents = {choose(digits, seed=seed, **options).to_bytes() for seed in (0, 1, 12345)}
    assert len(contents) == 1


def test_without_a_draw_the_images_are_the_first_of_each_class(digits, small):
    for dataset, n in ((digits, N), (digits, 60), (small, 16), (small, 40)):
        first = [np.flatnonzero(dataset.train_y == label)[: n // 2] for label in (0, 1)]
        natural = choose(dataset, n=n, replicate="initialisation", trained=2).natural
        np.testing.assert_array_equal(natural, np.concatenate(first))


@replicates
@pytest.mark.parametrize("seed", [0, 1, 99])
def test_where_n_is_everything_there_are_no_images_to_draw(balanced, digits, seed, replicate):
    in_order = np.concatenate([np.flatnonzero(balanced.train_y == label) for label in (0, 1)])
    np.testing.assert_array_equal(choose(balanced, n=40, seed=seed, replicate=replicate).natural, in_order)
    counts = [np.count_nonzero(digits.train_y == label) for label in (0, 1)]
    scarcer = counts.index(min(counts))
    natural = choose(digits, n=2 * min(counts), seed=seed, replicate=replicate).natural
    of_class = natural[digits.train_y[natural] == scarcer]
    np.testing.assert_array_equal(of_class, np.flatnonzero(digits.train_y == scarcer))


@pytest.mark.parametrize("seed", [0, 5])
def test_the_same_seed_draws_the_same_to_the_byte(digits, seed):
    assert choose(digits, seed=seed).to_bytes() == choose(digits, seed=seed).to_bytes()


@replicates
def test_the_seed_of_the_prototypes_draws_anew(digits, replicate):
    one, other = (choose(digits, params_seed=seed, replicate=replicate) for seed in (0, 1))
    assert (set(one.natural) != set(other.natural)) == (replicate == "all")
    trained = [p.sources["inlier"][:, :TRAINED] for p in (one, other)]
    assert set(trained[0].ravel()) != set(trained[1].ravel())
    if replicate == "initialisation":
        np.testing.assert_array_equal(np.sort(one.sources["inlier"]), np.sort(other.sources["inlier"]))


def p_value_of_uniform(drawn: np.ndarray, probability: float, repeats: int) -> float:
    """The p-value of how often each of m items was drawn, if a draw takes a fixed number of them without replacement.

    Sum (count - expected)^2 / variance has mean m and, over m / (m - 1), m - 1 degrees of freedom.
    """
    count = len(drawn)
    variance = repeats * probability * (1 - probability)
    statistic = ((drawn - repeats * probability) ** 2).sum() / variance * (count - 1) / count
    return stats.chi2.sf(statistic, count - 1)


def test_every_image_and_every_candidate_is_as_likely_to_be_drawn_as_any_other(small, monkeypatch):
    monkeypatch.setattr("edgewise.data.groups.find_centroids", lambda x, clusters, seed: x.mean(axis=0)[None])
    repeats = 1000
    images, trained = np.zeros(len(small.train_y)), np.zeros(len(small.train_y))
    together = np.zeros((20, 20))
    zero = np.flatnonzero(small.train_y == 0)
    for seed in range(repeats):
        found = choose(small, n=16, seed=seed, candidates=8, trained=3)  # all of the images are candidates
        images[found.natural] += 1
        trained[found.sources["inlier"][:, :3]] += 1
        mine = np.isin(zero, found.natural)
        together += np.outer(mine, mine)
    for label, size in ((0, 20), (1, 30)):
        of_class = small.train_y == label
        assert 1e-3 < p_value_of_uniform(images[of_class], 8 / size, repeats) < 1 - 1e-3
        assert 1e-3 < p_value_of_uniform(trained[of_class], 3 / size, repeats) < 1 - 1e-3
    # And pairs of images are drawn together as often as pairs should be.
    pairs = together[np.triu_indices(20, 1)] / repeats
    expected = 8 / 20 * 7 / 19
    assert pairs.mean() == pytest.approx(expected)
    assert np.abs(pairs - expected).max() < 4.5 * np.sqrt(expected * (1 - expected) / repeats)


def test_the_classes_are_drawn_independently(balanced):
    """With as many images of each class, a seed does not take the same places of both."""
    of_class = [np.flatnonzero(balanced.train_y == label) for label in (0, 1)]
    for seed in range(20):
        natural = choose(balanced, n=16, seed=seed, trained=2).natural
        zero, one = (np.isin(some, natural) for some in of_class)
        assert not np.array_equal(zero, one)


@replicates
@both_disjoint
@pytest.mark.parametrize("seed", [0, 3])
def test_groups_are_made_from_the_seeds_own_images_of_their_class(digits, seed, replicate, disjoint):
    found = choose(digits, seed=seed, replicate=replicate, disjoint=disjoint)
    for group in GROUPS:
        assert found.sources[group].shape == (2, CANDIDATES)
        assert found.sources[group].dtype == np.int64
        for label in (0, 1):
            sources = found.sources[group][label]
            assert set(sources) <= set(found.natural)
            assert (digits.train_y[sources] == label).all()


@replicates
@both_disjoint
def test_trained_and_heldout_candidates_of_a_group_are_different_images(digits, replicate, disjoint):
    case = chosen(digits, replicate=replicate, disjoint=disjoint, candidates=12, trained=5)
    for group in GROUPS:
        for label in (0, 1):
            sources = case.prototypes.sources[group][label]
            assert len(set(sources)) == 12
            trained, heldout = (members(case.data, group, label, split) for split in ("train", "heldout"))
            assert not as_set(trained) & as_set(heldout)
            if group != "input_outlier":
                np.testing.assert_array_equal(trained, flat(digits.train_x[sources[:5]]))
                np.testing.assert_array_equal(heldout, flat(digits.train_x[sources[5:]]))


def test_all_candidates_may_be_trained_and_none_held_out(digits):
    case = chosen(digits, trained=CANDIDATES)
    assert len(case.data.heldout.x) == 0
    assert case.data.heldout.x.shape[1:] == digits.train_x.shape[1:]
    assert case.data.train.x.shape == (N + 8 * CANDIDATES, *digits.train_x.shape[1:])


# Disjoint groups, and what the others share.


@replicates
@pytest.mark.parametrize("clusters", [1, 3])
def test_disjoint_groups_share_no_image(digits, replicate, clusters):
    found = choose(digits, disjoint=True, replicate=replicate, clusters=clusters, candidates=12, trained=5)
    everything = np.concatenate([found.sources[group].ravel() for group in GROUPS])
    assert len(set(everything)) == len(everything) == 4 * 2 * 12
    assert set(found.shared().values()) == {0}


@classes
@pytest.mark.parametrize("candidates", [CANDIDATES, 12])
def test_disjoint_groups_are_the_nearest_to_their_centroid_and_equally_near(digits, label, candidates):
    case = chosen(digits, disjoint=True, candidates=candidates)
    own, other = case.own[label], case.own[1 - label]
    mine = case.prototypes.natural[digits.train_y[case.prototypes.natural] == label]
    near = dict(zip(mine, np.linalg.norm(own - own.mean(axis=0), axis=1), strict=True))
    ranked = sorted(near, key=near.get)
    groups = [set(case.prototypes.sources[group][label]) for group in TYPICAL]
    assert set.union(*groups) == set(ranked[: 3 * candidates])
    # Of every three neighbours in distance, each group has one.
    for first in range(0, 3 * candidates, 3):
        assert all(len(group & set(ranked[first : first + 3])) == 1 for group in groups)
    means = [np.mean([near[i] for i in group]) for group in groups]
    spread = near[ranked[3 * candidates - 1]] - near[ranked[0]]
    assert max(means) - min(means) <= spread / candidates
    left = np.setdiff1d(mine, list(set.union(*groups)))
    far = {i: np.linalg.norm(flat(digits.train_x[i][None])[0] - other.mean(axis=0)) for i in left}
    assert set(case.prototypes.sources["boundary"][label]) == set(sorted(far, key=far.get)[:candidates])


@splits
@classes
def test_disjoint_groups_are_made_as_the_others_are(digits, split, label):
    case = chosen(digits, disjoint=True)
    part = slice(TRAINED) if split == "train" else slice(TRAINED, None)
    v_diff = flat(case.prototypes.v_diff)[1]
    for group in GROUPS:
        images = flat(digits.train_x[case.prototypes.sources[group][label][part]])
        if group == "input_outlier":
            images = (images + (3 if label == 1 else -3) * v_diff).astype(np.float32)
        np.testing.assert_array_equal(members(case.data, group, label, split), images)


@both_disjoint
@given(seed=st.integers(0, 10_000), candidates=st.integers(1, 5), clusters=st.integers(1, 2))
def test_shared_counts_the_trained_images_of_every_pair_of_groups(small, disjoint, seed, candidates, clusters):
    trained = 1 + seed % candidates
    options = {"candidates": candidates, "trained": trained, "clusters": clusters, "disjoint": disjoint}
    found = choose(small, n=40, seed=seed, **options)
    images = {group: [i for label in (0, 1) for i in found.sources[group][label][:trained]] for group in GROUPS}
    shared = found.shared()
    assert len(shared) == 6
    for pair, count in shared.items():
        one, other = pair.split(" & ")
        assert GROUPS.index(one) < GROUPS.index(other)
        assert count == sum(i == j for i in images[one] for j in images[other])


def test_groups_of_the_same_images_share_all_of_them_and_near_classes_share_the_boundary(digits):
    found = choose(digits, candidates=50, trained=50)  # every image is a candidate of every group
    assert set(found.shared().values()) == {100}
    found = choose(digits, candidates=40, trained=40)
    assert found.shared()["inlier & input_outlier"] == 80
    assert 60 <= found.shared()["inlier & boundary"] < 80  # 40 and 40 of 50 have at least 30 in common


# Strata.


@pytest.mark.parametrize("clusters", [1, 2])
@pytest.mark.parametrize("strata", [1, 2, 5, 7, 20])
@replicates
def test_strata_cut_each_class_by_distance_into_equal_parts(digits, replicate, strata, clusters):
    case = chosen(digits, replicate=replicate, strata=strata, clusters=clusters)
    train = case.data.train
    natural = train.members[NATURAL]
    distance, y, stratum = train.distance[natural], train.y[natural], case.prototypes.stratum
    assert stratum.shape == (N,)
    assert stratum.dtype == np.int64
    np.testing.assert_array_equal(stratum // strata, y)  # of a class, and every natural example in one of them
    for label in (0, 1):
        own = [distance[stratum == label * strata + quantile] for quantile in range(strata)]
        sizes = [len(some) for some in own]
        assert sum(sizes) == N // 2
        assert max(sizes) - min(sizes) <= 1
        for nearer, further in zip(own, own[1:], strict=False):
            assert nearer.max() <= further.min()
    names = [f"class{label}_q{quantile}" for label in (0, 1) for quantile in range(1, strata + 1)]
    assert list(case.prototypes.strata) == names


def test_as_many_strata_as_images_have_one_each(small):
    found = choose(small, n=16, strata=8, candidates=2, trained=1)
    assert sorted(found.stratum) == list(range(16))
    assert len(found.strata) == 16


@given(values=st.lists(st.floats(-1e6, 1e6) | st.integers(0, 3), min_size=1, max_size=60), parts=st.integers(1, 20))
def test_quantiles_are_of_equal_size_and_in_order_even_with_ties(values, parts):
    found = quantile_of(np.array(values, dtype=float), parts)
    sizes = np.bincount(found, minlength=parts)
    assert len(sizes) == parts
    assert sizes.max() - sizes.min() <= 1
    for value, part in zip(values, found, strict=True):
        assert all(part <= later for other, later in zip(values, found, strict=True) if other > value)


# Files.


@replicates
@both_disjoint
def test_bytes_come_back_as_the_same_prototypes_and_equal_input_gives_equal_bytes(digits, replicate, disjoint):
    options = {"replicate": replicate, "disjoint": disjoint, "clusters": 2, "seed": 4, "direction": "random"}
    found = choose(digits, **options)
    content = found.to_bytes()
    again = Prototypes.from_bytes(content)
    for name in ("natural", "labels", "stratum", "centroids", "other", "v_diff"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
        assert getattr(again, name).dtype == getattr(found, name).dtype
    assert set(again.sources) == set(found.sources) == set(GROUPS)
    for group in GROUPS:
        np.testing.assert_array_equal(again.sources[group], found.sources[group])
    for name in ("trained", "alpha", "direction", "entropy", "strata"):
        assert getattr(again, name) == getattr(found, name)
    assert again.to_bytes() == choose(digits, **options).to_bytes() == content
    here, there = grouped_data(digits, found), grouped_data(digits, again)
    for name in ("train", "heldout", *CONTROLS):
        assert_same(getattr(here, name), getattr(there, name))
    assert here.train.x.dtype == here.heldout.x.dtype == np.float32
    assert here.train.y.dtype == here.heldout.y.dtype == np.int64


def test_the_file_holds_places_of_images_and_not_the_images(digits):
    content = choose(digits, n=200, candidates=50, trained=25).to_bytes()
    arrays, _ = unpack(content)
    pixels = digits.train_x[0].size
    assert {name: array.size for name, array in arrays.items() if array.dtype.kind == "f"} == {
        "centroids": 2 * pixels,
        "v_diff": 2 * pixels,
    }
    indices = 3 * 200 + 4 * 2 * 50
    headers = 2048 * len(arrays)
    assert len(content) < 4 * 4 * pixels + 8 * indices + headers < 200 * 4 * pixels


# Errors.


def fails(parameter: str, *parts: str, **options) -> None:
    with pytest.raises(ParameterError) as caught:
        choose(**options)
    message = str(caught.value)
    assert message.startswith(f"{parameter}: was ")
    assert "\n" not in message
    for part in parts:
        assert part in message


@replicates
@pytest.mark.parametrize("n", [42, 60, 400])
def test_more_images_than_a_class_has_is_an_error_that_says_how_many(small, replicate, n):
    """Of the scarcer class, or what it says is allowed would not be."""
    fails("dataset.n", f"was {n}", "class 'few' has 20", "at most 40", dataset=small, n=n, replicate=replicate)
    assert len(choose(small, n=40, replicate=replicate).natural) == 40
    other = replace(small, train_y=1 - small.train_y, class_names=("many", "few"))
    fails("dataset.n", f"was {n}", "class 'few' has 20", "at most 40", dataset=other, n=n, replicate=replicate)


def test_too_few_images_for_disjoint_groups_is_an_error_that_says_how_many(digits):
    too_many = {"candidates": 13, "disjoint": True, "dataset": digits}
    fails("prototypes.candidates", "was 13", "a quarter of the 50 images", "prototypes.disjoint", **too_many)
    found = choose(**{**too_many, "candidates": 12})
    assert set(found.shared().values()) == {0}
    found = choose(digits, n=104, candidates=13, disjoint=True)  # exactly a quarter: every image is used
    assert len(np.unique(np.concatenate([found.sources[group] for group in GROUPS]))) == 104


@pytest.mark.parametrize("v", [[3.0], [0.0, 0.0]])
def test_where_there_is_no_random_direction_it_is_an_error_and_not_nan(v):
    with pytest.raises(ParameterError, match="at least two values, and the classes different means"):
        random_orthogonal(np.array(v), 2, np.random.default_rng(0))
