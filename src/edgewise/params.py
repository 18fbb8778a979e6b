"""Every parameter of the project: its default, its unit and what is allowed.

This file is the only description of params.yaml. The symbols are those of the README's table.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError

from edgewise.errors import EdgewiseError, ParameterError, said_by, shown

#: A params.yaml is a page; what is longer was not meant, and would only be slow to refuse.
LARGEST_FILE = 100_000
#: Faults that are listed, at most.
FAULTS_SHOWN = 10


def _must_be_printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must hold printable characters alone")
    return text


Printable = Annotated[str, AfterValidator(_must_be_printable)]

# Upper limits lie far beyond what is of use: they keep every number finite, and a slip from filling the machine.
StepSize = Annotated[float, Field(ge=1e-9, le=1e6)]
#: As it stands in params.yaml, integer or not.
PositiveNumber = Annotated[int | float, Field(ge=1e-9, le=1e6)]
#: On a step size.
Factor = Annotated[float, Field(ge=1e-6, lt=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
#: Of numpy's, scikit-learn's and torch's generators. Not 0.0, by which DVC would name the runs.
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**32)]
#: A displacement, in units of v_diff; the paper's are 3 and 10.
Alpha = Annotated[float, Field(ge=0, le=1000)]
#: A strength of an attack or a corruption.
Strength = Annotated[float, Field(gt=0, le=1e5)]
Text = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_must_be_printable)]


#: The paper's groups, which `groups.source` prototypes makes, and those that `groups.noise` makes.
PAPERS_GROUPS, NOISE_GROUPS = ("inlier", "boundary", "output_outlier", "input_outlier"), ("mislabelled", "clean")
GROUP_NAME = r"[A-Za-z][A-Za-z0-9_.-]{0,39}"
GroupName = Annotated[str, Field(pattern=f"^{GROUP_NAME}$")]


def _must_ascend(values: list[float], falling: bool = False) -> list[float]:
    """`values`, if each is larger (smaller, if `falling`) than the one before it."""
    if values != sorted(set(values), reverse=falling):
        raise ValueError(f"must {'descend' if falling else 'ascend'}, without repeats")
    return values


def _must_differ(items: list[Any]) -> list[Any]:
    """`items`, if no two are equal."""
    repeated = sorted({item for item in items if items.count(item) > 1})
    if repeated:
        raise ValueError(f"must not repeat {repeated}")
    return items


class Section(BaseModel):
    """A part of params.yaml: unknown keys, nan and infinity are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _booleans_where_they_belong(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[info.field_name].annotation if info.field_name else None
        if annotation is bool:
            if not isinstance(value, bool):
                raise ValueError("must be true or false")
        elif any(isinstance(item, bool) for item in (value if isinstance(value, list) else [value])):
            raise ValueError("must not be true or false")
        return value


class DatasetParams(Section):
    """Which images of which classes (paper: CIFAR-10 automobile/truck)."""

    #: mnist5k and digits come with packages; cifar10, fashion_mnist and svhn are downloaded; image_folder and npz are
    #: your own.
    name: Literal["mnist5k", "digits", "cifar10", "fashion_mnist", "svhn", "image_folder", "npz"] = "mnist5k"
    #: Folder of the downloads (cifar10, fashion_mnist, svhn), of train/ and test/ (image_folder), or the .npz file.
    root: Text = "datasets"
    #: Two classes (the paper's) or more, by label or by name, in the order of their outputs; or all of the source.
    classes: Literal["all"] | Annotated[list[int | Text], Field(min_length=2)] = [3, 5]
    #: Training images of a seed, as many of each class; see `Params.replicate` for which.
    n: Annotated[int, Field(ge=4, le=10_000_000)] = 400
    #: Channel mean and std: the usual ones of CIFAR-10, those of all training images of the classes, or (auto) the
    #: former for cifar10.
    normalisation: Literal["auto", "cifar10", "train"] = "auto"

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: str | list[int | str]) -> str | list[int | str]:
        if len(set(classes)) < len(classes) and classes != "all":
            raise ValueError("must be different classes")
        return classes


