"""The site is built without a warning, and what pages link to is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import links
import stage_pages


@pytest.fixture(scope="module")
def site(tmp_path_factory, repository, environment) -> Path:
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stdout, built.stderr) == (0, "", "")
    return folder


def test_every_stage_and_every_room_of_the_library_has_a_page(site, repository):
    for stage in yaml.safe_load((repository / "dvc.yaml").read_text())["stages"]:
        assert (site / f"stages/{stage}/index.html").exists()
    for room in (repository / "src/edgewise").glob("*/__init__.py"):
        assert "Parameters:" in (site / f"api/{room.parent.name}/index.html").read_text()


def test_what_lies_outside_docs_is_on_the_site(site):
    assert (site / "repository/plots/figures/figure_04_delta_loss.png").exists()
    assert "after Holm" in (site / "repository/metrics/claims/index.html").read_text()
    assert "The pipeline" in (site / "index.html").read_text()


def test_nothing_is_loaded_from_elsewhere(site):
    tag = r'<(?:script|img|link rel="(?:stylesheet|icon|shortcut icon)")[^>]*? (?:src|href)="([^"]+)"'
    for page in site.rglob("*.html"):
        loaded = re.findall(tag, page.read_text())
        assert loaded
        assert not [one for one in loaded if one.startswith(("http:", "https:", "//"))], page


@pytest.mark.parametrize(
    ("page", "link", "place"),
    [
        ("results.md", "../metrics/claims.md", "repository/metrics/claims.md"),
        ("results.md", "theory.md", "theory.md"),
        ("outputs.md", "../README.md#symbols", "index.md#symbols"),
        ("index.md", "docs/theory.md", "theory.md"),
        ("index.md", "plots/figures/a.png", "repository/plots/figures/a.png"),
        ("repository/metrics/claims.md", "../docs/theory.md", "../../theory.md"),
        ("theory.md", "https://dvc.org", "https://dvc.org"),
        ("theory.md", "#the-split", "#the-split"),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(page, link, place):
    assert links.in_the_site(f"[there]({link})", page) == f"[there]({place})"


def test_what_belongs_to_an_item_stays_in_it(site):
    page = "* one\n* two\n\n      code\n\n  more\n* three\n\nafter\n\n```\n* no item\n  as it is\n```"
    found = "* one\n* two\n\n        code\n\n    more\n\n* three\n\nafter\n\n```\n* no item\n  as it is\n```"
    assert links.indented(page) == found
    assert re.search(r"<li>\s*<p><strong>Central flow</strong>", (site / "theory/index.html").read_text())


def test_a_stage_says_what_makes_its_inputs_and_which_parameters_it_reads():
    page = stage_pages.pages()["stages/branch.md"]
    row = next(line for line in page.splitlines() if "`data/checkpoints/seed-<seed>/base`" in line)
    assert row.endswith("| [base](base.md) |")
    assert "`branch.exit_factor`" in page
    assert "`dataset.n`" not in page


def test_what_a_parameter_is_is_not_its_type():
    plain = pytest.importorskip("plain_sections").plain
    text = "Do.\n\nParameters\n----------\nx, y : [n], a vector\n    of numbers\n\nReturns\n-------\nthe sum"
    found = "Do.\n\nParameters\n----------\nx, y\n    [n], a vector\n    of numbers\n\nReturns: the sum"
    assert plain(text) == found
