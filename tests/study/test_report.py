"""The report holds the numbers of the run's files, needs no network, and describes panels that Vega-Lite can draw."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import vl_convert
import yaml
from dvc.repo import Repo
from made_up import made_up_tables

from edgewise.errors import EdgewiseError
from edgewise.plotting import FIGURES as PRINTED
from edgewise.study.catalogue import FIGURES, keys_of
from edgewise.study.claims_table import ClaimsFile
from edgewise.study.cli import main
from edgewise.study.reported import Run
from edgewise.study.revisions import WORKSPACE, md5_of
from edgewise.study.webpage import page

STYLE = Path(__file__).resolve().parents[2] / "src/edgewise/study/assets/report.css"
GROUPS = ("inlier", "boundary", "output_outlier", "input_outlier")


@pytest.fixture(scope="module")
def run(repository) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(repository)
        return Run.read(WORKSPACE)


@pytest.fixture(scope="module")
def html(run) -> str:
    return page([run], "a run")


def payload(html: str) -> dict:
    found = re.search(r'<script type="application/json" id="payload">(.*?)</script>', html, re.DOTALL)
    return json.loads(found[1].replace("<\\/", "</"))


class Attributes(HTMLParser):
    """What the page refers to, and the text of its cells by run."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.references, self.statements, self.cells, self.inside = [], [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.references += [given[name] for name in ("src", "href", "srcset", "action") if given.get(name)]
        if tag == "th" and given.get("scope") == "row":
            self.inside = "statement"
            self.statements.append("")
        elif tag == "td" and "data-run" in given:
            self.inside = "cell"
            self.cells.append("")
        elif tag in ("td", "th"):
            self.inside = ""

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.inside = ""

    def handle_data(self, data):
        if self.inside == "statement":
            self.statements[-1] += data
        elif self.inside == "cell":
            self.cells[-1] += data


def test_the_tables_in_the_page_are_those_of_the_files(repository, html):
    (tables,) = payload(html)["tables"]
    assert len(tables) > 25
    for name, text in tables.items():
        assert text == (repository / f"plots/tables/{name}.csv").read_text()


def test_the_gains_are_those_of_the_metrics(repository, html):
    expected = json.loads((repository / "metrics/selectivity.json").read_text())["groups"]
    header, *lines = payload(html)["gains"]["csv"].splitlines()
    assert header == "run,group,held,gain,gain_low,gain_high"
    assert len(lines) == 8
    for line in lines:
        _, group, held, *numbers = line.split(",")
        found = expected[group]["delta_loss_equal_time" if held == "training time" else "delta_loss"]
        assert [float(number) for number in numbers] == [found["mean"], found["low"], found["high"]]


def test_every_claim_is_in_the_page_with_its_numbers(repository, html):
    claims = json.loads((repository / "metrics/claims.json").read_text())["claims"]
    section = html[html.index('id="claims"') : html.index('id="figures"')]
    found = Attributes(section)
    assert [claim["statement"] for claim in claims] == found.statements
    for claim, cell in zip(claims, found.cells, strict=True):
        numbers = [float(text.replace("−", "-")) for text in re.findall(r"−?\d[\d.]*(?:e[−+]?\d+)?", cell)]
        assert numbers == pytest.approx([claim["statistic"], claim["low"], claim["high"]], rel=5e-3)
        assert cell.split()[0] == claim["verdict"]


def test_the_page_refers_to_nothing_outside_it(html):
    references = Attributes(html[: html.index("<script")]).references
    assert len(references) > 5
    assert {re.split("[:#]", reference)[0] for reference in references} <= {"", "data"}
    assert not re.search(r"@import|url\((?!['\"]?data:)", html[: html.index("</head>")])


def test_every_panel_can_be_compiled(run):
    compiled = 0
    for figure in FIGURES:
        for panel in figure.panels(run.frames):
            if panel.drawn(run.frames):
                named = {name: [] for name in panel.uses()}
                spec = {**panel.spec(run.frames, keys_of(run.frames)), "width": 300, "datasets": named}
                assert vl_convert.vegalite_to_vega(spec)["marks"]
                compiled += 1
    assert compiled > 50