class PrototypeParams(Section):
    """The four tracked groups (paper, figure 1)."""

    #: k-means centroids a class; 1 is the class mean, the paper's setting.
    clusters: Count = 1
    #: Examples made, a group and class.
    candidates: Count = 50
    #: Of those, how many go into training; the rest stay held out.
    trained: Count = 25
    #: Seeds k-means and, together with the seed of a run (see `Params.replicate`), the images, the trained candidates
    #: and the random directions.
    seed: Seed = 0
    #: Whether the four groups are made from different images. If not, inliers, output-outliers and input-outliers are
    #: made from the same ones, as in the paper, and the boundary group may share some of those.
    disjoint: bool = False
    #: Natural examples are tracked too, a class cut into so many strata by distance to the centroid.
    strata: Annotated[int, Field(ge=1, le=20)] = 5

    @model_validator(mode="after")
    def _trained_are_candidates(self) -> Self:
        if self.trained > self.candidates:
            allowed = f"must be at most prototypes.candidates ({self.candidates})"
            raise ParameterError("prototypes.trained", self.trained, allowed)
        return self


class GroupParams(Section):
    """Which groups are tracked, beside the strata of the natural training images."""

    #: prototypes: the four of the paper, which are made and added to the training data; file: your own, of natural
    #: training images; both; none: those that `noise` makes alone.
    source: Literal["prototypes", "file", "both", "none"] = "prototypes"
    #: A CSV with the columns example and group, or a .npz with train_group. An example is a place in the training split
    #: from 0 on; of an image folder, a path from dataset.root on, as train/cat/1.png.
    file: Text = "datasets/groups.csv"
    #: Fraction of the natural training images of each class that get the label of another class; they are tracked as
    #: the group mislabelled, the others as the group clean.
    noise: Fraction = 0.0

    @property
    def has_prototypes(self) -> bool:
        """Whether the four of the paper are among them."""
        return self.source in ("prototypes", "both")

    @property
    def known(self) -> tuple[str, ...]:
        """The groups but for those of the file."""
        return (*(PAPERS_GROUPS if self.has_prototypes else ()), *(NOISE_GROUPS if self.noise else ()))

    @property
    def has_file(self) -> bool:
        """Whether the user's own are among them."""
        return self.source in ("file", "both")

    @model_validator(mode="after")
    def _there_are_some(self) -> Self:
        if self.source == "none" and self.noise == 0:
            raise ParameterError("groups.source", self.source, "needs groups.noise above 0: there must be some groups")
        return self


class ModelParams(Section):
    """The network and its initialisation; what the parameters mean for each network: src/edgewise/network/models.py."""

    #: mlp, cnn, resnet, or a network of your own as package.module:factory, with factory(input_shape, outputs) ->
    #: torch.nn.Module.
    name: Text = "mlp"
    #: Folder of networks of your own, looked for there before installed packages. What trains or measures a network
    #: depends on all of it; of an installed package it does not.
    root: Text = "networks"
    #: Units of a hidden linear layer; the numbers of channels follow from it (cnn: width/8, resnet: width/32).
    width: Annotated[int, Field(ge=1, le=65_536)] = 256
    #: mlp: hidden layers; cnn: stages that end in a pooling; resnet: blocks in each of the three stages.
    depth: Annotated[int, Field(ge=1, le=100)] = 2
    #: After every hidden layer. relu and elu have kinks.
    activation: Literal["relu", "tanh", "gelu", "silu", "elu"] = "relu"
    #: group: group normalisation after every hidden layer. Batch normalisation would couple the examples' losses.
    normalisation: Literal["none", "group"] = "none"
    #: Factor on the Kaiming-normal weights.
    init_scale: Annotated[float, Field(ge=1e-6, le=1e3)] = 0.2

    @field_validator("name")
    @classmethod
    def _known_or_your_own(cls, name: str) -> str:
        if name not in ("mlp", "cnn", "resnet") and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
            raise ValueError("must be mlp, cnn, resnet, or a network of your own as package.module:factory")
        return name

    @model_validator(mode="after")
    def _more_than_one_unit_to_normalise(self) -> Self:
        if self.normalisation == "group" and self.width < 2:
            raise ParameterError("model.width", self.width, "must be at least 2 with model.normalisation group")
        return self


