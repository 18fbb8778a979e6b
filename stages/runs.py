"""Say which runs and models params.yaml declares, and remove what others left, and what is no longer to be kept.

DVC leaves the files of a dropped matrix item in the workspace, and the stages from here on depend on the folders that
hold them. Other files there are left alone.
"""

import json
import shutil

from common import (
    CHECKPOINTS,
    JOURNALS,
    PROTOTYPES,
    RECORDS,
    RUNS,
    dose,
    locked,
    prototypes_file,
    records_folder,
    stage,
    without,
)
from edgewise.data.files import PUBLISHING, write_atomically
from edgewise.params import Params


def main(params: Params) -> None:
    further = [*map(dose, params.branch.factors), *map(without, params.theory.left_out)]
    runs = {seed: ["base", *params.branches, *params.theory.models, *further] for seed in params.seeds}
    for seed in params.sweep.seeds:
        runs[seed] += [f"sweep-{run}" for run in ("flow", *params.sweep.runs)]
    declared = {records_folder(seed, run).relative_to(RECORDS) for seed in runs for run in runs[seed]}
    # This stage depends on the folder of the records: all is measured.
    kept = {
        CHECKPOINTS: declared,
        RECORDS: declared,
        JOURNALS: declared if params.branch.keep == "checkpoints" else set(),
    }
    for root in kept:
        # A pattern that ends in a slash finds folders only.
        for folder in {folder.relative_to(root) for folder in root.glob("*/*/")} - kept[root]:
            with locked(JOURNALS / str(folder).removesuffix(PUBLISHING)):
                # First: without it, what is left where this is killed is no journal.
                (root / folder / "snapshot.npz").unlink(missing_ok=True)
                shutil.rmtree(root / folder)
        for of_seed in root.glob("*/"):
            if not any(of_seed.iterdir()):
                of_seed.rmdir()
    for file in set(PROTOTYPES.glob("seed-*.npz")) - {prototypes_file(seed) for seed in runs}:
        file.unlink()
    write_atomically(RUNS, (json.dumps(runs) + "\n").encode())


if __name__ == "__main__":
    stage(main)
