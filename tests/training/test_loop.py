"""The loop: which weights it keeps, when it validates, what it writes, and how it goes on."""

import csv
import json
from dataclasses import replace

import lightning_fabric as lightning
import pytest
import torch

from owseg.errors import OwsegError
from owseg.training.checkpoint import Checkpoint, RunLog
from owseg.training.config import LoopConfig
from owseg.training.input import Batches
from owseg.training.loop import Task, loop

CONFIG = LoopConfig(epochs=4, validate_every=1)


class Objective(torch.nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module, self.modes, self.draws = module, [], []

    def forward(self, batch):
        self.modes.append(self.training)
        self.draws.append(torch.rand(1).item())
        return self.module(batch).square().mean()


def batches(steps, value=None):
    """One image a step, whose values are the number of the epoch, or ``value``."""
    config = LoopConfig(batch=1)
    return Batches(steps, lambda epoch, i, rng: (torch.full((2,), float(value or epoch + 1)),), config)


def task(validate=lambda module: 0.5, steps=1, seed=0, **changes):
    torch.manual_seed(seed)
    module = torch.nn.Linear(2, 1)
    made = Task(
        objective=Objective(module),
        optimizer=torch.optim.SGD(module.parameters(), 0.1),
        batches=batches(steps),
        kept=module,
        validate=lambda: validate(module),
        metric="mean IoU",
    )
    return replace(made, **changes)


def run(made, folder, config=CONFIG, **options):
    return loop(lightning.Fabric(devices=1), made, config, Checkpoint(folder, "test", **options))


def rows(folder):
    return list(csv.DictReader((folder / "metrics.csv").open()))


def test_the_weights_kept_are_those_of_the_best_score(tmp_path):
    found, scores = [], [0.2, 0.9, 0.1, 0.9]

    def validate(module):
        assert not module.training
        found.append(module.weight.detach().clone())
        return scores[len(found) - 1]

    best, score = run(task(validate), tmp_path)
    assert len(found) == 4 and not torch.equal(found[1], found[3])
    assert score == 0.9 and torch.equal(best["weight"], found[1])  # of equals the first
    assert [float(r["val_mean_iou"]) for r in rows(tmp_path)] == scores


@pytest.mark.parametrize("epochs", range(1, 13))
def test_a_training_may_be_of_any_length(tmp_path, epochs):
    assert run(task(), tmp_path, replace(CONFIG, epochs=epochs))[1] == 0.5


@pytest.mark.parametrize(("every", "epochs", "expected"), [(1, 3, [1, 2, 3]), (2, 5, [2, 4, 5]), (9, 4, [4])])
def test_it_validates_every_so_many_epochs_and_after_the_last(tmp_path, every, epochs, expected):
    run(task(), tmp_path, replace(CONFIG, epochs=epochs, validate_every=every))
    assert [int(r["epoch"]) for r in rows(tmp_path) if r["val_mean_iou"]] == expected
    assert [int(r["epoch"]) for r in rows(tmp_path)] == list(range(1, epochs + 1))


def test_each_step_follows_one_cycle_of_learning_rates(tmp_path):
    rates, made = [], task(steps=5)
    made = replace(made, after_step=lambda: rates.append(made.optimizer.param_groups[0]["lr"]))
    run(made, tmp_path)
    assert len(rates) == 20 and max(rates) == pytest.approx(0.1, rel=0.05) and 1 < rates.index(max(rates)) < 6
    assert rates[-1] < 1e-3 and all(made.objective.modes)


def test_the_loss_of_an_epoch_is_the_mean_of_its_steps(tmp_path):
    losses = iter([1.0, 3.0, 5.0, 7.0])

    class Given(Objective):
        def forward(self, batch):
            return 0 * super().forward(batch) + next(losses)

    made = task(steps=2)
    run(replace(made, objective=Given(made.kept)), tmp_path, replace(CONFIG, epochs=2))
    assert [float(r["loss"]) for r in rows(tmp_path)] == [2.0, 6.0]


def test_a_step_of_several_batches_has_the_mean_of_their_losses_and_gradients(tmp_path):
    """As one step with a batch that holds them all, and one step of the schedule."""
    weights, rates = [], []
    for batch, accumulated in ((4, 1), (1, 4), (2, 2)):
        config = LoopConfig(batch=batch, accumulate_grad_batches=accumulated)
        view = lambda epoch, i, rng: (torch.full((2,), float(i + epoch)),)  # noqa: E731
        made = replace(task(), batches=Batches(9, view, config))
        made = replace(made, after_step=lambda made=made: rates.append(made.optimizer.param_groups[0]["lr"]))
        best, _ = run(made, tmp_path / str(batch), replace(CONFIG, epochs=2))
        weights.append((best["weight"], [float(row["loss"]) for row in rows(tmp_path / str(batch))]))
    for weight, losses in weights[1:]:
        assert torch.allclose(weight, weights[0][0], rtol=1e-5) and losses == pytest.approx(weights[0][1], rel=1e-5)
    assert len(rates) == 12 and rates[:4] == rates[4:8] == rates[8:]


@pytest.mark.parametrize("seeds", [(0, 0), (0, 1)])
def test_what_is_random_depends_on_the_seed(tmp_path, seeds):
    drawn = []
    for number, seed in enumerate(seeds):
        made = task()
        torch.rand(number)  # whatever the state is before must not matter
        run(made, tmp_path / str(number), replace(CONFIG, seed=seed))
        drawn.append(made.objective.draws)
    assert len(set(drawn[0])) == 4 and (drawn[0] == drawn[1]) == (seeds[0] == seeds[1])


def test_a_score_that_is_nan_ends_the_training(tmp_path):
    with pytest.raises(OwsegError, match=r"validation images have no pixels to compute mean IoU from; give others\."):
        run(task(lambda module: float("nan")), tmp_path)
    assert not (tmp_path / "last.ckpt").exists()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_training_before_its_step(tmp_path, bad):
    made = task()
    before = made.kept.weight.detach().clone()
    with pytest.raises(OwsegError, match="the loss is not finite in epoch 1; lower the learning rate"):
        run(replace(made, batches=batches(1, bad)), tmp_path)
    assert torch.equal(made.kept.weight, before)


# ---- the checkpoint


class Stop(Exception):
    pass


def stopped(folder, after, made):
    """Run until so many checkpoints are written."""
    validated = []

    def validate():
        validated.append(1)
        if len(validated) > after:
            raise Stop
        return made.validate()

    with pytest.raises(Stop):
        run(replace(made, validate=validate), folder)


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_stopped_run_ends_like_one_that_was_never_stopped(tmp_path, after):
    def score(module):
        return float(-module.weight.detach().square().sum())

    whole = run(task(score, steps=3), tmp_path / "whole")
    stopped(tmp_path / "parts", after, task(score, steps=3))
    again = task(score, steps=3, seed=9)  # what it begins with must not matter
    resumed = run(again, tmp_path / "parts", resume=True)
    assert resumed[1] == whole[1] and all(torch.equal(v, resumed[0][n]) for n, v in whole[0].items())
    assert [r["loss"] for r in rows(tmp_path / "parts")] == [r["loss"] for r in rows(tmp_path / "whole")]
    assert len(again.objective.draws) == 3 * (4 - after)


def test_more_modules_are_kept_and_brought_back(tmp_path):
    more, other = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    run(task(), tmp_path, more={"more": more})
    run(task(), tmp_path, resume=True, more={"more": other})
    assert torch.equal(more.weight, other.weight)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "does not exist; there is no run to resume"),
        (lambda path: path.write_bytes(b"nothing"), "is no checkpoint, or a damaged one; train from the start"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "is no checkpoint, or a damaged one"),
        (lambda path: torch.save([1], path), "is no checkpoint, or a damaged one"),
        (lambda path: torch.save({"identity": "other"}, path), "other settings or data; resume"),
        (lambda path: torch.save({}, path), "other settings or data"),
    ],
)
def test_what_cannot_be_resumed_ends_in_one_sentence(tmp_path, spoil, message):
    run(task(), tmp_path)
    spoil(tmp_path / "last.ckpt")
    with pytest.raises(OwsegError, match=message) as caught:
        run(task(), tmp_path, resume=True)
    assert "last.ckpt" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("before", "now", "what"), [
    ({"epochs": 40, "lr": 1}, {"epochs": 4, "lr": 2}, "data (epochs: 40, not 4); resume"),
    ({"data": "a"}, {"data": "a", "negative": True}, "data (negative: None, not True); resume"),
    ({"network": {"a": 1, "b": 2, "c": 3}}, {"network": {"a": 1}}, "data (network); resume"),
])  # fmt: skip
def test_what_differs_from_the_run_before_is_said(tmp_path, before, now, what):
    torch.save({"identity": json.dumps(before)}, tmp_path / "last.ckpt")
    with pytest.raises(OwsegError) as caught:
        Checkpoint(tmp_path, json.dumps(now)).load(lightning.Fabric(devices=1), {})
    assert what in str(caught.value)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    run(task(), tmp_path)
    before = (tmp_path / "last.ckpt").read_bytes()

    def full(state, path):
        path.write_bytes(b"half")
        raise RuntimeError("unexpected pos: no space\nmore")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(
        OwsegError, match=r"last\.ckpt cannot be written \(unexpected pos: no space\); make room and continue with"
    ):
        run(task(), tmp_path)
    assert (tmp_path / "last.ckpt").read_bytes() == before and not (tmp_path / "last.ckpt.new").exists()
    (tmp_path / "last.ckpt").unlink()  # then there is no run to resume
    with pytest.raises(OwsegError, match="make room and train again"):
        run(task(), tmp_path)


def test_a_log_keeps_the_epochs_before(tmp_path):
    first = RunLog(tmp_path, ("loss", "val"))
    for epoch in (1, 2, 3):
        first.write(epoch, {"loss": epoch / 3})
    RunLog(tmp_path, ("loss", "val"), done=2).write(3, {"loss": 9.0, "val": 0.5})
    assert [(r["epoch"], r["loss"], r["val"]) for r in rows(tmp_path)] == [
        ("1", "0.333333", ""), ("2", "0.666667", ""), ("3", "9", "0.5"),
    ]  # fmt: skip
    RunLog(tmp_path, ("loss", "val"))
    assert rows(tmp_path) == [] and len(list(tmp_path.glob("events.*"))) >= 1


def test_values_can_be_compared():
    one = task()
    assert one != replace(one) and len({one, one}) == 1 and Checkpoint(None, "a") != Checkpoint(None, "a")