class OptimizerParams(Section):
    """The optimiser; its stability threshold follows from it. What an optimiser does not have is not looked at."""

    #: momentum is the heavy ball; adam, with weight_decay, is AdamW.
    name: Literal["gd", "momentum", "nesterov", "sgd", "adam"] = "gd"
    #: Step size.
    lr: StepSize = 0.04
    #: beta of momentum and nesterov.
    momentum: Fraction = 0.9
    #: Examples a mini-batch, for sgd.
    batch_size: Count = 32
    #: Decay rate of adam's first moment.
    beta1: Fraction = 0.9
    #: Decay rate of adam's second moment.
    beta2: Fraction = 0.999
    #: What adam adds to the root of the second moment.
    epsilon: Annotated[float, Field(ge=1e-12, le=1)] = 1e-8
    #: Decay of the weights a unit of training time: L2 coupled to the gradient, for adam decoupled.
    weight_decay: Annotated[float, Field(ge=0, le=1e6)] = 0.0

    @model_validator(mode="after")
    def _decay_is_stable(self) -> Self:
        if self.lr * self.weight_decay >= 1:
            allowed = f"must be below 1 / lr = {1 / self.lr:g}: a step must not take away the whole weight"
            raise ParameterError("optimizer.weight_decay", self.weight_decay, allowed)
        return self


class EdgeParams(Section):
    """When the run counts as being at the edge."""

    #: secant: mean curvature along the last step; sharpness: measured largest eigenvalue.
    rule: Literal["secant", "sharpness"] = "secant"
    #: Steps from one measurement of the sharpness, and checkpoint, to the next in the base run.
    sharpness_every: Count = 25
    #: The base run gives up after so many steps.
    max_steps: Count = 3000


class BranchParams(Section):
    """What the branches do after onset; all of them cover the training time of `steps` steps of the baseline."""

    #: Of the baseline. A branch with a smaller step size takes as many more as it needs to cover the same time.
    steps: Annotated[int, Field(ge=8, le=1_000_000)] = 200
    #: Factor on the step size in the exit branch.
    exit_factor: Factor = 0.25
    #: Further factors on the step size, a run from onset each: the doses beside exit_factor.
    factors: Annotated[list[Factor], Field(max_length=100)] = []
    #: Steps that the enter branch goes along the exit branch before its step size is restored.
    enter_step: Count = 100
    #: Error of the flow branch's integrator, relative to the distance covered in the time of one step.
    flow_tolerance: Annotated[float, Field(ge=1e-6, lt=1)] = 1e-2
    #: Steps from one checkpoint to the next, and the training time from one to the next in steps of the baseline.
    checkpoint_every: Count = 25
    #: all: a checkpoint at every multiple of checkpoint_every. N: at the first 2 N of them, and from there on N for
    #: each doubling of the time since onset: at every second one up to 4 N, at every fourth up to 8 N, and so on.
    per_doubling: Literal["all"] | Annotated[int, Field(ge=4, le=1000)] = "all"
    #: What stays of the branches. measurements: once all is measured, their checkpoints are removed, but for the states
    #: that two runs share; they are never in DVC's cache.
    keep: Literal["checkpoints", "measurements"] = "checkpoints"

    @field_validator("factors")
    @classmethod
    def _no_repeats(cls, factors: list[float]) -> list[float]:
        return _must_differ(factors)

    @model_validator(mode="after")
    def _exit_is_a_dose_already(self) -> Self:
        if self.exit_factor in self.factors:
            raise ParameterError("branch.factors", self.factors, "must not hold exit_factor, which is always a dose")
        return self

    @model_validator(mode="after")
    def _spacing_fits(self) -> Self:
        if self.checkpoint_every > self.steps:
            allowed = f"must be at most branch.steps ({self.steps})"
            raise ParameterError("branch.checkpoint_every", self.checkpoint_every, allowed)
        return self

    @model_validator(mode="after")
    def _every_branch_ends(self) -> Self:
        for name, factor in (("exit_factor", self.exit_factor), *(("factors", factor) for factor in self.factors)):
            if self.steps > 1_000_000 * factor:
                allowed = f"branch.steps ({self.steps}) divided by it must be at most 1000000 steps"
                raise ParameterError(f"branch.{name}", factor, allowed)
        return self


