"""Figures of the branches on inputs that were not trained on."""

import pandas as pd

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
