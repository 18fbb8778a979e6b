"""A network of one's own: a transformer encoder for images and for rows of a table.

`model.name=transformer:transformer` is a small one; `transformer:gpt2_block` has one block of the
size of GPT-2's, 768 wide with 12 heads. An image is read row by row, a row of a table number by number. Attention is
written with plain operations, which torch differentiates twice and in forward mode.
"""

import math

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Attention, then two linear layers, each on normalised inputs and added to them (Radford et al. 2019)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values, self.joined = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """From [n, tokens, width] to the same."""
        x = x + self.attention(self.before_attention(x))
        result: Tensor = x + self.mlp(self.before_mlp(x))
        return result

    def attention(self, x: Tensor) -> Tensor:
        """Every token's mean of the values of all, weighted by how its query fits their keys."""
        n, tokens, width = x.shape
        split = self.queries_keys_values(x).reshape(n, tokens, 3, self.heads, width // self.heads)
        queries, keys, values = split.permute(2, 0, 3, 1, 4)
        weights = (queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])).softmax(dim=-1)
        result: Tensor = self.joined((weights @ values).transpose(1, 2).reshape(n, tokens, width))
        return result


class Transformer(nn.Module):
    """Tokens, their places, blocks, and a linear layer on the mean over tokens."""

    def __init__(self, input_shape: tuple[int, ...], outputs: int, width: int, heads: int, blocks: int) -> None:
        super().__init__()
        channels, tokens, length = input_shape if len(input_shape) == 3 else (1, *input_shape, 1)
        self.token = nn.Linear(channels * length, width)
        self.place = nn.Parameter(torch.zeros(tokens, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(blocks)))
        self.last, self.head = nn.LayerNorm(width), nn.Linear(width, outputs)
        self.image_shape = (channels, tokens, length)

    def forward(self, x: Tensor) -> Tensor:
        """From [n, C, H, W] or [n, d] to [n, outputs]."""
        rows = x.reshape(len(x), *self.image_shape).transpose(1, 2).flatten(2)
        result: Tensor = self.head(self.last(self.blocks(self.token(rows) + self.place)).mean(dim=1))
        return result


def transformer(input_shape: tuple[int, ...], outputs: int, width: int = 32, heads: int = 4) -> nn.Module:
    """Two small blocks."""
    return Transformer(input_shape, outputs, width, heads, blocks=2)


def gpt2_block(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """One block of the size of GPT-2's: 7 million parameters."""
    return Transformer(input_shape, outputs, width=768, heads=12, blocks=1)