class TheoryParams(Section):
    """The models of the edge that predict who gains."""

    #: edge_flow; gradient_flow, which has no edge; and, for smooth networks trained by gradient descent: cubic, the
    #: model of Damian et al. 2023; constrained, gradient flow below the threshold; central_flow of Cohen et al. 2025.
    models: Annotated[
        list[Literal["edge_flow", "gradient_flow", "cubic", "constrained", "central_flow"]], Field(min_length=1)
    ] = ["edge_flow"]
    #: Substeps of a model for a step of the optimiser.
    substeps: Annotated[int, Field(ge=1, le=100)] = 2
    #: Groups that are left out, one at a time, of what drives the oscillation: who pays for whom. Those of the paper,
    #: mislabelled and clean, or your own.
    left_out: Annotated[list[GroupName], Field(max_length=50)] = []

    @field_validator("models", "left_out")
    @classmethod
    def _no_repeats(cls, items: list[Any]) -> list[Any]:
        return _must_differ(items)

    @model_validator(mode="after")
    def _euler_is_stable(self) -> Self:
        if "central_flow" in self.models and self.substeps < 2:
            raise ParameterError(
                "theory.substeps", self.substeps, "must be at least 2 for central_flow, whose steps would oscillate"
            )
        return self


class SweepParams(Section):
    """Step sizes and optimisers side by side, from the initialisation, beside gradient flow (Cohen et al. 2021)."""

    #: Those of `Params.seeds` whose initialisation is trained from; with none, there is no sweep.
    seeds: Annotated[list[Seed], Field(max_length=1000)] = []
    #: Each is run at each of the step sizes.
    optimizers: Annotated[list[Literal["gd", "momentum", "nesterov"]], Field(min_length=1)] = ["gd"]
    #: Step sizes. DVC names the runs by what stands in params.yaml.
    step_sizes: Annotated[list[PositiveNumber], Field(min_length=1, max_length=100)] = [0.03, 0.04, 0.05, 0.06, 0.08]
    #: Training time of every run.
    time: Annotated[float, Field(gt=0, le=1e6)] = 12.0
    #: The sharpness, and the distance from gradient flow, are measured at so many regular times.
    measurements: Annotated[int, Field(ge=8, le=100_000)] = 24

    @field_validator("seeds", "optimizers", "step_sizes")
    @classmethod
    def _no_repeats(cls, items: list[Any]) -> list[Any]:
        return _must_differ(items)

    @property
    def runs(self) -> dict[str, tuple[str, float]]:
        """The optimiser and the step size of each run, by the run's name; gradient flow is not among them."""
        return {f"{name}-{lr}": (name, lr) for name in self.optimizers for lr in self.step_sizes}


