"""Where the groups lie, as tables: against the examples themselves."""

import numpy as np
import pytest

from edgewise.data.groups import CONTROLS, GROUPS, NATURAL, GroupedData, choose_prototypes, grouped_data
from edgewise.inference.positions import SHOWN, centroid_distances, geometry_tables, taxonomy
from edgewise.params import PrototypeParams


@pytest.fixture(scope="module")
def data(digits) -> GroupedData:
    return grouped_data(
        digits, choose_prototypes(digits, PrototypeParams(candidates=10, trained=5), 100, 3.0, "coherent")
    )


def test_distances_are_quantiles_over_all_examples_of_a_group_trained_or_held_out(data):
    table = centroid_distances(data)
    assert table.index.tolist() == pytest.approx([i / 100 for i in range(101)])
    assert table.index.name == "quantile"
    assert list(table.columns) == [NATURAL, *GROUPS, *CONTROLS]
    for group in (NATURAL, *GROUPS):
        distances = [
            distance
            for part in (data.train, data.heldout)
            for distance, is_member in zip(part.distance, part.members[group], strict=True)
            if is_member
        ]
        found = table[group]
        assert (found[0.0], found[0.5], found[1.0]) == pytest.approx(
            (min(distances), np.median(distances), max(distances))
        )
        assert found.is_monotonic_increasing
    for control in CONTROLS:
        assert table.loc[0.5, control] == pytest.approx(np.median(getattr(data, control).distance))


def test_the_taxonomy_has_every_trained_example_of_a_group_the_controls_and_some_natural_ones(data):
    table, train = taxonomy(data), data.train
    assert table.index.name == "group"
    assert list(table.columns) == ["label", "along", "away"]
    for name in (*GROUPS, *CONTROLS):
        of_group = train.members[name] if name in GROUPS else slice(None)
        examples = train if name in GROUPS else getattr(data, name)
        np.testing.assert_array_equal(table.loc[name, ["along", "away"]], examples.position[of_group])
        np.testing.assert_array_equal(table.loc[name, "label"], examples.y[of_group])
    natural = train.position[train.members[NATURAL]]
    every = max(1, len(natural) // SHOWN)
    np.testing.assert_array_equal(table.loc[NATURAL, ["along", "away"]], natural[::every])


def test_the_tables_go_by_their_names(data):
    tables = geometry_tables({3: data, 5: data})
    assert list(tables) == ["centroid_distance", "taxonomy"]
    distances = centroid_distances(data)
    np.testing.assert_allclose(tables["centroid_distance"][distances.columns], distances)
    assert "inlier_low" in tables["centroid_distance"]
    assert tables["taxonomy"].equals(taxonomy(data))
