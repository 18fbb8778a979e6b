"""The measurement of any trained classifier, against a dense Hessian."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import edgewise
from edgewise.errors import EdgewiseError

GROUPS = {"rare": torch.tensor([0, 5]), "common": torch.arange(12) > 3}


@pytest.fixture
def data() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x, torch.arange(12) % 3


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(1)
    # In training the statistics of a batch would couple the examples, and dropout would be random.
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 3)).double()


@pytest.mark.parametrize(
    "model", [nn.LazyLinear(3), nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 3, device="meta"))], ids=["lazy", "meta"]
)
def test_a_model_without_values_is_one_line(model, data):
    with pytest.raises(EdgewiseError, match=r"^model: has parameters without values"):
        edgewise.measure(model, "mse", data, GROUPS)


class Odd(nn.Linear):
    """A layer that changes its inputs, or is random."""

    def __init__(self, how: str) -> None:
        super().__init__(3, 3, dtype=torch.float64)
        self.how = how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.how == "changes":
            x *= 2
        return super().forward(x) + (torch.randn(()) if self.how == "random" else 0)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Odd("changes"), "model: changes its inputs in place"),
        (Odd("random"), "model: gives other outputs when it is asked again"),
        (nn.Linear(3, 3), "data: x is torch.float64, the model torch.float32"),
        (nn.Linear(4, 3).double(), "model: torch cannot evaluate it, or differentiate it twice"),
    ],
)
def test_a_model_that_is_odd_is_one_line_and_the_data_stay(model, data, said):
    x, y = data
    before = x.clone()
    with pytest.raises(EdgewiseError, match=f"^{said}") as caught:
        edgewise.measure(model, "mse", (x, y), GROUPS)
    assert "\n" not in str(caught.value)
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": (1, 2, 3)}, "data: must be a pair"),
        ({"groups": [1]}, "groups: was a list"),
        ({"chunk_size": 2.5}, "chunk_size: was 2.5"),
        ({"chunk_size": None}, "chunk_size: was None"),
    ],
)
def test_an_argument_of_another_kind_is_one_line(model, data, change, said):
    arguments = {"model": model, "loss": "mse", "data": data, "groups": GROUPS, **change}
    with pytest.raises(EdgewiseError, match=f"^{said}"):
        edgewise.measure(**arguments)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_is_the_same_where_gradients_are_off(model, data, mode):
    x, y = data
    expected = edgewise.measure(model, "mse", data, GROUPS)
    with mode():
        found = edgewise.measure(model, "mse", (x + 0, y), GROUPS)
    assert found.sharpness == pytest.approx(expected.sharpness)
    pd.testing.assert_frame_equal(found.groups, expected.groups)


def test_a_loss_of_ones_own_is_measured_as_a_dense_reference(model, data):
    x, y = data
    smoothed = nn.CrossEntropyLoss(label_smoothing=0.1, reduction="none")
    found = edgewise.measure(model, smoothed, data, GROUPS, chunk_size=5, tolerance=1e-8)
    assert model.training
    model.eval()
    names = [name for name, _ in model.named_parameters()]

    def losses(*parameters):
        return smoothed(torch.func.functional_call(model, dict(zip(names, parameters, strict=True)), (x,)), y)

    parameters = tuple(p.detach() for p in model.parameters())
    blocks = torch.autograd.functional.hessian(lambda *p: losses(*p).mean(), parameters)
    sizes = [p.numel() for p in parameters]
    hessian = torch.cat(
        [
            torch.cat([b.reshape(m, n) for b, n in zip(row, sizes, strict=True)], 1)
            for row, m in zip(blocks, sizes, strict=True)
        ]
    )
    values, vectors = torch.linalg.eigh(hessian)
    v1 = vectors[:, -1]
    assert found.sharpness == pytest.approx(values[-1].item())
    assert abs((found.v1 @ v1).item()) == pytest.approx(1)
    each = torch.autograd.functional.jacobian(losses, parameters)
    gradients = torch.cat([part.reshape(12, -1) for part in each], dim=1)
    for name, members in GROUPS.items():
        row, gradient = found.groups.loc[name], gradients[members].mean(dim=0)
        assert row["loss"] == pytest.approx(losses(*parameters)[members].mean().item())
        assert row["curvature_influence"] == pytest.approx((gradient @ v1).item() ** 2)
        assert row["alignment"] == pytest.approx((gradient @ v1).item() ** 2 / (gradient @ gradient).item())
        assert row["gradient_norm"] == pytest.approx(gradient.norm().item())
        assert row["accuracy"] == pytest.approx((model(x).argmax(1) == y)[members].double().mean().item())
    assert found.groups["examples"].to_dict() == {"rare": 2, "common": 8}


def test_a_mean_loss_and_an_empty_group_are_an_error(model, data):
    with pytest.raises(EdgewiseError, match="reduction='none'"):
        edgewise.measure(model, nn.CrossEntropyLoss(), data, GROUPS)
    with pytest.raises(EdgewiseError, match="'none' has no examples"):
        edgewise.measure(model, "ce", data, {"none": torch.zeros(12, dtype=torch.bool)})


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (torch.tensor([3, 12]), r"indices 3 to 12; must be 0 to 11"),
        (torch.tensor([-1, 3]), r"indices -1 to 3; must be 0 to 11"),
        (torch.ones(11, dtype=torch.bool), r"mask of shape \(11,\); must be \(12,\)"),
        (torch.tensor([0.0, 1.0]), "whole numbers"),
        (torch.tensor([[0, 1]]), "whole numbers"),
        (torch.tensor([], dtype=torch.int64), "has no examples"),
    ],
)
def test_members_that_are_not_of_the_data_are_an_error_that_names_the_group(model, data, members, said):
    with pytest.raises(EdgewiseError, match=f"^groups: 'odd' .*{said}"):
        edgewise.measure(model, "mse", data, {"odd": members})


@pytest.mark.parametrize(
    "members", [None, "all", [[0], [1, 2]], {0, 1}, [0, 0, 1], [1, 0, 1, 0], torch.tensor([0, 300])]
)
def test_members_of_any_odd_kind_are_an_error_that_names_the_group(model, data, members):
    with pytest.raises(EdgewiseError, match="^groups: 'odd' "):
        edgewise.measure(model, "mse", data, {"odd": members})


def test_members_may_be_lists_and_arrays(model, data):
    groups = {"list": [0, 5], "array": np.array([0, 5], np.uint8), "mask": np.isin(np.arange(12), [0, 5])}
    found = edgewise.measure(model, "mse", data, groups).groups
    assert found.loc["list"].equals(found.loc["array"])
    assert found.loc["list"].equals(found.loc["mask"])


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (torch.arange(12) % 4, "y is from 0 to 3; must be from 0 to 2"),
        (torch.arange(12) % 3 - 1, "y is from -1 to 1"),
        ((torch.arange(12) % 3).float(), "must be int64"),
        (torch.arange(11) % 3, r"must be int64 \(12,\)"),
        ([0] * 12, "must be two tensors"),
    ],
)
def test_labels_that_are_none_of_the_model_s_are_an_error(model, data, y, said):
    with pytest.raises(EdgewiseError, match=f"^data: .*{said}"):
        edgewise.measure(model, "mse", (data[0], y), GROUPS)


def test_a_mean_of_the_losses_in_the_shape_of_one_is_an_error(model, data):
    with pytest.raises(EdgewiseError, match=r"^loss: gives \(1,\) of 2 examples"):
        edgewise.measure(model, lambda out, y: nn.functional.cross_entropy(out, y)[None], data, GROUPS)


def test_what_is_not_finite_is_an_error_that_names_the_data(model, data):
    x = data[0].clone()
    x[0] = torch.nan
    with pytest.raises(EdgewiseError, match="^data: the loss of the first"):
        edgewise.measure(model, "mse", (x, data[1]), GROUPS)


def test_every_layer_s_mode_is_as_it_was(model, data):
    model.train()
    model[1].eval()
    edgewise.measure(model, "mse", data, GROUPS)
    assert [module.training for module in model] == [True, False, True, True, True]


@pytest.mark.parametrize("wrong", [{"tolerance": 10.0}, {"chunk_size": 0}])
def test_numbers_out_of_range_are_an_error_that_names_the_argument(model, data, wrong):
    with pytest.raises(EdgewiseError, match=f"^{next(iter(wrong))}: was"):
        edgewise.measure(model, "mse", data, GROUPS, **wrong)
