"""Every parameter of the project: its default, its unit and what is allowed.

This file is the only description of params.yaml. The symbols are those of the README's table.
"""

from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from edgewise.errors import EdgewiseError, ParameterError

Positive = Annotated[float, Field(gt=0)]
Natural = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of params.yaml: unknown keys, nan and infinity are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DatasetParams(Section):
    """Which images, as a binary problem (spec: CIFAR-10 automobile/truck)."""

    name: Literal["mnist5k", "digits", "cifar10", "fashion_mnist", "svhn", "image_folder", "npz"] = "mnist5k"
    #: Folder of the downloads (cifar10, fashion_mnist, svhn), of train/ and test/ (image_folder), or the .npz file.
    root: str = "datasets"
    #: The pair, by label or by name.
    classes: tuple[int | str, int | str] = (3, 5)
    #: Training images of both classes together; the first n/2 of each class are taken.
    n: Annotated[int, Field(ge=4, multiple_of=2)] = 800
    #: Channel mean and std: the usual ones of CIFAR-10, those of the training images, or (auto) the former for cifar10.
    normalisation: Literal["auto", "cifar10", "train"] = "auto"

    @field_validator("classes")
    @classmethod
    def _distinct(cls, pair: tuple[int | str, int | str]) -> tuple[int | str, int | str]:
        if pair[0] == pair[1]:
            raise ValueError("must be two different classes")
        return pair


class PrototypeParams(Section):
    """The four tracked groups (paper, figure 1)."""

    #: k-means centroids a class; 1 is the class mean, the paper's setting.
    clusters: Count = 1
    #: Examples made, a group and class.
    candidates: Count = 50
    #: Of those, how many go into training; the rest stay held out.
    trained: Count = 25
    #: Seeds k-means, the choice of the trained candidates and the random directions.
    seed: Natural = 0

    @model_validator(mode="after")
    def _trained_are_candidates(self) -> Self:
        if self.trained > self.candidates:
            raise ValueError(f"trained ({self.trained}) must be at most candidates ({self.candidates})")
        return self


class ModelParams(Section):
    """The network and its initialisation."""

    name: Literal["mlp"] = "mlp"
    width: Count = 512
    #: Hidden layers.
    depth: Count = 2
    activation: Literal["relu", "tanh", "gelu", "silu", "elu"] = "relu"
    #: Factor on the Kaiming-normal weights.
    init_scale: Positive = 0.2


class OptimizerParams(Section):
    """The optimiser; its stability threshold follows from it."""

    name: Literal["gd"] = "gd"
    #: Step size.
    lr: Positive = 0.03


class EdgeParams(Section):
    """When the run counts as being at the edge."""

    #: secant: mean curvature along the last step; sharpness: measured largest eigenvalue.
    rule: Literal["secant", "sharpness"] = "secant"
    #: Steps from one measurement of the sharpness, and checkpoint, to the next in the base run.
    sharpness_every: Count = 25
    #: The base run gives up after so many steps.
    max_steps: Count = 3000


class BranchParams(Section):
    """What the branches do after onset."""

    steps: Annotated[int, Field(ge=4)] = 300
    #: Factor on the step size in the exit branch.
    exit_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    #: Steps from one checkpoint to the next.
    checkpoint_every: Count = 25

    @model_validator(mode="after")
    def _spacing_fits(self) -> Self:
        if self.checkpoint_every > self.steps:
            raise ValueError(f"checkpoint_every ({self.checkpoint_every}) must be at most steps ({self.steps})")
        return self


class HessianParams(Section):
    """Accuracy of the eigenpairs."""

    #: Relative residual |Hv - lambda v| / lambda at which an eigenpair counts as found.
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 1e-3


class ComputeParams(Section):
    """Where and how numbers are computed."""

    #: auto takes a GPU if there is one.
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["float32", "float64"] = "float32"
    #: Examples worked on at once; memory grows with it, results do not change beyond rounding.
    chunk_size: Count = 16384


class Params(Section):
    """All of params.yaml."""

    seeds: Annotated[list[Natural], Field(min_length=1)] = [0, 1, 2]
    #: Displacement of the input-outliers, in units of v_diff.
    alpha: Annotated[float, Field(ge=0)] = 3.0
    #: coherent: along v_diff; random: the control, as far along directions orthogonal to it.
    direction: Literal["coherent", "random"] = "coherent"
    loss: Literal["mse", "ce"] = "mse"
    branches: list[Literal["baseline", "exit"]] = ["baseline", "exit"]
    dataset: DatasetParams = DatasetParams()
    prototypes: PrototypeParams = PrototypeParams()
    model: ModelParams = ModelParams()
    optimizer: OptimizerParams = OptimizerParams()
    edge: EdgeParams = EdgeParams()
    branch: BranchParams = BranchParams()
    hessian: HessianParams = HessianParams()
    compute: ComputeParams = ComputeParams()

    @field_validator("seeds", "branches")
    @classmethod
    def _no_repeats(cls, items: list[Any]) -> list[Any]:
        repeated = sorted({item for item in items if items.count(item) > 1})
        if repeated:
            raise ValueError(f"must not repeat {repeated}")
        return items

    @field_validator("branches")
    @classmethod
    def _baseline_and_another(cls, branches: list[str]) -> list[str]:
        if "baseline" not in branches or len(branches) < 2:
            raise ValueError("must hold 'baseline' and at least one branch to compare it with")
        return branches

    @model_validator(mode="after")
    def _groups_fit(self) -> Self:
        per_class = self.dataset.n // 2
        for name, wanted in (("candidates", self.prototypes.candidates), ("clusters", self.prototypes.clusters)):
            if wanted > per_class:
                raise ParameterError(
                    f"prototypes.{name}",
                    wanted,
                    f"must be at most the {per_class} training images of a class (dataset.n / 2)",
                )
        return self


def parse_params(text: str | bytes) -> Params:
    """Read the content of a params.yaml.

    Raises
    ------
    EdgewiseError
        One line for each parameter at fault: its name, what it was, what is allowed.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise EdgewiseError(f"params.yaml: not readable as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise EdgewiseError("params.yaml: must hold a mapping of parameters")
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        faults: dict[str, str] = {}
        for name, message in map(_describe, error.errors()):
            # A value that may be of several types has a fault for each of them.
            faults[name] = f"{faults[name]}, or {message.split('; ')[-1]}" if name in faults else f"{name}: {message}"
        raise EdgewiseError("\n".join(faults.values())) from error


def _describe(fault: Any) -> tuple[str, str]:
    """The parameter's name and plain words for one pydantic fault."""
    names: list[str] = []
    for part in fault["loc"]:
        if isinstance(part, int):
            names[-1:] = [f"{names[-1]}[{part}]"] if names else [str(part)]
        elif part not in ("int", "str"):
            names.append(str(part))
    name = ".".join(names) or "params.yaml"
    if fault["type"] == "extra_forbidden":
        return name, "is not a parameter of edgewise; see params.yaml and src/edgewise/params.py"
    if fault["type"] == "value_error":
        message = str(fault["ctx"]["error"])
    else:
        message = fault["msg"].replace("Input should", "must").replace("should", "must")
    return name, f"was {fault['input']!r}; {message}"
