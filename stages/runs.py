"""Say which runs params.yaml declares, and remove what others left.

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
    locked,
    prototypes_file,
    records_folder,
    stage,
)
from edgewise.data.files import write_atomically
from edgewise.params import Params


def main(params: Params) -> None:
    runs = {seed: ["base", *params.branches] for seed in params.seeds}
    declared = {records_folder(seed, run).relative_to(RECORDS) for seed in runs for run in runs[seed]}
    for root in (CHECKPOINTS, RECORDS, JOURNALS):
        # A pattern that ends in a slash finds folders only.
        for folder in {folder.relative_to(root) for folder in root.glob("*/*/")} - declared:
            with locked(JOURNALS / folder.with_suffix("")):
                shutil.rmtree(root / folder)
        for seed_folder in root.glob("*/"):
            if not any(seed_folder.iterdir()):
                seed_folder.rmdir()
    for file in set(PROTOTYPES.glob("seed-*.npz")) - {prototypes_file(seed) for seed in runs}:
        file.unlink()
    write_atomically(RUNS, (json.dumps(runs) + "\n").encode())


if __name__ == "__main__":
    stage(main)
