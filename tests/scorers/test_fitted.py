"""What all scorers have in common that are fitted to labelled images."""

import copy
import json

import pytest
import torch

from owseg.errors import OwsegError
from owseg.labels import IGNORE, KNOWN, UNKNOWN
from owseg.scorers import SCORERS, fitted_names
from owseg.types import Output
from tests.support.outputs import each, labelled, network

NAMES = fitted_names()


def make(name, **options):
    return SCORERS[name].make(network(), **options)


def batches(*seeds):
    return [labelled(s) for s in seeds]


@pytest.mark.parametrize("name", NAMES)
def test_the_score_is_finite_and_each_image_s_own(name):
    scorer = make(name).fit(batches(0, 1, 2))
    output, _ = labelled(9)
    whole = scorer(output)
    assert whole.shape == (2, 6, 8) and whole.dtype == torch.float32 and torch.isfinite(whole).all()
    for one, part in zip(whole, each(output), strict=True):
        torch.testing.assert_close(scorer(part)[0], one, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_does_not_depend_on_the_split_into_batches(name):
    whole = make(name).fit(batches(0, 1, 2))
    parts = make(name).fit([part for batch in batches(0, 1, 2) for part in each(*batch)])
    torch.testing.assert_close(parts.state_dict(), whole.state_dict(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"joint"}))
def test_one_pass_over_the_data_is_enough(name):
    once = make(name).fit(batch for batch in batches(0, 1))
    torch.testing.assert_close(once.state_dict(), make(name).fit(batches(0, 1)).state_dict())


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_is_all_in_its_state_and_its_config(name):
    scorer = make(name).fit(batches(0))
    fresh = SCORERS[name].make(network(), **json.loads(json.dumps(scorer.config)))
    with pytest.raises(OwsegError, match="not fitted"):
        fresh(labelled(1)[0])
    fresh.load_state_dict(scorer.state_dict())
    assert torch.equal(fresh(labelled(1)[0]), scorer(labelled(1)[0]))
    assert not list(scorer.parameters())
    assert all(torch.isfinite(v).all() for v in scorer.state_dict().values())


@pytest.mark.parametrize("name", NAMES)
def test_config_has_every_argument(name):
    options = {o: 2 if o in ("level", "k") else 0.5 if o == "shrinkage" else 40 for o in SCORERS.entries[name].options}
    scorer = make(name, **options)
    assert {o: scorer.config[o] for o in options} == options
    again = SCORERS[name].make(network(channels=(9, 9), classes=9), **scorer.config)
    assert again.config == scorer.config
    assert {n: v.shape for n, v in again.state_dict().items()} == {n: v.shape for n, v in scorer.state_dict().items()}


@pytest.mark.parametrize("value", [network().num_classes, 100, KNOWN, UNKNOWN])
@pytest.mark.parametrize("name", NAMES)
def test_ids_beyond_the_network_s_classes_are_void(name, value):
    """A class that was learned later has the next id; it is no class of the network."""
    output, target = labelled(0)
    other, void = target.clone(), target.clone()
    other[:, 2:4], void[:, 2:4] = value, IGNORE
    found, expected = make(name).fit([(output, other)]), make(name).fit([(output, void)])
    torch.testing.assert_close(found.state_dict(), expected.state_dict(), rtol=0, atol=0)
    assert not all(torch.equal(v, found.state_dict()[n]) for n, v in make(name).fit(batches(0)).state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_fitting_twice_forgets_the_first_fit(name):
    twice = make(name).fit(batches(0, 2)).fit(batches(1))
    torch.testing.assert_close(twice.state_dict(), make(name).fit(batches(1)).state_dict())


@pytest.mark.parametrize("name", NAMES)
def test_held_out_images_are_used_by_joint_alone(name):
    own, other = (make(name).fit(batches(0, 1), held).state_dict() for held in (None, batches(5)))
    same = all(torch.equal(own[n], other[n]) for n in own)
    assert same == (name != "joint")
    if name == "joint":  # its distance is still that of the training images
        assert all(torch.equal(own[n], other[n]) for n in own if n.startswith("mahalanobis."))


@pytest.mark.parametrize("name", NAMES)
def test_features_and_logits_far_from_every_class_score_higher(name):
    scorer, known = make(name).fit(batches(0, 1, 2)), labelled(9)[0]
    shift = [torch.tensor(v).view(-1, 1, 1) for v in ([-12.0, 12.0], [12.0, -12.0, 0.0])]
    features = tuple(f + s for f, s in zip(known.features, shift, strict=True))
    away = Output(features, -known.embedding, 2 * known.logits - 10)
    assert scorer(away).median() > scorer(known).quantile(0.8)


@pytest.mark.parametrize("name", NAMES)
def test_scoring_changes_nothing(name):
    scorer, output = make(name).fit(batches(0)), labelled(1)[0]
    before, kept = copy.deepcopy(scorer.state_dict()), copy.deepcopy(output)
    assert torch.equal(scorer(output), scorer(output))
    assert all(torch.equal(v, before[n]) for n, v in scorer.state_dict().items())
    for a, b in zip((*output.features, output.embedding, output.logits), (*kept.features, kept.embedding, kept.logits),
                    strict=True):  # fmt: skip
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_bad_training_data_are_named(name):
    output, target = labelled(0)
    for nothing in ([(output, torch.full_like(target, IGNORE))], []):
        with pytest.raises(OwsegError, match="labelled with a known class"):
            make(name).fit(nothing)
    with pytest.raises(OwsegError, match="must be \\(B, H, W\\) with B = 2"):
        make(name).fit([(output, target[0])])
    bad = Output(tuple(f * float("nan") for f in output.features), output.embedding, output.logits * float("nan"))
    with pytest.raises(OwsegError, match="NaN or infinite"):
        make(name).fit([(bad, target)])


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"sml"}))
def test_another_pyramid_is_named(name):
    output, target = labelled(0)
    narrow = Output((output.features[0][:, :1], output.features[0][:, 1:]), output.embedding, output.logits)
    with pytest.raises(OwsegError, match="made for 5 channels and the pyramid has 2"):
        make(name).fit([(narrow, target)])