class HessianParams(Section):
    """Accuracy of the eigenpairs."""

    #: Relative residual |Hv - lambda v| / lambda at which an eigenpair counts as found.
    tolerance: Annotated[float, Field(ge=1e-8, lt=1)] = 1e-3
    #: Leading eigenvectors measured; with more than one, alignment and influence with their span are measured too.
    top_k: Annotated[int, Field(ge=1, le=20)] = 1


class ControlParams(Section):
    """The control at onset: is it the direction of a displacement, or its length?"""

    #: Displacements tried beside `alpha` itself, in units of v_diff.
    alphas: Annotated[list[Alpha], Field(max_length=100)] = [0.0, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0]
    #: Random groups in the permutation null.
    draws: Annotated[int, Field(ge=20, le=100_000)] = 200


class RobustnessParams(Section):
    """The attacks on the networks of every branch (paper, figure 9)."""

    #: Norm of the perturbation, over the whole image.
    norm: Literal["linf", "l2"] = "linf"
    #: Radii of the balls, in steps of an 8-bit pixel: 8 is 8/255 of the range from 0 to 1. 0 is always measured too.
    #: auto: those at which the first seed's network at onset keeps about 3/4, 1/2 and 1/4 of its accuracy.
    epsilons: Literal["auto"] | Annotated[list[Strength], Field(min_length=1, max_length=100)] = "auto"
    #: What the attacks maximise. loss: the training loss; margin: the other output less the label's. For CE they are
    #: the same. MSE also grows where the network gets surer of the right label, so maximising it overstates robustness
    #: at large epsilon (one network on mnist5k, epsilon 32: accuracy 0.14 after 2 restarts; by the margin 0.035).
    maximise: Literal["loss", "margin"] = "margin"
    #: Of one run of PGD.
    steps: Annotated[int, Field(ge=1, le=10_000)] = 10
    #: Of one step of PGD, as a fraction of epsilon.
    step_size: Annotated[float, Field(gt=0, le=100)] = 0.25
    #: Runs of PGD; the first goes on from the best perturbation of the smaller epsilons, the others start at random.
    restarts: Annotated[int, Field(ge=1, le=1000)] = 2
    #: At most so many test images are attacked (see `Params.replicate` for which), and of each held-out group.
    examples: Count = 100
    #: Every so many checkpoints are attacked, and the last; both iterates of each.
    every: Count = 4
    #: Seeds the random starts and, together with the seed of a run, the choice of the test images.
    seed: Seed = 0

    @field_validator("epsilons")
    @classmethod
    def _ascending(cls, values: str | list[float]) -> str | list[float]:
        return values if isinstance(values, str) else _must_ascend(values)


class OodParams(Section):
    """Test inputs that are displaced (paper, figure 10) or corrupted."""

    #: Displacements of the test inputs, in units of v_diff.
    alphas: Annotated[list[Alpha], Field(min_length=1, max_length=100)] = [0, 1, 2, 3, 5, 10]
    #: Standard deviation of the noise, in units of the pixels' range, one a severity.
    gaussian_noise: Annotated[list[Strength], Field(min_length=1, max_length=100)] = [0.08, 0.12, 0.18, 0.26, 0.38]
    #: Fraction of the contrast that is left, one a severity.
    contrast: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1, max_length=100)] = [
        0.4,
        0.3,
        0.2,
        0.1,
        0.05,
    ]
    #: Standard deviation of the blur, in pixels, one a severity.
    gaussian_blur: Annotated[list[Strength], Field(min_length=1, max_length=100)] = [0.5, 1, 1.5, 2, 3]
    #: Every so many checkpoints are evaluated, and the last; both iterates of each.
    every: Count = 2
    #: Seeds, together with the seed of a run (see `Params.replicate`), the noise and the random directions.
    seed: Seed = 0

    @field_validator("alphas", "gaussian_noise", "gaussian_blur")
    @classmethod
    def _ascending(cls, values: list[float]) -> list[float]:
        return _must_ascend(values)

    @field_validator("contrast")
    @classmethod
    def _descending(cls, values: list[float]) -> list[float]:
        return _must_ascend(values, falling=True)

    @model_validator(mode="after")
    def _as_many_severities(self) -> Self:
        counts = {name: len(getattr(self, name)) for name in ("gaussian_noise", "contrast", "gaussian_blur")}
        if len(set(counts.values())) > 1:
            allowed = f"must hold as many severities of each corruption, which are {counts}"
            raise ParameterError("ood.gaussian_noise", self.gaussian_noise, allowed)
        return self


