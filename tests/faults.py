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
import exit_prediction  # noqa: E402
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
from edgewise.study.markdown import table  # noqa: E402

SEED = ["--seed", "0"]
BRANCHES = ("baseline", "exit")

#: Every stage that computes, in order: its main, the names of its options and their values.
STAGES: list[tuple[Callable[..., None], list[str], list[str]]] = [
    (parameters.main, [], []),
    (dataset.main, [], []),
    (prototypes.main, ["seed"], SEED),
    (base.main, ["seed"], SEED),
    *((branch.main, ["seed", "branch"], [*SEED, "--branch", name]) for name in BRANCHES),
    (strengths.main, ["seed"], SEED),
    (control.main, ["seed"], SEED),
    (exit_prediction.main, ["seed"], SEED),
    *((hessian.main, ["seed", "run"], [*SEED, "--run", name]) for name in ("base", *BRANCHES)),
    (prediction.main, ["seed", "model"], [*SEED, "--model", "edge_flow"]),
    *((robustness.main, ["seed", "branch"], [*SEED, "--branch", name]) for name in BRANCHES),
    *((ood.main, ["seed", "branch"], [*SEED, "--branch", name]) for name in BRANCHES),
    (runs.main, [], []),
    (verification.main, [], []),
    (summary.main, [], []),
]
NAMES = [main.__module__ for main, _, _ in STAGES]
#: The stages that train, by the run's name.
TRAINING = {"base": NAMES.index("base"), **{name: NAMES.index("branch") + i for i, name in enumerate(BRANCHES)}}

#: As small as it can be: what counts is what is written and read.
SMALL = {
    "seeds": [0],
    "dataset": {"n": 60},
    "branch": {"steps": 10, "checkpoint_every": 5, "enter_step": 5},
    "control": {"alphas": [3], "draws": 20},
    "robustness": {"epsilons": [8], "steps": 1, "restarts": 1, "examples": 10, "every": 100},
    "ood": {"alphas": [0, 3], "gaussian_noise": [0.1], "contrast": [0.4], "gaussian_blur": [1], "every": 100},
}

#: The first stage that reads what is under a folder of data/.
READ_BY = {
    "dataset.npz": NAMES.index("prototypes"),
    "prototypes": NAMES.index("base"),
    "checkpoints": NAMES.index("branch"),
    "journals": NAMES.index("branch"),
    "strengths.json": NAMES.index("robustness"),
    "records": NAMES.index("verification"),
}


class Refused(Exception):
    """A stage stopped with one line."""


class Traceback(Exception):
    """A stage stopped with anything else."""


def start(number: int, before: Callable[[], None] = lambda: None) -> tuple[int, Path]:
    """Run a stage in a process of its own, after `before`; the process, and the file of what it says."""
    main, names, options = STAGES[number]
    said = Path(f"said-{number}.txt")
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # until the child is where they end it in order
    if pid := os.fork():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        return pid, said
    status, output = 2, io.StringIO()
    try:
        sys.argv = [main.__module__, *options]
        with redirect_stderr(output), redirect_stdout(io.StringIO()):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
            before()
            stage(main, *names)
        status = 0
    except SystemExit as end:
        status = 1 if end.code else 0
        output.write(f"{end.code}\n" if isinstance(end.code, str) else "")
    except BaseException as error:
        output.write(f"Traceback: {error!r}\n")
    finally:
        with suppress(BaseException):
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
    """SIGKILL at a random moment of a stage."""
    number = rng.randrange(1, len(STAGES))
    interrupt(rng, number, signal.SIGKILL, longest=0.6)
    return number


def killed_in_training(rng: random.Random) -> int:
    """SIGKILL, SIGTERM or SIGINT at a random moment of a run that begins anew, and again when it goes on."""
    name, number = rng.choice(sorted(TRAINING.items()))
    forget(name)
    for _ in range(rng.randint(1, 3)):
        interrupt(rng, number, rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]), longest=2.0)
    return number


def interrupt(rng: random.Random, number: int, by: signal.Signals, longest: float) -> None:
    pid, _ = start(number)
    time.sleep(rng.random() * longest)
    os.kill(pid, by)
    os.waitpid(pid, 0)


def forget(name: str) -> None:
    """Remove all that a run left."""
    for kind in ("journals", "checkpoints"):
        shutil.rmtree(f"data/{kind}/seed-0/{name}", ignore_errors=True)


def file_to_harm(rng: random.Random) -> Path:
    files = [
        path for path in Path("data").rglob("*") if path.is_file() and path.name not in ("runs.json", "parameters.txt")
    ]
    return rng.choice(sorted(files))


def reading(path: Path) -> int:
    return READ_BY[path.parts[1]]


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
    return READ_BY["records"]


def disk_full(rng: random.Random) -> int:
    """No file can grow beyond a random size while a random stage writes; then there is room again."""
    number, size = rng.randrange(1, len(STAGES)), rng.choice([0, 100, 2000, 20_000])

    def fill() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    with suppress(Refused):
        run(number, fill)
    return number


def two_at_once(rng: random.Random) -> int:
    """Two processes train one run."""
    name, number = rng.choice(sorted(TRAINING.items()))
    forget(name)
    pids = [start(number)[0]]
    time.sleep(rng.random())
    pids.append(start(number)[0])
    status = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    if 0 not in status or 2 in status:
        raise Traceback(f"two at once ended {status}: {Path(f'said-{number}.txt').read_text()}")
    return number + 1


FAULTS = (killed, killed_in_training, cut, removed, flipped, table_harmed, disk_full, two_at_once)


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
    rows = ([name.replace("_", " "), *(str(found[kind]) for kind in kinds)] for name, found in counts.items())
    print(table(["fault", *kinds], rows))
    sys.exit(1 if any(counter["traceback"] + counter["silently wrong"] for counter in counts.values()) else 0)


if __name__ == "__main__":
    main()
