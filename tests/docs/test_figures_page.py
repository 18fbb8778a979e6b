"""docs/figures.md tells of every figure, and shows those of the committed run."""

import re

from edgewise.plotting import FIGURES


def test_every_figure_is_told_of_and_no_other(repository):
    page = (repository / "docs/figures.md").read_text()
    assert sorted(re.findall(r"^### (\w+)$", page, re.MULTILINE)) == sorted([*FIGURES, "figure_02_images"])


def test_every_figure_of_the_committed_run_is_shown(repository):
    page = (repository / "docs/figures.md").read_text()
    shown = re.findall(r"!\[\w+\]\(\.\./plots/figures/(\w+)\.png\)", page)
    assert sorted(shown) == sorted(path.stem for path in (repository / "plots/figures").glob("*.png"))
