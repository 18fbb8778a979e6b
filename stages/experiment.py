"""What the stages that compute share: the objects that params.yaml and the prototypes stage's file describe."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import torch

from common import PROTOTYPES, code_of, load, read
from edgewise.data.files import Array
from edgewise.data.groups import GROUPS, NATURAL, Prototypes
from edgewise.errors import EdgewiseError
from edgewise.network.models import build_model, initial_theta
from edgewise.network.objective import Objective
from edgewise.params import Params


class Experiment:
    """What training and measurement need, on the chosen device: objective, groups, and the start of a seed."""

    def __init__(self, params: Params) -> None:
        compute = params.compute
        if compute.device == "cuda" and not torch.cuda.is_available():
            raise EdgewiseError("compute.device: was 'cuda'; this machine has no GPU: use auto or cpu")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
        auto = "cuda" if torch.cuda.is_available() else "cpu"
        sys.path.append(str(Path.cwd()))  # where a network of your own may lie
        self.params = params
        self.device = torch.device(auto if compute.device == "auto" else compute.device)
        self.dtype = getattr(torch, compute.dtype)
        self.prototypes = load(PROTOTYPES, Prototypes.from_bytes)
        self.model = build_model(params.model, self.prototypes.v_diff.shape).to(self.device, self.dtype)
        train = self.prototypes.train
        self.objective = self.objective_on(train.x, train.y)
        self.groups = {name: torch.from_numpy(train.group == name).to(self.device) for name in GROUPS}
        self.natural = torch.from_numpy(train.group == NATURAL).to(self.device)

    def objective_on(self, x: Array, y: Array) -> Objective:
        """The training objective on examples x [n, C, H, W] with labels y [n]."""
        inputs = torch.from_numpy(x).to(self.device, self.dtype)
        labels = torch.from_numpy(y).to(self.device)
        return Objective(self.model, self.params.loss, inputs, labels, self.params.compute.chunk_size)

    def initial_theta(self, seed: int) -> torch.Tensor:
        """The seed's initial parameters [P], on the device."""
        return initial_theta(self.model, self.params.model.init_scale, seed).to(self.device, self.dtype)

    def fingerprint(self, stage: str, *parts: Any) -> str:
        """A digest of all that the numbers of a stage's run depend on: its code, data, parameters, and `parts`."""
        digest = hashlib.sha256(read(PROTOTYPES))
        params = self.params
        own_model = getattr(sys.modules.get(params.model.name.partition(":")[0]), "__file__", None)
        code = code_of(stage) | ({own_model: Path(own_model).read_bytes()} if own_model else {})
        for name, content in code.items():
            digest.update(f"{name} {len(content)} ".encode() + content)
        sections = (params.loss, params.model, params.optimizer, params.compute)
        digest.update(repr((sections, parts, torch.__version__)).encode())
        return digest.hexdigest()
