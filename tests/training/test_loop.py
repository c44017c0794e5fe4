import lightning_fabric as lightning
import pytest
import torch

from owseg.errors import OwsegError
from owseg.training.config import TrainConfig
from owseg.training.loop import loop


def ran(run, epochs, validate):
    module = torch.nn.Linear(2, 1)
    return loop(
        lightning.Fabric(devices=1), torch.nn.Sequential(module, torch.nn.Flatten(0)),
        torch.optim.SGD(module.parameters(), 0.1), TrainConfig(epochs=epochs, validate_every=1), run, steps=1,
        batches=lambda epoch: [(torch.ones(1, 2),)], kept=module, validate=lambda: validate(module), figure="AP",
        what="test",
    )  # fmt: skip


def test_the_weights_kept_are_those_of_the_best_value(tmp_path):
    seen, values = [], [0.2, 0.9, 0.1, 0.9]

    def validate(module):
        seen.append(module.weight.detach().clone())
        return values[len(seen) - 1]

    best, value = ran(tmp_path, 4, validate)
    assert len(seen) == 4 and not torch.equal(seen[1], seen[3])
    assert value == 0.9 and torch.equal(best["weight"], seen[1])  # of equals the first
    rows = (tmp_path / "metrics.csv").read_text().splitlines()
    assert rows[0] == "epoch,loss,seconds,val_ap" and len(rows) == 5


@pytest.mark.parametrize("epochs", range(1, 13))
def test_a_training_may_be_of_any_length(tmp_path, epochs):
    assert ran(tmp_path, epochs, lambda module: 0.5)[1] == 0.5


def test_a_value_that_is_no_number_ends_the_training(tmp_path):
    with pytest.raises(OwsegError, match=r"nothing to judge by \(AP\); give others"):
        ran(tmp_path, 2, lambda module: float("nan"))
    assert not (tmp_path / "last.ckpt").exists()
