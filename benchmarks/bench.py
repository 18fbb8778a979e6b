"""Every figure of speed as a ratio of one run: tables in Markdown, and metrics/benchmarks.json.

Run: make bench, or python benchmarks/bench.py --images FOLDER for images of your own (FOLDER/train/<class>/).
"""

import argparse
import json
import os
from pathlib import Path

import torch
from by_ranks import over_ranks
from eigenpairs import against_peers
from measurements import costs
from problem import problem
from training import a_run_against_scripts, growth, memory, steps_against_a_bare_loop

from edgewise.data.files import write_atomically
from edgewise.study.markdown import table

FILE = Path("metrics/benchmarks.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="in place of two digits of mnist5k")
    about = problem(parser.parse_args().images)
    print(f"{about.name}; {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}")
    found = {}
    for title, rows in {
        "What a measurement costs": costs(about),
        "Eigenpairs along a run at the edge": against_peers(about),
        "A step": steps_against_a_bare_loop(about),
        "A run": a_run_against_scripts(about),
        "Growth with the number of examples": growth(),
        "Ranks": over_ranks(),
        "Memory of a Hessian-vector product of 20,000 images": memory(),
    }.items():
        found[title] = list(rows)
        cells = [[_cell(value) for value in row.values()] for row in found[title]]
        print(f"\n{title}\n\n{table(list(found[title][0]), cells)}", flush=True)
    machine = {"cores": os.cpu_count(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    write_atomically(FILE, json.dumps({"of": about.name, **machine, **found}, indent=2).encode())


def _cell(value: object) -> str:
    """Three digits of a number.

    >>> _cell(0.0123456), _cell(1234.5), _cell(None)
    ('0.0123', '1234', '')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)


if __name__ == "__main__":
    main()
