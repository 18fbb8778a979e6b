"""Figures of the branches on inputs that were not trained on."""

import pandas as pd
import pytest
from made_up import made_up_tables

from edgewise.plotting import Captions, draw
from edgewise.plotting.unseen_data import variants


def test_variants_are_the_means_of_the_branches():
    columns = [
        "baseline_contrast",
        "exit_contrast",
        "exit_contrast_low",
        "exit_contrast_accuracy",
        "exit_gaussian_blur",
    ]
    table = pd.DataFrame(columns=[*columns, "baseline_minus_exit_contrast", "norm", "baseline_low", "baseline"])
    assert variants(table) == {
        "contrast": {"baseline": "baseline_contrast", "exit": "exit_contrast"},
        "gaussian_blur": {"exit": "exit_gaussian_blur"},
    }


@pytest.mark.parametrize("name", ["figure_09_robustness", "figure_10_ood"])
def test_captions_say_what_is_held_equal(name):
    figure = draw(name, made_up_tables(2), Captions("", [0, 1]))
    assert "at equal step" in " ".join(text.get_text() for text in figure.texts)


def test_strengths_of_attack_have_three_digits():
    tables = made_up_tables(2)
    tables["robustness"] = tables["robustness"].rename(columns=lambda name: name.replace("eps8", "eps22.6274"))
    figure = draw("figure_09_robustness", tables, Captions("", [0, 1]))
    (legend,) = (legend for body in figure.subfigs for legend in body.legends)
    labels = [text.get_text() for text in legend.get_texts()]
    assert {"ε = 0", "ε = 22.6"} <= set(labels)