class FigureParams(Section):
    """The figures under plots/figures. Reports and `dvc plots` show figure 2 as png alone."""

    #: Of the files.
    format: Literal["png", "pdf", "svg"] = "png"
    #: screen; for print, without title and caption and with text of 8 points: page, 6.75 inches wide, or column, 3.25.
    size: Literal["screen", "page", "column"] = "screen"


class ComputeParams(Section):
    """Where and how numbers are computed."""

    #: auto takes a GPU if there is one.
    device: Literal["auto", "cpu", "cuda"] = "auto"
    #: Of all numbers of the training and the measurements.
    dtype: Literal["float32", "float64"] = "float32"
    #: Examples worked on at once; memory grows with it, results do not change beyond rounding.
    chunk_size: Count = 16384
    #: CPU threads of a stage; the sixth digit changes with them. With 1, as many stages run side by side as there are
    #: cores (`edgewise repro`).
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    #: Processes that share the examples in the stages that train and measure; on a GPU each where there are GPUs.
    ranks: Annotated[int, Field(ge=1, le=1024)] = 1


class Params(Section):
    """All of params.yaml."""

    #: A run each; the intervals are over them.
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=1000)] = [0, 1, 2, 3, 4]
    #: What a seed draws. all: its training images (where a class has more than n/2), its trained candidates, random
    #: directions, noise, test images under attack, the order of mini-batches, the random groups of the permutation
    #: null, and the initialisation. initialisation: that alone; the images are then the first of each class.
    replicate: Literal["all", "initialisation"] = "all"
    #: Displacement of the input-outliers, in units of v_diff.
    alpha: Alpha = 3.0
    #: coherent: along v_diff; random: the control, as far along directions orthogonal to it.
    direction: Literal["coherent", "random"] = "coherent"
    #: mse: squared distance of the outputs from the one-hot label; ce: cross-entropy of their softmax.
    loss: Literal["mse", "ce"] = "mse"
    #: baseline keeps the step size, exit lowers it, enter lowers and later restores it, flow is gradient flow.
    branches: list[Literal["baseline", "exit", "enter", "flow"]] = ["baseline", "exit"]
    dataset: DatasetParams = DatasetParams()
    prototypes: PrototypeParams = PrototypeParams()
    groups: GroupParams = GroupParams()
    model: ModelParams = ModelParams()
    optimizer: OptimizerParams = OptimizerParams()
    edge: EdgeParams = EdgeParams()
    branch: BranchParams = BranchParams()
    hessian: HessianParams = HessianParams()
    theory: TheoryParams = TheoryParams()
    sweep: SweepParams = SweepParams()
    control: ControlParams = ControlParams()
    robustness: RobustnessParams = RobustnessParams()
    ood: OodParams = OodParams()
    compute: ComputeParams = ComputeParams()
    figures: FigureParams = FigureParams()

    @field_validator("seeds", "branches")
    @classmethod
    def _no_repeats(cls, items: list[Any]) -> list[Any]:
        return _must_differ(items)

    @field_validator("branches")
    @classmethod
    def _baseline_and_another(cls, branches: list[str]) -> list[str]:
        if not {"baseline", "exit"} <= set(branches):
            raise ValueError(
                "must hold 'baseline' and 'exit', the two that are compared; 'enter' and 'flow' may be added"
            )
        return branches

    @model_validator(mode="after")
    def _enter_fits(self) -> Self:
        branch = self.branch
        if "enter" in self.branches and (
            branch.enter_step % branch.checkpoint_every or branch.enter_step > branch.steps / 2
        ):
            allowed = (
                f"must be a multiple of branch.checkpoint_every ({branch.checkpoint_every}) and at most half of"
                f" branch.steps ({branch.steps})"
            )
            raise ParameterError("branch.enter_step", branch.enter_step, allowed)
        if "enter" in self.branches and branch.per_doubling != "all":
            regular = 2 * branch.per_doubling * branch.checkpoint_every
            if branch.enter_step > regular:
                allowed = (
                    f"must be at most {regular}, as far as the checkpoints are regular (2 branch.per_doubling"
                    " branch.checkpoint_every)"
                )
                raise ParameterError("branch.enter_step", branch.enter_step, allowed)
        return self

    @model_validator(mode="after")
    def _flow_has_a_limit(self) -> Self:
        if "flow" in self.branches and self.optimizer.name == "adam":
            raise ParameterError("branches", self.branches, "gradient flow is not the limit of adam: leave out 'flow'")
        return self

    @model_validator(mode="after")
    def _models_exist(self) -> Self:
        models = self.theory.models
        if "gradient_flow" in models and self.optimizer.name == "adam":
            raise ParameterError("theory.models", models, "gradient flow is not the limit of adam")
        of_the_sharpness = [name for name in models if name in ("cubic", "constrained", "central_flow")]
        if not of_the_sharpness:
            return self
        which = f"{' and '.join(of_the_sharpness)} must be left out:"
        if self.optimizer.name != "gd":
            raise ParameterError(
                "theory.models", models, f"{which} of gradient descent (gd) alone, not of {self.optimizer.name}"
            )
        kinks = "the max-pooling of cnn" if self.model.name == "cnn" else self.model.activation
        if self.model.name == "cnn" or self.model.activation in ("relu", "elu"):
            raise ParameterError(
                "theory.models",
                models,
                f"{which} the gradient of the sharpness misses the kinks of {kinks}; smooth are mlp and resnet with"
                " tanh, gelu or silu",
            )
        return self

    @model_validator(mode="after")
    def _sweep_fits(self) -> Self:
        if foreign := sorted(set(self.sweep.seeds) - set(self.seeds)):
            raise ParameterError("sweep.seeds", self.sweep.seeds, f"must be of `seeds` {self.seeds}, {foreign} are not")
        largest = max(self.sweep.step_sizes)
        if largest * self.optimizer.weight_decay >= 1:
            allowed = f"must be below 1 / optimizer.weight_decay = {1 / self.optimizer.weight_decay:g}"
            raise ParameterError("sweep.step_sizes", self.sweep.step_sizes, allowed)
        return self

    @model_validator(mode="after")
    def _each_rank_has_examples(self) -> Self:
        if self.compute.ranks > self.dataset.n:
            allowed = f"must be at most dataset.n ({self.dataset.n}), for the ranks share the examples"
            raise ParameterError("compute.ranks", self.compute.ranks, allowed)
        return self

    @model_validator(mode="after")
    def _groups_fit(self) -> Self:
        if not self.groups.has_file:
            self.require_groups(())
        if self.dataset.classes != "all":  # of all, how many there are is known with the data
            images_a_class(self.dataset.n, len(self.dataset.classes), self.prototypes)
        return self

    def require_groups(self, of_file: Sequence[str]) -> None:
        """Stop if a group that is to be left out is none of this run, in whose file there are those `of_file`.

        Raises
        ------
        ParameterError
            Names theory.left_out.
        """
        there = (*self.groups.known, *of_file)
        for group in self.theory.left_out:
            if group not in there:
                allowed = f"{group!r} is not among the groups, which are {', '.join(there)}"
                raise ParameterError("theory.left_out", self.theory.left_out, allowed)