def test_every_table_of_the_printed_figures_is_drawn():
    tables = {name: table.reset_index() for name, table in made_up_tables(3).items()}
    drawn = {table for f in FIGURES for p in f.panels(tables) if p.drawn(tables) for table in p.uses()}
    # Of the sweep its moments are shown, of counterfactuals those that were measured; groups name what is shown.
    left_out = {"shared_images", "sweep", "counterfactuals", "groups"}
    assert {table for spec in PRINTED.values() for table in spec.needs} - drawn == left_out


def test_every_panel_of_made_up_tables_can_be_compiled():
    tables = {name: table.reset_index() for name, table in made_up_tables(3).items()}
    for figure in FIGURES:
        for panel in figure.panels(tables):
            if panel.drawn(tables):
                named = {name: [] for name in panel.uses()}
                vl_convert.vegalite_to_vega({**panel.spec(tables, keys_of(tables)), "width": 300, "datasets": named})


def test_every_key_of_a_series_is_in_the_legend_with_its_own_colour(run, html):
    for figure in payload(html)["figures"].values():
        for view in figure:
            legend = {entry["key"] for entry in view["legend"]}
            assert legend == {key for panel in view["panels"] for keys in panel["keys"].values() for key in keys}


def test_the_range_of_a_panel_shows_its_curves(run):
    for figure in FIGURES:
        for panel in figure.panels(run.frames):
            spec = panel.spec(run.frames, keys_of(run.frames)) if panel.drawn(run.frames) else {"params": []}
            ends = {param["name"]: param["value"] for param in spec["params"]}
            if "low" in ends:
                columns = [series.column for series in panel.known(run.frames)]
                values = run.frames[panel.table][columns].to_numpy(float)
                x = run.frames[panel.table].iloc[:, 0].to_numpy(float) + panel.shift
                values = values[(x > 0) | (not panel.x.log)]
                values = values[np.isfinite(values) & ((values > 0) | (not panel.y.log))]
                assert ends["low"] <= values.min()
                assert ends["high"] >= values.max()


def test_a_run_without_a_table_lacks_its_panel_alone(run, html):
    def empty(figures):
        return {name for name, views in figures.items() if not views}

    tables = {name: text for name, text in run.tables.items() if name != "predicted_gains"}
    without = payload(page([replace(run, tables=tables)], "a run"))["figures"]
    assert empty(without) == empty(payload(html)["figures"])
    assert without["edge_flow"][0]["panels"][0]["title"] == "inlier"


def test_groups_of_one_s_own_are_shown_as_the_paper_s_are(run):
    def renamed(text):
        return text.replace("output_outlier", "mislabelled")

    tables = {name: renamed(text) for name, text in run.tables.items()}
    tables["groups"] = "group,trained,held_out\n" + "".join(f"{g},50,50\n" for g in map(renamed, GROUPS))
    own = replace(run, tables=tables, metrics=json.loads(renamed(json.dumps(dict(run.metrics)))))
    made = page([own], "my own groups")
    assert "mislabelled examples" in made
    found = payload(made)
    assert "group mislabelled" in {entry["key"] for entry in found["figures"]["delta_loss"][0]["legend"]}
    assert "output_outlier" not in json.dumps([view["legend"] for views in found["figures"].values() for view in views])


def with_groups(run, *names):
    """The run, its four groups called otherwise."""

    def renamed(text):
        for group, own in zip(GROUPS, names, strict=True):
            text = re.sub(rf"(?<!control_){group}", own, text)
        return text

    tables = {name: renamed(text) for name, text in run.tables.items()}
    return replace(run, tables=tables, metrics=json.loads(renamed(json.dumps(dict(run.metrics)))))


def test_a_run_without_the_paper_s_groups_and_of_many_classes_is_shown(run):
    own = with_groups(run, "bold", "thin", "slanted", "rest")
    strata = run.frames["strata"]
    tables = own.tables | {"strata": strata.assign(label=strata["label"] * 3).to_csv(index=False)}
    own = replace(own, tables=tables)
    found = payload(page([own, run], "my own groups"))
    legend = {entry["key"] for entry in found["figures"]["strata"][0]["legend"]}
    assert {"class_0", "class_3"} <= legend
    assert {"group bold", "group rest"} <= {entry["key"] for entry in found["figures"]["delta_loss"][0]["legend"]}


