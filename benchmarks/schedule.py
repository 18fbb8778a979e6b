"""How long the pipeline takes side by side, from the seconds that each stage took when it last ran.

However many run at a time, one alone writes dvc.lock: it is read and written once here, to see how long that takes.

Run: python benchmarks/schedule.py, in a repository in which `edgewise repro` has run every stage.
"""

import time
from pathlib import Path

from dvc.dvcfile import LOCK_FILE
from dvc.repo import Repo
from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

from edgewise.study.engine import SECONDS_FILE, Seconds, pipeline_of
from edgewise.study.schedule import makespan, urgency

JOBS = (1, 2, 4, 8, 16, 32)


def main() -> None:
    with Repo() as repo:
        needs = pipeline_of(repo.index)
        past = Seconds.read(Path(repo.tmp_dir) / SECONDS_FILE)
        lock_file = Path(repo.root_dir, LOCK_FILE).read_text()
    began = time.perf_counter()
    dumps_yaml(parse_yaml_for_update(lock_file, LOCK_FILE))
    locked = time.perf_counter() - began
    seconds = {name: past.expected(name) for name in needs}
    alone = makespan(needs, seconds, 1)
    known, chain = len(past.of_stage.keys() & needs.keys()), max(urgency(needs, seconds).values())
    print(
        f"{len(needs)} stages, {known} of them timed; the longest chain takes {chain:.0f} s, and {LOCK_FILE} is written"
        f" in {locked:.2f} s, for all stages in {len(needs) * locked:.0f} s\n"
    )
    print("| jobs | seconds | of one job |")
    print("|---|---|---|")
    for jobs in JOBS:
        together = max(makespan(needs, seconds, jobs), len(needs) * locked)
        print(f"| {jobs} | {together:.0f} | {together / alone:.2f} |")


if __name__ == "__main__":
    main()