def images_a_class(n: int, classes: int, prototypes: PrototypeParams) -> int:
    """Training images of a seed of each class.

    Raises
    ------
    ParameterError
        If the n images are not as many of each class, or too few of each for the prototypes.
    """
    if n % classes:
        raise ParameterError("dataset.n", n, f"must be a multiple of the {classes} classes: as many images of each")
    for name in ("candidates", "clusters", "strata"):
        wanted = getattr(prototypes, name)
        if wanted > n // classes:
            allowed = f"must be at most the {n // classes} training images of a class (dataset.n / {classes})"
            raise ParameterError(f"prototypes.{name}", wanted, allowed)
    return n // classes


def load_yaml(text: str | bytes, name: str = "params.yaml") -> Any:
    """The content of a page of YAML 1.2, as DVC reads it: 010 is ten, and no key may occur twice.

    Raises
    ------
    EdgewiseError
        If it is none, or too long to be meant; the message begins with `name`.
    """
    if len(text) > LARGEST_FILE:
        raise EdgewiseError(f"{name}: has {len(text):,} bytes; must have at most {LARGEST_FILE:,}")
    if re.search(r"^%", text if isinstance(text, str) else text.decode(errors="replace"), re.MULTILINE):
        raise EdgewiseError(f"{name}: has a line that begins with %, a directive of YAML, which DVC does not follow")
    try:
        return YAML(typ="safe", pure=True).load(text)  # libyaml's parser overflows the stack where text is nested deep
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1
        raise EdgewiseError(f"{name}: not readable as YAML: line {line} has a key that is there already") from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise EdgewiseError(f"{name}: not readable as YAML: {said_by(error)}") from error


