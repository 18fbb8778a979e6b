"""Several ranks against one: the same derivatives to rounding, and what is left when a rank dies."""

import os
import signal
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from edgewise.errors import EdgewiseError
from edgewise.network import ranks
from edgewise.network.models import build_model, initial_theta
from edgewise.network.objective import Objective
from edgewise.network.ranks import leads, rank, run_in_ranks, share
from edgewise.params import ModelParams

SHAPE, EXAMPLES = (1, 3, 3), 11


def everything(loss: str, model: str) -> dict[str, torch.Tensor]:
    """All that an objective gives, of this rank's share of eleven examples and of the groups at either end of them."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(EXAMPLES, *SHAPE, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 2, (EXAMPLES,), generator=generator)
    network = build_model(ModelParams(name=model, width=8, depth=1, activation="tanh"), SHAPE).double()
    theta = initial_theta(network, 1.0, seed=0).double()
    v = torch.randn(len(theta), generator=generator, dtype=torch.float64)
    own = share(EXAMPLES)
    whole = Objective(network, loss, x[own], y[own], chunk_size=3)
    first, last = torch.zeros(EXAMPLES, dtype=torch.bool), torch.tensor([10, 8, 9])
    first[:2] = True
    found = {}
    for name, objective in {"whole": whole, "first": whole.subset(first), "last": whole.subset(last)}.items():
        evaluation = objective.evaluate(theta)
        found |= {
            f"{name} size": torch.tensor(len(objective)),
            f"{name} losses": evaluation.losses.sort().values,  # a list of indices is not in order
            f"{name} correct": evaluation.correct.sum(),
            f"{name} probability": evaluation.label_probability.sort().values,
            f"{name} gradient": evaluation.gradient,
            f"{name} mean": torch.tensor(objective.loss_and_accuracy(theta)),
            f"{name} product": objective.hessian(theta)(v),
            f"{name} projections": objective.projections(theta, v).sort().values,
            f"{name} curvatures": objective.curvatures(theta, v).sort().values,
            f"{name} norms": objective.gradient_norms(theta).sort().values,
            f"{name} third": objective.sharpness_gradient(theta, v),
        }
    return found | {"order": whole.evaluate(theta).losses}


def keep(folder: Path, loss: str, model: str) -> None:
    torch.save(everything(loss, model), folder / f"{rank()}.pt")


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(("loss", "model"), [("mse", "mlp"), ("ce", "cnn")])
def test_ranks_agree_with_each_other_to_the_bit_and_with_one_to_rounding(tmp_path, count, loss, model):
    alone = everything(loss, model)
    run_in_ranks(partial(keep, tmp_path, loss, model), count, "cpu")
    each = [torch.load(tmp_path / f"{number}.pt") for number in range(count)]
    for name, expected in alone.items():
        torch.testing.assert_close(each[0][name], expected, rtol=1e-12, atol=1e-14, msg=name)
        for other in each[1:]:
            assert torch.equal(other[name], each[0][name]), name


def test_more_ranks_than_the_machine_is_meant_to_hold_are_not_started(tmp_path):
    with pytest.raises(EdgewiseError, match=r"^compute.ranks: was 1024; must be at most \d+ on this machine, 4 a core"):
        run_in_ranks(partial(shares_to, tmp_path), 1024, "cpu")
    assert not list(tmp_path.iterdir())


def test_a_rank_whose_parent_has_ended_does_not_begin(tmp_path, monkeypatch):
    monkeypatch.setattr(ranks, "parent_process", lambda: SimpleNamespace(is_alive=lambda: False))
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit):
        ranks._as_rank(0, partial(shares_to, tmp_path), 1, "cpu", tmp_path)
    signal.signal(signal.SIGINT, handler)
    assert not list(tmp_path.iterdir())


def shares_to(folder: Path) -> None:
    (folder / str(rank())).write_text(f"{share(EXAMPLES).start} {share(EXAMPLES).stop} {leads()}")


def test_shares_are_uneven_and_cover_all_examples_once(tmp_path):
    run_in_ranks(partial(shares_to, tmp_path), 3, "cpu")
    assert [(tmp_path / str(number)).read_text() for number in range(3)] == ["0 3 True", "3 7 False", "7 11 False"]
    assert share(EXAMPLES) == slice(0, EXAMPLES)


def die(number: int, how: int) -> None:
    if rank() == number:
        os.kill(os.getpid(), how)
    torch.distributed.barrier()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGINT])
def test_a_rank_that_dies_ends_all_with_one_line(how):
    with pytest.raises(EdgewiseError) as error:
        run_in_ranks(partial(die, 1, how), 3, "cpu")
    assert str(error.value) == (
        f"compute.ranks: rank 1 of 3 died (status {-how}), and all were ended; started again, the run goes on from its"
        " last checkpoint"
    )


def fail() -> None:
    raise EdgewiseError("optimizer.lr: was 4")


def write_nowhere(folder: Path) -> None:
    if leads():
        (folder / "none" / "steps.csv").write_text("")
    torch.distributed.barrier()


def test_an_error_of_the_work_is_that_error(tmp_path):
    with pytest.raises(EdgewiseError, match=r"^optimizer.lr: was 4$"):
        run_in_ranks(fail, 2, "cpu")
    with pytest.raises(EdgewiseError, match=rf"^{tmp_path}/none/steps.csv: No such file or directory$"):
        run_in_ranks(partial(write_nowhere, tmp_path), 2, "cpu")


class EndsWhileItIsAsked:
    """A process that runs when it is first asked for its exit status, and has ended when it is asked again."""

    def __init__(self, status: int) -> None:
        self.statuses = iter([None, *[status] * 9])
        self.sentinel, writing = os.pipe()
        os.close(writing)

    @property
    def exitcode(self) -> int | None:
        return next(self.statuses)


@pytest.mark.parametrize("status", [0, -9])
def test_ranks_that_end_at_any_moment_are_seen(status):
    assert ranks._first_to_end([EndsWhileItIsAsked(status), EndsWhileItIsAsked(status)]) == [status, status]


def stay(folder: Path) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as a rank that is deep in a library
    (folder / str(os.getpid())).write_text("")
    time.sleep(600)


def test_when_it_is_interrupted_no_rank_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(ranks, "PATIENCE", 0.5)

    def interrupt(number: int, frame: object) -> None:
        if len(list(tmp_path.iterdir())) == 2:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    earlier = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_in_ranks(partial(stay, tmp_path), 2, "cpu")
    finally:
        signal.signal(signal.SIGALRM, earlier)
    for rank_of in tmp_path.iterdir():
        assert not Path("/proc", rank_of.name).exists()