def looks(view):
    """Label, colour and dashes of what can be switched on and off in a figure, by key."""
    return {entry["key"]: (entry["label"], entry["color"], tuple(entry["dash"])) for entry in view["legend"]}


def test_a_group_looks_the_same_in_every_run_and_others_look_otherwise(run):
    one, other = with_groups(run, "a", "b", "c", "d"), with_groups(run, "e", "b", "f", "inlier")
    found = payload(page([one, replace(other, name="other")], "two runs"))
    first, second = (looks(view) for view in found["figures"]["delta_loss"])
    assert set(first) == {"group a", "group b", "group c", "group d"}
    assert set(second) == {"group e", "group b", "group f", "inlier"}
    assert first["group b"] == second["group b"]
    assert len({(color, dash) for _, color, dash in (first | second).values()}) == 7
    of_gains = {entry["label"]: entry["color"] for entry in found["gains"]["legend"]}
    assert of_gains == {label: color for label, color, _ in (first | second).values()}
    for view in found["figures"]["delta_loss"]:
        panel = view["panels"][0]
        (curves,) = (layer for layer in panel["spec"]["layer"] if "strokeDash" in layer.get("encoding", ()))
        drawn = curves["encoding"]["color"]["scale"]
        assert drawn["range"] == [f"var(--{looks(view)[panel['keys'][column][0]][1]})" for column in drawn["domain"]]


def test_own_groups_may_be_called_as_what_is_drawn_beside_them(run):
    names = ("measured", "path", "error", "curvature")
    found = payload(page([with_groups(run, *names)], "a run"))["figures"]
    assert [label for label, _, _ in looks(found["delta_loss"][0]).values()] == list(names)
    assert len({color for _, color, _ in looks(found["delta_loss"][0]).values()}) == 4
    for figure, key, label in (
        ("edge_flow", "measured", "measured"),
        ("edge_flow", "error", "relative error"),
        ("decomposition", "path", "path: where the edge leads"),
        ("kinks", "curvature", "mean curvature over the length"),
    ):
        assert looks(found[figure][0])[key][0] == label
    of_measured = found["edge_flow"][0]["panels"][1]["keys"]
    assert of_measured == {"measured_measured": ["group measured", "measured"], "predicted_measured": ["predicted"]}


def test_text_of_a_run_is_escaped(run):
    made = page([replace(run, statement="<script>alert(1)</script>")], "<b>")
    assert "<script>alert(1)" not in made
    assert "<title>&lt;b&gt;</title>" in made


def test_runs_stand_side_by_side_with_what_differs_first(run):
    other = replace(
        run,
        name="far",
        params={**run.params, "alpha": 10.0},
        judged=ClaimsFile(claims=run.judged.claims[1:], caveats=["it <rains>"]),
    )
    made = page([run, other], "two runs")
    names = re.findall(r'<tr(?: class="differs")?><th scope="row">([\w.]+)</th>', made[made.index('id="parameters"') :])
    assert names[0] == "alpha"
    assert "<strong>But</strong> far: it &lt;rains&gt;." in made
    assert set(names) == set(run.params)
    first = made[made.index("<tbody>") : made.index("</tr>", made.index("<tbody>"))]
    assert first.count("data-run") == 2
    assert "not tested" in first


def test_the_head_of_a_page_says_that_groups_share_no_image(run):
    of = "groups that share no image"
    apart = replace(run, params={**run.params, "prototypes.disjoint": True})
    assert [of in page([either], "a run") for either in (run, apart)] == [False, True]


def test_a_revision_without_a_run_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EdgewiseError, match=r"^workspace: has no dvc.lock"):
        Run.read(WORKSPACE)