def load_params(text: str | bytes) -> dict[str, Any]:
    """The content of a params.yaml, checked no further.

    Raises
    ------
    EdgewiseError
        If it is no mapping.
    """
    content = load_yaml(text)
    if not isinstance(content, dict):
        raise EdgewiseError("params.yaml: must hold a mapping of parameters")
    return content


def parse_params(text: str | bytes) -> Params:
    """Read the content of a params.yaml.

    Raises
    ------
    EdgewiseError
        One line for each parameter at fault: its name, what it was, what is allowed.
    """
    content = load_params(text)
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        faults: dict[str, str] = {}
        for name, message in map(_describe, error.errors()):
            # A value that may be of several types has a fault for each of them.
            faults[name] = f"{faults[name]}, or {message.split('; ')[-1]}" if name in faults else f"{name}: {message}"
        # Where the items of a list are at fault, that it is a list is not.
        lists = {name.rpartition("[")[0] for name in faults}
        lines = [text for name, text in faults.items() if name not in lists]
        if len(lines) > FAULTS_SHOWN:
            lines[FAULTS_SHOWN:] = [f"params.yaml: {len(lines) - FAULTS_SHOWN} further faults"]
        raise EdgewiseError("\n".join(lines)) from error


def _describe(fault: Any) -> tuple[str, str]:
    """The parameter's name and plain words for one pydantic fault."""
    unknown = fault["type"] == "extra_forbidden"
    names: list[str] = []
    for part in fault["loc"]:
        if isinstance(part, int):
            names[-1:] = [f"{names[-1]}[{part}]"] if names else [str(part)]
        elif unknown or not (
            part in ("int", "float", "str", "constrained-int") or "[" in part
        ):  # those say which of its types a value is not of
            names.append(part if part and part.isprintable() and len(part) <= 80 else shown(part))
    name = ".".join(names) or "params.yaml"
    if unknown:
        return name, "is not a parameter of edgewise; see params.yaml and src/edgewise/params.py"
    if fault["type"] == "value_error":
        message = str(fault["ctx"]["error"])
    else:
        message = fault["msg"].replace("Input should", "must").replace("should", "must")
    return name, f"was {shown(fault['input'])}; {message}"
