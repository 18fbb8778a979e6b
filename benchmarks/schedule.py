"""How long the pipeline takes side by side, from the seconds that each stage took when it last ran.

Run: python benchmarks/schedule.py, in a repository in which `edgewise repro` has run every stage.
"""

from pathlib import Path

from dvc.repo import Repo

from edgewise.study.engine import SECONDS_FILE, Seconds, pipeline_of
from edgewise.study.schedule import makespan, urgency

JOBS = (1, 2, 4, 8, 16, 32)


def main() -> None:
    with Repo() as repo:
        needs = pipeline_of(repo.index)
        past = Seconds.read(Path(repo.tmp_dir) / SECONDS_FILE)
    seconds = {name: past.expected(name) for name in needs}
    alone = makespan(needs, seconds, 1)
    known, chain = len(past.of_stage.keys() & needs.keys()), max(urgency(needs, seconds).values())
    print(f"{len(needs)} stages, {known} of them timed; the longest chain takes {chain:.0f} s\n")
    print("| jobs | seconds | of one job |")
    print("|---|---|---|")
    for jobs in JOBS:
        together = makespan(needs, seconds, jobs)
        print(f"| {jobs} | {together:.0f} | {together / alone:.2f} |")


if __name__ == "__main__":
    main()