@pytest.fixture
def copied(repository, tmp_path, monkeypatch) -> Path:
    """What a report reads, in a repository of its own."""
    for name in ("metrics", "plots"):
        shutil.copytree(repository / name, tmp_path / name)
    for name in ("params.yaml", "dvc.lock", "dvc.yaml"):
        shutil.copy(repository / name, tmp_path)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    Repo.init(str(tmp_path)).close()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_a_run_left_is_of_the_stages_that_it_declares(copied):
    lock = yaml.safe_load((copied / "dvc.lock").read_text())
    of_run = {out["path"] for stage in lock["stages"].values() for out in stage.get("outs", ())}
    gone = {"cmd": "python stages/summary.py", "outs": [{"path": "metrics/summary.json", "md5": "0" * 32}]}
    lock["stages"] = {"summary@9": gone, "base@9": {"cmd": "x", "outs": [{"path": "gone"}]}} | lock["stages"]
    (copied / "dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
    run = Run.read(WORKSPACE)
    assert {output["path"] for output in run.outputs()} == of_run
    assert run.stage_of("metrics/summary.json") == "summary"


@pytest.mark.parametrize(
    ("command", "path"),
    [("claims", "metrics/claims.json"), ("edges", "metrics/edge.json"), ("models", "metrics/theory.json")],
)
def test_tables_of_experiments_are_of_results_as_the_run_left_them(copied, capsys, command, path):
    assert main([command, WORKSPACE]) == 0
    content, params = (copied / path).read_text(), (copied / "params.yaml").read_text()
    (copied / path).write_text(content.replace("1", "2"))
    assert main([command, WORKSPACE]) == 1
    assert f"{path} is not what the stage summary left" in capsys.readouterr().err
    (copied / path).write_text(content)
    (copied / "params.yaml").write_text(params.replace("alpha: 3.0", "alpha: 7.0"))
    assert main([command, WORKSPACE]) == 1
    assert "params.yaml has alpha 7.0, the stage summary ran with 3.0" in capsys.readouterr().err
    (copied / "params.yaml").write_text(params.replace("width: 256", "width: 128"))
    assert main([command, WORKSPACE]) == 1
    assert re.search(r"params.yaml has model.width 128, the stage \S+ ran with 256", capsys.readouterr().err)
    (copied / "params.yaml").write_text(params)
    (copied / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    assert main([command, WORKSPACE]) == 1
    assert f"no stage has left {path} (by dvc.lock)" in capsys.readouterr().err


RESULTS = {
    "metrics/selectivity.json": "metrics/selectivity.json is not what the stage summary left",
    "metrics/claims.json": "metrics/claims.json is not what the stage summary left",
    "plots/tables/delta_loss.csv": "plots/tables is not what the stage summary left",
    "plots/figures/figure_sharpness.png": "plots/figures is not what the stage figures left",
}


def refusal() -> str:
    with pytest.raises(EdgewiseError) as caught:
        Run.read(WORKSPACE)
    said = str(caught.value)
    assert said.startswith("workspace: ")
    assert "\n" not in said
    return said


def test_parameters_that_the_numbers_are_not_of_are_one_line(copied):
    content = (copied / "params.yaml").read_text()
    (copied / "params.yaml").write_text(content.replace("alpha: 3.0", "alpha: 7.0"))
    assert "workspace: params.yaml has alpha 7.0, the stage summary ran with 3.0 (by dvc.lock)" in refusal()


@pytest.mark.parametrize("path", RESULTS)
def test_a_result_that_is_not_as_the_run_left_it_is_one_line(copied, path):
    content = (copied / path).read_bytes()
    assert Run.read(WORKSPACE).judged.claims
    for harmed in (content[:-9], content.replace(b"7", b"1", 1), b""):
        (copied / path).write_bytes(harmed)
        assert RESULTS[path] in refusal()
    (copied / path).unlink()
    assert "is not what the stage" in refusal() or f"has no {path}" in refusal()


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("dvc.lock", b"stages: [", "'dvc.lock', YAML file structure is corrupted"),
        ("dvc.lock", b"stages: {base: {outs: 3}}", "'./dvc.lock' validation failed"),
        ("dvc.lock", b"stages: {base: {cmd: !!int abc}}", "dvc.lock"),
        ("dvc.lock", b"[" * 10_000, "dvc.lock"),
        ("dvc.lock", None, "has no dvc.lock"),
        ("params.yaml", b"seeds: [", "'params.yaml', YAML file structure is corrupted"),
        ("params.yaml", b"- 1", "expected a dictionary, got 'list' in file 'params.yaml'"),
    ],
)
def test_a_file_of_the_pipeline_that_is_damaged_is_one_line(copied, path, content, said):
    (copied / path).unlink()
    if content is not None:
        (copied / path).write_bytes(content)
    assert said in refusal()


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("metrics/selectivity.json", b"{}", "KeyError: 'groups'"),
        ("metrics/selectivity.json", b"[1]", "TypeError"),
        ("metrics/selectivity.json", b'{"groups": ', "JSONDecodeError"),
        ("metrics/selectivity.json", b"[" * 100_000, "RecursionError"),
    ],
)
def test_results_of_another_layout_are_one_line(copied, capsys, path, content, said):
    lock = (copied / "dvc.lock").read_text()
    (copied / "dvc.lock").write_text(lock.replace(md5_of((copied / path).read_bytes()), md5_of(content)))
    (copied / path).write_bytes(content)
    assert main(["report", "--output", "page.html"]) == 1
    error = capsys.readouterr().err
    assert re.match(r"error: workspace: the results are not such as edgewise [\d.]+ makes \(", error)
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (copied / "page.html").exists()


