"""Networks, and how they are initialised."""

import math
from collections.abc import Callable

import torch
from torch import nn

from edgewise.params import ModelParams

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
}


def build_model(params: ModelParams, input_shape: tuple[int, ...], outputs: int = 2) -> nn.Module:
    """The network that `params` names, for inputs of shape [C, H, W]; not yet initialised (see `initial_theta`)."""
    return MODELS[params.name](params, input_shape, outputs)


def mlp(params: ModelParams, input_shape: tuple[int, ...], outputs: int) -> nn.Sequential:
    """Flatten, `depth` hidden layers of `width`, linear output (paper, appendix A.1)."""
    widths = [math.prod(input_shape)] + [params.width] * params.depth
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(fan_in, fan_out), ACTIVATIONS[params.activation]()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))


def initial_theta(model: nn.Module, init_scale: float, seed: int) -> torch.Tensor:
    """Kaiming-normal weights times `init_scale`, zero biases, as one flat float64 vector [P].

    Drawn on the CPU in float64, so that the device and the precision of the run do not change the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for parameter in model.parameters():
        value = torch.zeros(parameter.shape, dtype=torch.float64)
        if value.ndim > 1:
            nn.init.kaiming_normal_(value, nonlinearity="relu", generator=generator)
            value *= init_scale
        parts.append(value.reshape(-1))
    return torch.cat(parts)


MODELS: dict[str, Callable[[ModelParams, tuple[int, ...], int], nn.Module]] = {"mlp": mlp}
