"""A campaign of faults: `python tests/faults.py --trials 200` does harm at random and counts what became of it.

A small experiment of one seed is run once, stage by stage. In each trial a fresh copy of it is harmed and what follows
is run again; the outcome is one of

* survived: everything ran, and what is left for people is the same, byte for byte;
* refused: a stage stopped with one line that says why;
* traceback: a stage stopped with anything else;
* silently wrong: everything ran, and what is left is not the same.

The last two must be 0. pytest does not collect this file.
"""

import argparse
import collections
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src"), str(HERE.parent / "stages")]

import torch  # noqa: E402
from conftest import tiny  # noqa: E402
from tqdm import tqdm  # noqa: E402

import base  # noqa: E402
import branch  # noqa: E402
import control  # noqa: E402
import dataset  # noqa: E402
import figures  # noqa: E402, F401 - imported once, before the forks
import hessian  # noqa: E402
import ood  # noqa: E402
import parameters  # noqa: E402
import prediction  # noqa: E402
import prototypes  # noqa: E402
import robustness  # noqa: E402
import runs  # noqa: E402
import strengths  # noqa: E402
import summary  # noqa: E402
import verification  # noqa: E402
from common import stage  # noqa: E402

SEED = ["--seed", "0"]
BRANCHES = ("baseline", "exit")

#: Every stage that computes, in order: its main, the names of its options and their values.
STAGES: list[tuple[Callable[..., None], list[str], list[str]]] = [
    (parameters.main, [], []),
    (dataset.main, [], []),
    (prototypes.main, ["seed"], SEED),
    (base.main, ["seed"], SEED),
    (strengths.main, ["seed"], SEED),
    (control.main, ["seed"], SEED),
    (prediction.main, ["seed", "model"], [*SEED, "--model", "edge_flow"]),
    (hessian.main, ["seed", "run"], [*SEED, "--run", "base"]),
    *((branch.main, ["seed", "branch"], [*SEED, "--branch", name]) for name in BRANCHES),
    *((hessian.main, ["seed", "run"], [*SEED, "--run", name]) for name in BRANCHES),
    *((robustness.main, ["seed", "branch"], [*SEED, "--branch", name]) for name in BRANCHES),
    *((ood.main, ["seed", "branch"], [*SEED, "--branch", name]) for name in BRANCHES),
    (runs.main, [], []),
    (verification.main, [], []),
    (summary.main, [], []),
]
#: As small as it can be: what counts is what is written and read.
SMALL = {
    "seeds": [0],
    "dataset": {"n": 60},
    "branch": {"steps": 10, "checkpoint_every": 5, "enter_step": 5},
    "control": {"alphas": [3], "draws": 20},
    "robustness": {"epsilons": [8], "steps": 1, "restarts": 1, "examples": 10, "every": 100},
    "ood": {"alphas": [0, 3], "gaussian_noise": [0.1], "contrast": [0.4], "gaussian_blur": [1], "every": 100},
}

#: The first stage that reads what is under a folder of data/, by its number above.
READ_FROM = {"dataset.npz": 2, "prototypes": 3, "checkpoints": 4, "journals": 8, "records": 17, "strengths.json": 12}


class Refused(Exception):
    """A stage stopped with one line."""


class Traceback(Exception):
    """A stage stopped with anything else."""


def start(number: int, before: Callable[[], None] = lambda: None) -> tuple[int, Path]:
    """Run a stage in a process of its own, after `before`; the process, and the file of what it says."""
    main, names, options = STAGES[number]
    said = Path(f"said-{number}.txt")
    if pid := os.fork():
        return pid, said
    status, output = 0, io.StringIO()
    sys.argv = [main.__module__, *options]
    with redirect_stderr(output), redirect_stdout(io.StringIO()):
        try:
            before()
            stage(main, *names)
        except SystemExit as end:
            status = 1 if end.code else 0
            output.write(f"{end.code}\n" if isinstance(end.code, str) else "")
        except BaseException as error:
            status = 2
            output.write(f"Traceback: {error!r}\n")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    said.write_text(output.getvalue())
    os._exit(status)


def run(number: int, before: Callable[[], None] = lambda: None) -> None:
    """Run a stage to its end."""
    pid, said = start(number, before)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status == 0:
        return
    text = said.read_text() if said.exists() else ""
    lines = [line for line in text.splitlines() if line.startswith(("error: ", "stopped by "))]
    if status == 1 and len(lines) == 1:
        raise Refused(lines[0])
    raise Traceback(f"{STAGES[number][0].__module__}: status {status}: {text[-500:]}")


def results() -> dict[str, bytes]:
    """What is left for people."""
    return {
        str(path): path.read_bytes() for folder in ("metrics", "plots") for path in sorted(Path(folder).rglob("*.*"))
    }


# Each kind of fault harms the run in the working folder, and says from which stage on it has to be run again.


def killed(rng: random.Random) -> int:
    """SIGKILL at a random moment of a random stage; twice as often of one that trains."""
    number = rng.choice([*range(1, len(STAGES)), 3, 8, 9])
    if number in (3, 8, 9) and rng.random() < 0.8:  # from the start, not from what is there
        name = "base" if number == 3 else BRANCHES[number - 8]
        for kind in ("journals", "checkpoints", "records"):
            if rng.random() < 0.7:
                shutil.rmtree(f"data/{kind}/seed-0/{name}", ignore_errors=True)
        if not Path(f"data/records/seed-0/{name}/steps.csv").exists() and number == 3:
            shutil.rmtree("data/checkpoints/seed-0/base", ignore_errors=True)
    pid, _ = start(number)
    time.sleep(rng.random() * (3.0 if number in (3, 8, 9) else 0.6))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return min(number, 3) if number <= 3 else number if number in (8, 9) else 4


