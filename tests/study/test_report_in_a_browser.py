"""Pages in Chromium, opened from disk with the network off: every figure is drawn, and what switches, switches."""

import base64
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import vl_convert
import yaml
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from edgewise.study import webpage
from edgewise.study.reported import Run
from edgewise.study.revisions import WORKSPACE

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver: apt-get install chromium chromium-driver"
)

PATIENCE = 240


@pytest.fixture(scope="module")
def reports(repository, tmp_path_factory) -> dict[str, Path]:
    """A whole report of one run, and one of two runs with two figures."""
    folder = tmp_path_factory.mktemp("reports")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(repository)
        run = Run.read(WORKSPACE)
        paths = {name: folder / f"{name}.html" for name in ("one", "two")}
        paths["one"].write_text(webpage.page([run], "one run"))
        few = tuple(figure for figure in webpage.FIGURES if figure.name in ("delta_loss", "selector"))
        patch.setattr(webpage, "FIGURES", few)
        other = replace(run, name="another", figures=("selector",))
        paths["two"].write_text(webpage.page([run, other], "two runs"))
    return paths


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_network_conditions(offline=True, latency=0, throughput=0)
    yield driver
    driver.quit()


def opened(browser: webdriver.Chrome, path: Path, width: int = 1600, theme: str = "light") -> webdriver.Chrome:
    """Open a report as a reader with such a screen does, and wait until all is drawn."""
    scheme = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 700}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get_log("browser")
    browser.get(path.as_uri())
    WebDriverWait(browser, PATIENCE).until(lambda b: b.execute_script("return document.body.dataset.drawn === 'true'"))
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    return browser


def curves(browser: webdriver.Chrome, figure: str) -> int:
    """How many lines and points of a figure are drawn."""
    script = """
        const inside = `[data-figure=${arguments[0]}] .chart svg`;
        const marks = document.querySelectorAll(`${inside} :is(.mark-line, .mark-symbol) path`);
        return [...marks].filter((path) => (path.getAttribute("d") || "").length > 4).length;
    """
    return browser.execute_script(script, figure)


def until(condition) -> None:
    end = time.monotonic() + PATIENCE / 4
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def box(browser: webdriver.Chrome, figure: str, label: str):
    """The box that switches a curve or a run."""
    path = f"//section[@data-figure='{figure}']//label[normalize-space()='{label}']/input"
    return browser.find_element(By.XPATH, path)


@pytest.mark.parametrize(("width", "theme"), [(1600, "light"), (390, "dark")])
def test_every_figure_is_drawn_and_nothing_is_wider_than_the_screen(browser, reports, width, theme):
    opened(browser, reports["one"], width, theme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    charts = browser.execute_script("""
        return [...document.querySelectorAll("figure .chart")].map((chart) => [
            chart.closest("[data-figure]").dataset.figure,
            [...chart.querySelectorAll("svg .mark-line path, svg .mark-symbol path, svg .mark-area path")]
                .filter((path) => (path.getAttribute("d") || "").length > 4).length,
            chart.getBoundingClientRect().width - chart.querySelector("svg").getBoundingClientRect().width,
        ])""")
    assert len(charts) > 55
    assert [chart for chart in charts if chart[1] == 0 or chart[2] < -1] == []
    assert browser.execute_script("return document.querySelector('figure img').naturalWidth") > 100


def test_colours_follow_the_theme_within_the_figures_too(browser, reports):
    script = """
        const style = (selector, name) => getComputedStyle(document.querySelector(selector))[name];
        const line = ".chart svg .mark-line path";
        return [style("body", "backgroundColor"), style(".chart svg text", "fill"), style(line, "stroke")];
    """
    light = opened(browser, reports["two"]).execute_script(script)
    dark = opened(browser, reports["two"], theme="dark").execute_script(script)
    assert light[0] == "rgb(255, 255, 255)"
    assert all(before != after for before, after in zip(light, dark, strict=True))


def test_a_group_is_switched_off_and_on_by_the_keyboard(browser, reports):
    opened(browser, reports["two"])
    before = curves(browser, "delta_loss")
    inlier = box(browser, "delta_loss", "inlier")
    inlier.send_keys(Keys.SPACE)
    until(lambda: curves(browser, "delta_loss") == before * 3 / 4)
    assert curves(browser, "selector") > 0
    inlier.send_keys(Keys.SPACE)
    until(lambda: curves(browser, "delta_loss") == before)


def test_a_run_is_shown_where_it_belongs_and_elsewhere_on_demand(browser, reports):
    opened(browser, reports["two"])
    assert [view.text for view in browser.find_elements(By.CSS_SELECTOR, "[data-figure=delta_loss] .view h4")] == [
        "workspace"
    ]
    before = curves(browser, "delta_loss")
    box(browser, "delta_loss", "another").click()
    until(lambda: curves(browser, "delta_loss") == 2 * before)
    names = [view.text for view in browser.find_elements(By.CSS_SELECTOR, "[data-figure=selector] .view h4")]
    assert names == ["workspace", "another"]


def test_pointing_at_a_curve_shows_the_values_of_the_file(browser, reports, repository):
    opened(browser, reports["two"])
    chart = browser.find_element(By.CSS_SELECTOR, "[data-figure=delta_loss] .chart")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)
    webdriver.ActionChains(browser).move_to_element(chart).perform()
    until(lambda: browser.find_elements(By.CSS_SELECTOR, "#vg-tooltip-element.visible"))
    rows = browser.find_elements(By.CSS_SELECTOR, "#vg-tooltip-element tr")
    shown = {
        row.find_element(By.CSS_SELECTOR, ".key").text.rstrip(":"): row.find_element(By.CSS_SELECTOR, ".value").text
        for row in rows
    }
    header, *lines = [line.split(",") for line in (repository / "plots/tables/delta_loss.csv").read_text().splitlines()]
    line = dict(zip(header, lines[int(shown["steps since onset t*"])], strict=True))
    numbers = [float(text.replace("−", "-")) for text in re.findall(r"[−\d.e]+", shown["inlier"])]
    assert numbers == pytest.approx([float(line[f"inlier{end}"]) for end in ("", "_low", "_high")], rel=5e-3)


