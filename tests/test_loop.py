import lightning_fabric as lightning
import torch

from owseg.loop import loop
from owseg.train import TrainConfig


def test_the_weights_kept_are_those_of_the_best_verdict(tmp_path):
    module, seen, verdicts = torch.nn.Linear(2, 1), [], [0.2, 0.9, 0.1, 0.9]

    def judge():
        seen.append(module.weight.detach().clone())
        return verdicts[len(seen) - 1]

    best, verdict = loop(
        lightning.Fabric(devices=1), torch.nn.Sequential(module, torch.nn.Flatten(0)),
        torch.optim.SGD(module.parameters(), 0.1), TrainConfig(epochs=4, validate_every=1), tmp_path, steps=1,
        batches=lambda epoch: [(torch.ones(1, 2),)], kept=module, judge=judge, figure="AP", what="a test",
    )  # fmt: skip
    assert len(seen) == 4 and not torch.equal(seen[1], seen[3])
    assert verdict == 0.9 and torch.equal(best["weight"], seen[1])  # of equals the first
    rows = (tmp_path / "metrics.csv").read_text().splitlines()
    assert rows[0] == "epoch,loss,seconds,val_ap" and len(rows) == 5
