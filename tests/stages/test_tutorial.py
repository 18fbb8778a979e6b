"""The tutorial is run as it stands, and finds what it says."""

import json
import re
import runpy
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY
from small import whole_run

PAGE = (REPOSITORY / "docs/tutorial.md").read_text()


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """params.yaml with the lines of the tutorial, on the images of the example."""
    folder = tmp_path_factory.mktemp("tutorial")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        runpy.run_path(str(REPOSITORY / "examples/own_images.py"))["main"]()
        content = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
        for name, change in yaml.safe_load(re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1]).items():
            content[name] = {**content[name], **change} if isinstance(change, dict) else change
        whole_run(folder, yaml.safe_dump(content))
    return folder


def test_the_images_and_groups_lie_as_it_says(run):
    for path in re.findall(r"datasets/mine/\w+/\w+/\d+\.png", PAGE):
        assert (run / path).is_file()
    assert len(list((run / "datasets/mine").rglob("*.png"))) == 365
    groups = (run / "datasets/mine/groups.csv").read_text()
    assert groups.startswith(re.search(r"```\n(example,group\n.*?)```", PAGE, re.DOTALL)[1])


def test_it_was_at_the_edge(run):
    summary = json.loads((run / "metrics/edge.json").read_text())["summary"]
    assert f"at step {summary['t_star']['mean']:.0f} on average" in PAGE
    ratio = summary["secant_sharpness_ratio_baseline"]["mean"]
    assert ratio == pytest.approx(float(re.search(r"is (0\.\d+): yes", PAGE)[1]), abs=0.002)


def test_the_groups_gain_what_it_says(run):
    found = json.loads((run / "metrics/selectivity.json").read_text())["groups"]
    said = re.findall(r"^\| (\w+) \| (\S+) \[(\S+), (\S+)\] \| (\S+) \[(\S+), (\S+)\] \|", PAGE, re.MULTILINE)
    assert [name for name, *_ in said] == list(found)
    for name, *numbers in said:
        both = [found[name][held] for held in ("delta_loss", "delta_loss_equal_time")]
        measured = [one[end] for one in both for end in ("mean", "low", "high")]
        assert measured == pytest.approx([float(number) for number in numbers], abs=1e-3), name