def test_the_numbers_of_a_figure_are_shown_on_demand(browser, reports, repository):
    opened(browser, reports["two"])
    browser.find_element(By.CSS_SELECTOR, "[data-figure=delta_loss] details.sources summary").click()
    table = "[data-figure=delta_loss] .numbers[data-run='0'][data-table=delta_loss] tbody tr"
    until(lambda: browser.find_elements(By.CSS_SELECTOR, table))
    lines = (repository / "plots/tables/delta_loss.csv").read_text().splitlines()
    assert len(browser.find_elements(By.CSS_SELECTOR, table)) == len(lines) - 1


def test_claims_are_filtered(browser, reports):
    opened(browser, reports["one"])
    rows = lambda: [row for row in browser.find_elements(By.CSS_SELECTOR, "#claims tbody tr") if row.is_displayed()]  # noqa: E731
    every = len(rows())
    browser.find_element(By.CSS_SELECTOR, "#claims [data-filter]").click()
    assert 0 < len(rows()) < every
    assert all("of-the-paper" in row.get_attribute("class") for row in rows())


def test_it_prints_light_on_pages(browser, reports):
    opened(browser, reports["two"], theme="dark")
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True})
    content = base64.b64decode(printed["data"])
    assert content.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 30
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.fixture
def plots_page(repository, tmp_path) -> Path:
    """The page of `dvc plots diff`, of the committed results and of others in the working tree."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", repository, clone], check=True)
    for file in (".dvc/config", ".dvc/page.html", "dvc.yaml"):
        shutil.copyfile(repository / file, clone / file)
    for folder in (".dvc/plots", "plots"):
        shutil.copytree(repository / folder, clone / folder, dirs_exist_ok=True)
    table = clone / "plots/tables/delta_loss.csv"
    table.write_text(table.read_text().replace(",0.", ",0.1"))
    (clone / ".venv").mkdir()
    (clone / ".venv/vega.js").write_text(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed"))
    subprocess.run([sys.executable, "-m", "dvc", "plots", "diff", "HEAD", "workspace"], cwd=clone, check=True)
    return clone / "dvc_plots/index.html"


def test_the_plots_of_dvc_are_drawn_with_the_network_off(browser, plots_page, repository):
    declared = yaml.safe_load((repository / "dvc.yaml").read_text())["plots"]
    curves = sum("template" in (plot or {}) for one in declared if isinstance(one, dict) for plot in one.values())
    assert curves > 10
    browser.get_log("browser")
    browser.get(plots_page.as_uri())
    drawn = "return document.querySelectorAll('.vega-embed .marks').length"
    until(lambda: browser.execute_script(drawn) == curves)
    assert browser.execute_script("return document.characterSet") == "UTF-8"
    # Vega is looked for in the internet first. That a template is of another version of it is a warning.
    severe = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert [message for message in severe if "ERR_INTERNET_DISCONNECTED" not in message] == []
