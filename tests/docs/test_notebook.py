"""The notebook runs, and prints what it shows."""

import ast
import contextlib
import io
import json
import re

import matplotlib.pyplot as plt
import pytest


@pytest.fixture
def cells(repository):
    found = json.loads((repository / "docs/notebook.ipynb").read_text())["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def shown(cell) -> str:
    """The text that a cell printed, or the value of its last line."""
    texts = [out.get("text") or out["data"]["text/plain"] for out in cell["outputs"] if "image/png" not in str(out)]
    return "".join("".join(text) for text in texts)


def executed(source: str, names: dict[str, object]) -> str:
    """What a cell prints, or the value of its last line, as a notebook shows it."""
    tree, printed = ast.parse(source), io.StringIO()
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "cell", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None
    return printed.getvalue() + (repr(value) if value is not None else "")


def test_the_notebook_prints_what_it_shows(cells, monkeypatch):
    monkeypatch.setattr(plt, "show", plt.close)
    names: dict[str, object] = {}
    number = re.compile(r"-?\d+\.\d+")
    for cell in cells:
        now, then = executed("".join(cell["source"]), names), shown(cell)
        assert number.sub("x", now).split() == number.sub("x", then).split()
        numbers = [float(one) for one in number.findall(then)]
        assert [float(one) for one in number.findall(now)] == pytest.approx(numbers, abs=0.01)


def test_every_cell_was_run_in_order(cells):
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
