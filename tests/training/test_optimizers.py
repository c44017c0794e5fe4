"""Optimizers and schedules: each is what its name says, and every training takes those of its settings."""

from dataclasses import replace

import pytest
import torch

from owseg.knowledge.base import KnowledgeBase
from owseg.labels import LabelSpace
from owseg.training.config import LoopConfig, NegativeConfig, TrainConfig
from owseg.training.negative import train_negative
from owseg.training.optimizers import made_optimizer, made_schedule
from owseg.training.residual import train_residual
from owseg.training.segmentation import train
from tests.support import tiny
from tests.support.outliers import FAST, inlier_images, objects

LR, DECAY = 0.1, 0.2


def stepped(name, gradients, betas=(0.9, 0.999)):
    """The values of a weight that begins at 1 after a step for each of ``gradients``."""
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = made_optimizer([weight], LoopConfig(optimizer=name, lr=LR, weight_decay=DECAY), betas)
    values = []
    for gradient in gradients:
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        values.append(weight.item())
    return values


def by_hand(name, gradients, betas=(0.9, 0.999)):
    """The same, written out."""
    w, first, second, values = 1.0, 0.0, 0.0, []
    for step, gradient in enumerate(gradients, 1):
        if name == "sgd":
            g = gradient + DECAY * w
            first = g if step == 1 else 0.9 * first + g
            w -= LR * first
        else:
            g = gradient + (DECAY * w if name == "adam" else 0)
            w -= LR * DECAY * w if name == "adamw" else 0
            first, second = betas[0] * first + (1 - betas[0]) * g, betas[1] * second + (1 - betas[1]) * g * g
            w -= LR * (first / (1 - betas[0] ** step)) / ((second / (1 - betas[1] ** step)) ** 0.5 + 1e-8)
        values.append(w)
    return values


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_an_optimizer_steps_as_its_name_says(name):
    gradients = (0.5, -0.2, 0.7)
    assert stepped(name, gradients) == pytest.approx(by_hand(name, gradients), rel=1e-9)
    if name != "sgd":
        assert stepped(name, gradients, (0.5, 0.9)) == pytest.approx(by_hand(name, gradients, (0.5, 0.9)), rel=1e-9)


def rates(schedule, steps, taken):
    """The rates of two groups at the first steps."""
    weights = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    groups = [{"params": [w], "lr": lr} for w, lr in zip(weights, (0.2, 0.01), strict=True)]
    config = LoopConfig(optimizer="sgd", schedule=schedule)
    optimizer = made_optimizer(groups, config)
    made, found = made_schedule(optimizer, config, steps), []
    for _ in range(taken):
        found.append(tuple(group["lr"] for group in optimizer.param_groups))
        optimizer.step()
        made.step()
    return found


def test_poly_falls_by_a_power_of_nine_tenths():
    expected = [tuple(lr * (1 - step / 8) ** 0.9 for lr in (0.2, 0.01)) for step in range(8)]
    assert rates("poly", 8, 8) == [pytest.approx(pair) for pair in expected]


def test_a_cycle_rises_in_the_first_fifth_to_the_rate_of_each_group():
    found = rates("cycle", 20, 20)
    tops = [max(range(20), key=lambda step: found[step][group]) for group in range(2)]
    assert tops == [3, 3] and found[3] == pytest.approx((0.2, 0.01)) and found[-1][0] < 1e-3
    assert len(rates("cycle", 2, 2)) == 2  # shorter than a cycle can be


class Reached(Exception):
    """Raised in place of a training, with its task."""


GIVEN = {"optimizer": "sgd", "schedule": "poly", "weight_decay": 0.3}
TRAININGS = {
    "segmentation": lambda run: train(
        tiny.network(kind="resnet"), tiny.dataset(), tiny.dataset(),
        TrainConfig(mode="tuned", batch=2, crop=(32, 32), lr=0.07, backbone_lr=0.02, variance_weight=0.5,
                    dce_weight=0.25, **GIVEN), run,
    ),
    "residual": lambda run: train_residual(
        KnowledgeBase(tiny.network(kind="resnet", classifier="linear"), LabelSpace.of(["road", "sky", "tree"])),
        inlier_images(4), inlier_images(1), objects(), None, replace(FAST, lr=0.02, final_lr=0.07, **GIVEN), run,
    ),
    "negative": lambda run: train_negative(
        tiny.knowledge_base(kind="resnet", classifier="linear"), inlier_images(4), inlier_images(1), objects(),
        NegativeConfig(batch=2, crop=(48, 64), width=8, members=1, lr=0.07, **GIVEN), run,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_takes_the_optimizer_and_the_rates_of_its_settings(name, monkeypatch, tmp_path):
    def stop(fabric, task, config, checkpoint):
        raise Reached(task, config)

    monkeypatch.setattr(f"owseg.training.{name}.loop", stop)
    with pytest.raises(Reached) as reached:
        TRAININGS[name](tmp_path)
    task, config = reached.value.args
    groups = task.optimizer.param_groups
    assert isinstance(task.optimizer, torch.optim.SGD) and config.schedule == "poly"
    assert all(group["momentum"] == 0.9 for group in groups)
    assert {group["lr"] for group in groups} == ({0.07} if name == "negative" else {0.07, 0.02})
    assert {group["weight_decay"] for group in groups} == ({0.3, 0.0} if name == "segmentation" else {0.3})
    if name == "segmentation":
        assert task.objective.weights == {"variance_weight": 0.5, "dce_weight": 0.25}
    if name == "residual":
        last = {id(p) for p in task.kept.final.parameters()}
        assert {id(p) for group in groups if group["lr"] == 0.07 for p in group["params"]} == last