def stopped(rng: random.Random) -> int:
    """SIGTERM or SIGINT while a branch is trained anew."""
    number = rng.choice([8, 9])
    shutil.rmtree(f"data/journals/seed-0/{BRANCHES[number - 8]}")
    pid, _ = start(number)
    time.sleep(rng.random() * 2)
    os.kill(pid, rng.choice([signal.SIGTERM, signal.SIGINT]))
    os.waitpid(pid, 0)
    return number


def file_to_harm(rng: random.Random) -> Path:
    files = [
        path for path in Path("data").rglob("*") if path.is_file() and path.name not in ("runs.json", "parameters.txt")
    ]
    return rng.choice(sorted(files))


def reading(path: Path) -> int:
    return READ_FROM[path.parts[1]]


def cut(rng: random.Random) -> int:
    """A file loses its end."""
    path = file_to_harm(rng)
    os.truncate(path, rng.randrange(path.stat().st_size))
    return reading(path)


def removed(rng: random.Random) -> int:
    """A file is gone."""
    path = file_to_harm(rng)
    path.unlink()
    return reading(path)


def flipped(rng: random.Random) -> int:
    """A bit of a file is another. Not of a table: any number is a number, and only DVC's checksum tells."""
    path = file_to_harm(rng)
    while path.suffix == ".csv" or path.name == "strengths.json":
        path = file_to_harm(rng)
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.unlink()  # the journal's file of the same content keeps it
    path.write_bytes(content)
    return reading(path)


def table_harmed(rng: random.Random) -> int:
    """A row or a column of a table is gone, or twice there, or a field is text or empty."""
    path = rng.choice(sorted(Path("data/records").rglob("*.csv")))
    rows = [line.split(",") for line in path.read_text().splitlines()]
    row, column = rng.randrange(1, len(rows)), rng.randrange(len(rows[0]))
    match rng.choice(["row gone", "row doubled", "column gone", "text", "empty"]):
        case "row gone":
            del rows[row]
        case "row doubled":
            rows.insert(row, rows[row])
        case "column gone":
            rows = [[*fields[:column], *fields[column + 1 :]] for fields in rows]
        case "text":
            rows[row][column] = "x1"
        case "empty":
            rows[row][column] = ""
    path.unlink()
    path.write_text("\n".join(map(",".join, rows)) + "\n")
    return 17


def disk_full(rng: random.Random) -> int:
    """No file can grow beyond a random size while a random stage writes; then there is room again."""
    number, size = rng.randrange(1, len(STAGES)), rng.choice([0, 100, 2000, 20_000])

    def fill() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    with suppress(Refused):
        run(number, fill)
    return min(number, 8) if number > 3 else number


def two_at_once(rng: random.Random) -> int:
    """Two processes train one run."""
    number = rng.choice([3, 8, 9])
    name = "base" if number == 3 else BRANCHES[number - 8]
    shutil.rmtree(f"data/journals/seed-0/{name}", ignore_errors=True)
    pids = [start(number)[0]]
    time.sleep(rng.random())
    pids.append(start(number)[0])
    status = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    if 0 not in status or 2 in status:
        raise Traceback(f"two at once ended {status}: {Path(f'said-{number}.txt').read_text()}")
    return number + 1


FAULTS = (killed, stopped, cut, removed, flipped, table_harmed, disk_full, two_at_once)


def outcome(sound: Path, expected: dict[str, bytes], fault: Callable[[random.Random], int], rng: random.Random) -> str:
    """What becomes of one fault, in a copy of the sound run."""
    shutil.rmtree("data", ignore_errors=True)
    shutil.copytree(sound / "data", "data")
    for folder in ("metrics", "plots"):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sound / "metrics", "metrics")
    try:
        for number in range(fault(rng), len(STAGES)):
            run(number)
    except Refused as error:
        return f"refused|{error}"
    except Traceback as error:
        return f"traceback|{error}"
    return "survived|" if results() == expected else "silently wrong|"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = random.Random(options.seed)
    counts: dict[str, collections.Counter[str]] = {fault.__name__: collections.Counter() for fault in FAULTS}
    with tempfile.TemporaryDirectory() as name:
        sound, trial = Path(name) / "sound", Path(name) / "trial"
        for folder in (sound, trial):
            folder.mkdir()
            (folder / "params.yaml").write_text(tiny(**SMALL))
        os.chdir(sound)
        for number in range(len(STAGES)):
            run(number)
        expected = results()
        os.chdir(trial)
        for i in tqdm(range(options.trials), unit="trial"):
            fault = FAULTS[i % len(FAULTS)]
            kind, _, said = outcome(sound, expected, fault, rng).partition("|")
            counts[fault.__name__][kind] += 1
            if kind in ("traceback", "silently wrong"):
                print(json.dumps({"trial": i, "fault": fault.__name__, "kind": kind, "said": said}))
        os.chdir("/")
    kinds = ("survived", "refused", "traceback", "silently wrong")
    print(f"| fault | {' | '.join(kinds)} |\n|{'---|' * (1 + len(kinds))}")
    for name, counter in counts.items():
        print(f"| {name.replace('_', ' ')} | {' | '.join(str(counter[kind]) for kind in kinds)} |")
    sys.exit(1 if any(counter["traceback"] + counter["silently wrong"] for counter in counts.values()) else 0)


if __name__ == "__main__":
    main()
