"""Networks and their initialisation.

The parameters of the section `model` have these meanings:

====== =========================================== ========================================== =======================
       width                                       depth                                      at 512, 2 (the paper's)
====== =========================================== ========================================== =======================
mlp    units of each hidden layer                  hidden layers                              512-512
cnn    units of the hidden linear layer; width/8   stages: the first has two convolutions,    64-64-pool-128-pool-512
       channels in the first stage                 the others one, with twice the channels
resnet width/32 channels in the first stage        blocks in each of the three stages         ResNet-14, 16-32-64
====== =========================================== ========================================== =======================

`activation` follows every hidden layer. `normalisation` group puts a group normalisation before each activation.

`init_scale` multiplies all drawn weights. In mlp and cnn with relu it multiplies the initial function by
init_scale^(number of weight layers). In resnet it multiplies each residual branch by init_scale^2, so that below 1 the
blocks start near the identity and the network needs no normalisation. The scale of weights before a group normalisation
does not change the function, only how fast training turns them.
"""

import importlib
import math
import pickle
import random
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp
from torch.nn import functional as F

from edgewise.data.files import require_memory
from edgewise.errors import ParameterError
from edgewise.params import ModelParams

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
}


#: What training keeps of each parameter, at the least: ten vectors in single precision.
BYTES_PER_PARAMETER = 40


def build_model(params: ModelParams, input_shape: tuple[int, ...], outputs: int = 2) -> nn.Module:
    """The network that `params` names, for inputs of shape [C, H, W] or [d]; not yet initialised (see `initial_theta`).

    Raises
    ------
    ParameterError
        Names model.name, if the images are too small for the network, or a network of your own cannot be used.
    """
    if params.name in ("cnn", "resnet") and len(input_shape) != 3:
        allowed = f"needs images, these are rows of {math.prod(input_shape)} numbers: use mlp"
        raise ParameterError("model.name", params.name, allowed)
    if params.name in MODELS:
        with torch.device("meta"):
            sizes = [parameter.numel() for parameter in MODELS[params.name](params, input_shape, outputs).parameters()]
        require_memory("model.width", params.width, BYTES_PER_PARAMETER * sum(sizes))
        return MODELS[params.name](params, input_shape, outputs)
    return _your_own(params.name, input_shape, outputs)


def mlp(params: ModelParams, input_shape: tuple[int, ...], outputs: int) -> nn.Sequential:
    """Flatten, `depth` hidden layers of `width`, linear output (paper, appendix A.1)."""
    widths = [math.prod(input_shape)] + [params.width] * params.depth
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(fan_in, fan_out), *_hidden(params, fan_out)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))


def cnn(params: ModelParams, input_shape: tuple[int, ...], outputs: int) -> nn.Sequential:
    """`depth` stages of 3x3 convolutions, each ending in a 2x2 max-pooling, a hidden linear layer, linear output.

    The first stage has two convolutions, the others one. Each stage has twice the channels of the one before.
    """
    channels, height, width = input_shape
    _check_size(params, input_shape, 2**params.depth)
    layers: list[nn.Module] = []
    first = max(1, params.width // 8)
    for stage in range(params.depth):
        stage_channels = first * 2**stage
        for _ in range(2 if stage == 0 else 1):
            layers += [nn.Conv2d(channels, stage_channels, 3, padding=1), *_hidden(params, stage_channels)]
            channels = stage_channels
        layers.append(nn.MaxPool2d(2))
    features = channels * (height // 2**params.depth) * (width // 2**params.depth)
    layers += [nn.Flatten(), nn.Linear(features, params.width), *_hidden(params, params.width)]
    return nn.Sequential(*layers, nn.Linear(params.width, outputs))


class ResidualBlock(nn.Module):
    """activation(shortcut(x) + branch(x)), where the branch is two 3x3 convolutions (He et al. 2016).

    The shortcut takes every `stride`-th pixel and is 0 in the added channels. It has no parameters, since drawn weights
    there would multiply the signal by init_scale in every stage.
    """

    def __init__(self, params: ModelParams, fan_in: int, fan_out: int, stride: int) -> None:
        super().__init__()
        self.stride, self.added_channels = stride, fan_out - fan_in
        *normalisation, self.activation = _hidden(params, fan_out)
        self.branch = nn.Sequential(
            nn.Conv2d(fan_in, fan_out, 3, stride=stride, padding=1),
            *_hidden(params, fan_out),
            nn.Conv2d(fan_out, fan_out, 3, padding=1),
            *normalisation,
        )

    def forward(self, x: Tensor) -> Tensor:
        """From [n, fan_in, H, W] to [n, fan_out, H / stride, W / stride]."""
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added_channels))
        result: Tensor = self.activation(shortcut + self.branch(x))
        return result