@pytest.mark.parametrize("suffix", ["pdf", "svg", "png"])
def test_runs_are_drawn_on_one_sheet(copied, capsys, suffix):
    assert main(["sheet", WORKSPACE, "--output", f"sheet.{suffix}", "--size", "column"]) == 0
    assert capsys.readouterr().out.strip().endswith(f"/sheet.{suffix}")
    assert (copied / f"sheet.{suffix}").stat().st_size > 10_000


def test_a_sheet_of_nothing_or_under_another_name_is_said(copied, capsys):
    assert main(["sheet"]) == 1
    assert capsys.readouterr().err == "error: needs revisions, or --study, and not both\n"
    with pytest.raises(SystemExit):
        main(["sheet", WORKSPACE, "--output", "params.yaml"])
    assert "must be a file whose name ends in .png, .pdf or .svg" in capsys.readouterr().err


def test_a_report_needs_a_name(capsys):
    with pytest.raises(SystemExit):
        main(["report", "--output", ""])
    assert "argument --output: was ''; must be a file whose name ends in .html" in capsys.readouterr().err


def variables(theme: str) -> dict[str, str]:
    """The colours of the groups in the page's style: those of the figures, or the dark ones."""
    from edgewise.plotting.style import COLORS

    dark = dict(re.findall(r"--(\w+): (#\w{6})", STYLE.read_text().split("prefers-color-scheme: dark")[1]))
    return {group: (COLORS if theme == "light" else dark)[group] for group in GROUPS}


#: Linear RGB to the responses of long, middle and short cones, and what dichromats lose (Viénot et al. 1999).
CONES = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
LOST = {
    "none": np.eye(3),
    "deuteranopia": np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]]),
    "protanopia": np.array([[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]]),
}


def lab(color: str, vision: str) -> np.ndarray:
    """CIE L*a*b* (D65) of an sRGB colour as a dichromat sees it."""
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.linalg.inv(CONES) @ LOST[vision] @ CONES @ linear, 0, 1)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    f = [np.cbrt(v) if v > 216 / 24389 else (24389 / 27 * v + 16) / 116 for v in to_xyz @ seen / [0.9505, 1, 1.089]]
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("vision", sorted(LOST))
def test_the_groups_differ_in_colour_for_every_reader(theme, vision):
    colors = [lab(color, vision) for color in variables(theme).values()]
    assert min(np.linalg.norm(a - b) for a, b in combinations(colors, 2)) >= 20


def test_lab_of_white_and_of_red():
    assert lab("#ffffff", "none") == pytest.approx([100, 0, 0], abs=0.1)
    assert lab("#ff0000", "none") == pytest.approx([53.24, 80.09, 67.20], abs=0.1)


def test_tables_are_read_as_they_are_written(run):
    pd.testing.assert_frame_equal(run.frames["moments"], pd.read_csv(STYLE.parents[4] / "plots/tables/moments.csv"))
