"""What the stages that compute share: the objects that params.yaml and the files of data and groups describe."""

import hashlib
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from common import DATASET, checkpoints_folder, code_of, device_of, journal_folder, load, prototypes_file, read
from edgewise.data.examples import Dataset
from edgewise.data.files import Array
from edgewise.data.groups import NATURAL, Prototypes, grouped_data
from edgewise.errors import EdgewiseError, ParameterError
from edgewise.network.models import build_model, initial_theta
from edgewise.network.objective import Objective
from edgewise.network.ranks import leads, share
from edgewise.params import Params
from edgewise.states.branches import Leg, leg_before
from edgewise.states.optimizers import Optimizer, State, build_optimizer
from edgewise.states.pairs import consecutive
from edgewise.states.trajectory import Manifest, checkpoint_at, journalled_checkpoint, load_state, manifest_of


class Experiment:
    """What training and measuring one seed needs, on the chosen device.

    Attributes
    ----------
    dataset, prototypes, data : all images, which of them are the seed's, and these as examples
    objective : of the training data
    groups : for each group a mask of its examples
    tracked : for each group and stratum a mask of its examples
    natural : a mask of the natural examples
    draw : seeds whatever is drawn but the initialisation; where seeds differ in that alone, it is 0 for all of them
    optimizer : of the base run and the baseline
    """

    def __init__(self, params: Params, seed: int) -> None:
        compute = params.compute
        if compute.device == "cuda" and not torch.cuda.is_available():
            raise EdgewiseError("compute.device: was 'cuda'; this machine has no GPU: use auto or cpu")
        torch.set_num_threads(compute.threads)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
        sys.path.insert(0, str(Path(params.model.root).resolve()))
        self.params, self.seed = params, seed
        self.device = torch.device(device_of(params))
        self.dtype = getattr(torch, compute.dtype)
        self.dataset = load(DATASET, Dataset.from_bytes)
        self.prototypes = load(prototypes_file(seed), Prototypes.from_bytes)
        self.data = grouped_data(self.dataset, self.prototypes)
        shape, outputs = self.dataset.train_x.shape[1:], len(self.dataset.class_names)
        self.model = build_model(params.model, shape, outputs).to(self.device, self.dtype)
        train = self.data.train
        self.objective = self.objective_on(train.x, train.y)
        self.groups = {name: self._mask(train.members[name]) for name in self.data.groups}
        self.natural = self._mask(train.members[NATURAL])
        strata = {name: self.natural.clone() for name in self.prototypes.strata}
        for i, mask in enumerate(strata.values()):
            mask[self.natural] = self._mask(self.prototypes.stratum == i)
        self.tracked = self.groups | strata
        self.draw = seed if params.replicate == "all" else 0
        self.optimizer = build_optimizer(params.optimizer, shuffle_seed=self.draw)

    def objective_on(self, x: Array, y: Array) -> Objective:
        """The training objective on examples x [n, C, H, W] with labels y [n], of which a rank holds its share."""
        own = share(len(x))
        inputs = torch.from_numpy(x[own]).to(self.device, self.dtype)
        labels = torch.from_numpy(y[own]).to(self.device)
        return Objective(self.model, self.params.loss, inputs, labels, self.params.compute.chunk_size)

    def initial_theta(self) -> torch.Tensor:
        """The seed's initial parameters [P], on the device."""
        return initial_theta(self.model, self.params.model.init_scale, self.seed).to(self.device, self.dtype)

    def optimizer_of(self, leg: Leg) -> Optimizer:
        """The optimiser of a part of a branch."""
        return leg.optimizer(self.optimizer, self.objective.gradient)

    def require_room(self, parameter: str, value: int, count: int, journal: Path, cached: bool = True) -> None:
        """Say how much `count` checkpoints of a run take on the disk, and refuse it if that is not there.

        Parameters
        ----------
        parameter, value : what decides how many there are
        journal : where the run is written; what is there already needs no more room
        cached : whether DVC copies them into its cache
        """
        theta = self.initial_theta()
        after = self.optimizer.step(State(theta), torch.zeros_like(theta))
        size = theta.nbytes + sum(buffer.nbytes for buffer in after.buffers.values())
        there = sum(path.stat().st_size for path in journal.glob("step-*.npz"))
        needed, free = max(0, (1 + cached) * count * size - there), shutil.disk_usage(".").free
        where = "in the workspace and in DVC's cache" if cached else "in the workspace"
        about = f"{count} checkpoints of {size / 1e6:.1f} MB, {where}: {needed / 1e9:.2f} GB"
        if needed > free:
            raise ParameterError(parameter, value, f"needs up to {about}; {free / 1e9:.2f} GB are free")
        if leads():
            print(f"{journal}: up to {about}")

    def pair(self, run: str, step: int) -> tuple[Optimizer, tuple[State, State]]:
        """Both iterates of a run's checkpoint, and the optimiser that steps from the one to the other."""
        manifest = manifest_of(checkpoints_folder(self.seed, run))
        t_star = manifest_of(checkpoints_folder(self.seed, "base")).all_steps()[-1]
        optimizer = self.optimizer_of(leg_before(list(manifest.legs), step - t_star))
        state = load_state(self.checkpoint(run, step, manifest), self.initial_theta())
        return optimizer, consecutive(self.objective, optimizer, state)

    def checkpoint(self, run: str, step: int, manifest: Manifest) -> Path:
        """A run's checkpoint: a published one, or one in its journal, where it stays until all is measured."""
        if step not in manifest.unpublished:
            return checkpoint_at(checkpoints_folder(self.seed, run), step)
        journal = journal_folder(self.seed, run)
        try:
            return journalled_checkpoint(journal, step, manifest.unpublished[step])
        except EdgewiseError as error:
            again = f"`dvc repro --force --single-item branch@{self.seed}-{run}` trains the branch again"
            also = f" after the rest of {journal} is removed" if journal.exists() else ""
            raise EdgewiseError(f"{error}; {again}{also}, branch.keep: checkpoints all of them") from error

    def fingerprint(self, stage: str, *parts: Any) -> str:
        """A digest of all that the numbers of a stage's run depend on: its code, data, parameters, and `parts`."""
        digest = hashlib.sha256(read(DATASET) + read(prototypes_file(self.seed)))
        params = self.params
        root = Path(params.model.root)
        own = {file.relative_to(root).as_posix(): file.read_bytes() for file in sorted(root.rglob("*.py"))}
        code = code_of(stage) | own
        for name, content in code.items():
            digest.update(f"{name} {len(content)} ".encode() + content)
        sections = (self.seed, self.draw, params.loss, params.model, params.optimizer, params.compute)
        digest.update(repr((sections, parts, torch.__version__)).encode())
        return digest.hexdigest()

    def _mask(self, members: Array) -> torch.Tensor:
        return torch.from_numpy(members).to(self.device)