def resnet(params: ModelParams, input_shape: tuple[int, ...], outputs: int) -> nn.Sequential:
    """The ResNet for CIFAR (He et al. 2016, section 4.2): a convolution, three stages, mean over pixels, linear output.

    Each stage has `depth` blocks. The second and the third halve the image and double the channels. There is no batch
    normalisation, because its statistics would make the loss of an example depend on the others.
    """
    _check_size(params, input_shape, 4)
    channels = max(1, params.width // 32)
    layers: list[nn.Module] = [nn.Conv2d(input_shape[0], channels, 3, padding=1), *_hidden(params, channels)]
    for stage in range(3):
        for block in range(params.depth):
            factor = 2 if stage > 0 and block == 0 else 1
            layers.append(ResidualBlock(params, channels, channels * factor, stride=factor))
            channels *= factor
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, outputs))


def initial_theta(model: nn.Module, init_scale: float, seed: int) -> torch.Tensor:
    """Kaiming-normal weights times `init_scale`, zero biases, as one flat float64 vector [P].

    Weights of one dimension, the gains of normalisation layers, are 1. Other parameters of at most one dimension are 0.
    The weights are drawn on the CPU in float64, so that the draw does not depend on the device or precision of the run.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for name, parameter in model.named_parameters():
        value = torch.zeros(parameter.shape, dtype=torch.float64)
        if value.ndim > 1:
            nn.init.kaiming_normal_(value, nonlinearity="relu", generator=generator)
            value *= init_scale
        elif value.ndim == 1 and name.rpartition(".")[2] == "weight":
            value += 1
        parts.append(value.reshape(-1))
    return torch.cat(parts)


def _hidden(params: ModelParams, channels: int) -> list[nn.Module]:
    """The layers after a hidden layer of this number of channels: the normalisation, if any, and the activation.

    There are at most 8 groups, of at least two channels each if the layer has two: a group of a single value would be
    normalised to 0.
    """
    activation = ACTIVATIONS[params.activation]()
    if params.normalisation == "none":
        return [activation]
    groups = math.gcd(8, channels)
    return [nn.GroupNorm(max(1, groups // 2) if groups == channels else groups, channels), activation]


def _check_size(params: ModelParams, input_shape: tuple[int, ...], smallest: int) -> None:
    """Raise a `ParameterError` if the images are less than `smallest` pixels high or wide."""
    _, height, width = input_shape
    if min(height, width) < smallest:
        allowed = (
            f"needs images of at least {smallest} x {smallest} pixels at model.depth {params.depth}; these are"
            f" {height} x {width}: use mlp"
        )
        raise ParameterError("model.name", params.name, allowed)


def _your_own(name: str, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """The network factory(input_shape, outputs) for a `name` of the form package.module:factory.

    Raises
    ------
    ParameterError
        If there is no such factory, if it fails, or if its network cannot be used (see `_fault`).
    """
    module_name, _, factory_name = name.partition(":")
    try:
        model: nn.Module = getattr(importlib.import_module(module_name), factory_name)(input_shape, outputs)
        fault = _fault(model, input_shape, outputs)
    except Exception as error:  # the user's code may raise anything
        fault = f"must be package.module:factory, with factory(input_shape, outputs) -> torch.nn.Module: {error!r}"
    if fault is not None:
        raise ParameterError("model.name", name, fault)
    return model


def _fault(model: nn.Module, input_shape: tuple[int, ...], outputs: int) -> str | None:
    """The reason why a network cannot be used; None if there is none.

    Its outputs for an image must be a function of theta and that image alone, its parameters real and all trained, and
    one gradient, one Hessian-vector product and one forward-mode product must be there and be right.
    """
    if isinstance(model, torch.jit.ScriptModule):
        return "is TorchScript, which has no forward-mode derivatives: give the module that was scripted"
    parameters = dict(model.named_parameters())
    if not any(parameter.numel() for parameter in parameters.values()):
        return "has no parameters to train"
    if unusable := [name for name, parameter in parameters.items() if not parameter.dtype.is_floating_point]:
        return f"has parameters that are not real numbers: {', '.join(unusable)}"
    if frozen := [name for name, parameter in parameters.items() if not parameter.requires_grad]:
        return f"has parameters with requires_grad=False: {', '.join(frozen)}; all parameters are trained"
    images = torch.randn((16, *input_shape), generator=torch.Generator().manual_seed(0))
    images[1] *= 3  # so that statistics over all images differ from those of any one
    return _not_a_function(model, images, outputs) or _without_derivatives(model, images)


def _not_a_function(model: nn.Module, images: Tensor, outputs: int) -> str | None:
    """Why the outputs are not a function of theta and the image; None if they are, as far as a few passes show."""
    buffers = {key: buffer.clone() for key, buffer in model.named_buffers()}
    attributes = _attributes(model)
    generators = _generators()
    with torch.no_grad():
        first, second = model(images), model(images)
        if updated := [key for key, buffer in model.named_buffers() if not torch.equal(buffer, buffers[key])]:
            return f"has buffers that change in training (batch normalisation?): {', '.join(updated)}"
        if first.shape != (len(images), outputs):
            wanted = (len(images), outputs)
            return f"gives outputs of shape {tuple(first.shape)} for {len(images)} images; must be {wanted}"
        if not torch.equal(first, second) or _generators() != generators:
            return "does not give the same outputs for the same images twice (dropout?)"
        if kept := [key for key, value in _attributes(model).items() if attributes.get(key) != value]:
            return f"keeps something from one pass to the next: {', '.join(kept)}"
        if not torch.allclose(first, torch.cat([model(image[None]) for image in images]), rtol=1e-3, atol=1e-5):
            return "gives outputs for an image that depend on the others (batch normalisation?)"
    return None


def _generators() -> tuple[bytes, str, str]:
    """The states of the generators that a network may draw from: however rarely a draw tells, it moves one of them."""
    return torch.get_rng_state().numpy().tobytes(), repr(np.random.get_state()), repr(random.getstate())  # noqa: NPY002


def _attributes(model: nn.Module) -> dict[str, bytes]:
    """What the modules hold beside their parameters, buffers and modules, by name."""

    def content(value: object) -> bytes:
        try:
            return pickle.dumps(value)
        except Exception:  # others' objects may raise anything
            return repr(value).encode()

    own = set(vars(nn.Module()))
    return {
        f"{name}.{key}".lstrip("."): content(value)
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if key not in own
    }


def _without_derivatives(model: nn.Module, images: Tensor) -> str | None:
    """Which derivative of the outputs is missing or wrong; None if all are right.

    The gradient is compared with a difference of outputs, parameter by parameter: where a part of the network is
    detached, or has the gradient 0 by its nature, the outputs change and the gradient does not say so.
    """
    named = {name: parameter.detach() for name, parameter in model.named_parameters()}
    generator = torch.Generator().manual_seed(1)
    # Not where the network begins, which may be 0 and so has no gradient.
    at = {
        name: torch.randn(value.shape, generator=generator).to(value) / math.sqrt(max(1, value.shape[1:].numel()))
        for name, value in named.items()
    }
    towards = {name: torch.randn(value.shape, generator=generator).to(value) for name, value in named.items()}

    def squares(theta: dict[str, Tensor]) -> Tensor:
        total: Tensor = functional_call(model, theta, (images,)).double().square().sum()
        return total

    tried = "gradient"
    try:
        gradients = grad(squares)(at)
        tried = "forward-mode product"
        slope = jvp(squares, (at,), (towards,))[1].item()
        tried = "Hessian-vector product"
        leaves = {name: value.clone().requires_grad_() for name, value in at.items()}
        first = torch.autograd.grad(squares(leaves), list(leaves.values()), create_graph=True, materialize_grads=True)
        along = torch.stack([(one * towards[name]).sum() for name, one in zip(leaves, first, strict=True)]).sum()
        torch.autograd.grad(along, list(leaves.values()), allow_unused=True)
    except Exception as error:  # the user's code may raise anything
        return f"has no {tried}: {' '.join(str(error).split())[:200]}"

    expected = {name: (gradients[name] * towards[name]).sum().item() for name in at}
    wrong = []
    for name, direction in towards.items():
        length = 3e-3 * max(at[name].norm().item(), 1e-3) / max(direction.norm().item(), 1e-12)
        ahead, behind = (squares({**at, name: at[name] + sign * length * direction}).item() for sign in (1, -1))
        difference = (ahead - behind) / (2 * length)
        # Of rounding, and of kinks: they tell in parameters that hardly matter.
        noise = 2e-6 * abs(ahead) / length + 1e-2 * max(map(abs, expected.values()))
        allowed = 0.1 * max(abs(difference), abs(expected[name])) + noise
        if not gradients[name].any() or abs(difference - expected[name]) > allowed:
            wrong.append(name)
    if wrong:
        return (
            f"has no, or not the right, gradient by {', '.join(wrong)} (unused, detach, no_grad, or a step function?)"
        )
    if abs(slope - sum(expected.values())) > 1e-2 * sum(map(abs, expected.values())):
        return "has a forward-mode product that is not that of its gradient"
    return None


MODELS: dict[str, Callable[[ModelParams, tuple[int, ...], int], nn.Module]] = {"mlp": mlp, "cnn": cnn, "resnet": resnet}
