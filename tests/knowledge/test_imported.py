"""The authors' files as knowledge bases: classes, learned heads, residual; and files that are none of theirs."""

import json
import os
import pickle
import re

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from owseg.data.datasets.cityscapes import CITYSCAPES
from owseg.errors import OwsegError
from owseg.knowledge.imported import DEEPLAB_CLASSES, PSP_CLASSES, import_network
from owseg.knowledge.load import load
from owseg.labels import LabelSpace
from tests.reference import paper_networks as reference
from tests.support import tiny
from tests.support.published_files import deeplab_file, psp_files, rpl_file

SIZE = (48, 64)
MEAN, STD = (torch.tensor(v).double().view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def normalised():
    return (torch.from_numpy(tiny.image(size=SIZE)).double()[None] / 255 - MEAN) / STD


def distances(embedding):
    """Negative squared distances to prototypes of length 3, one by one."""
    prototypes = 3 * torch.eye(embedding.shape[1], dtype=torch.float64)
    return -torch.stack([(embedding - m.view(1, -1, 1, 1)).square().sum(1) for m in prototypes], 1)


def psp(folder):
    psp_files(folder)
    return f"dmlnet:{folder}"


def deeplab(folder):
    deeplab_file(folder / "latest.pth", 16, learned=3)
    return f"dmlnet:{folder / 'latest.pth'}"


def rpl(folder):
    rpl_file(folder / "rpl.pth")
    return f"rpl:{folder / 'rpl.pth'}"


ROWS = {"psp": psp, "deeplab": deeplab, "rpl": rpl}


def test_dmlnet_of_streethazards_has_its_classes_and_measures_its_distances(tmp_path):
    states = psp_files(tmp_path)
    kb = import_network(f"dmlnet:{tmp_path}")
    assert kb.labels.names[:2] == ("unlabeled", "building") and len(kb.labels) == 13
    assert dict(zip(kb.labels.names, kb.labels.colors, strict=True))["car"] == (0, 0, 142)
    assert kb.scorer == "eds" and kb.history[-1].action == "import" and kb.residual is None
    expected = distances(reference.dmlnet_psp(*states, normalised()))
    output = kb.forward(tiny.image(size=SIZE))
    torch.testing.assert_close(output.logits.double(), expected, rtol=1e-4, atol=1e-3)
    files = f"{tmp_path / 'encoder_epoch_20.pth'},{tmp_path / 'decoder_epoch_20.pth'}"
    assert import_network(f"dmlnet:{files}").fingerprint() == kb.fingerprint()
    assert str(tmp_path) not in json.dumps(kb.history[-1].message)


def test_dmlnet_of_cityscapes_has_the_heads_that_it_learned_in_their_order(tmp_path):
    path = tmp_path / "latest.pth"
    state = deeplab_file(path, 16, learned=3)
    kb = import_network(f"dmlnet:{path}")
    assert kb.base_classes == tuple(n for n in CITYSCAPES.names if n not in ("car", "truck", "bus"))
    assert kb.learned_classes == ("car", "truck", "bus")
    assert all(
        c == CITYSCAPES.colors[CITYSCAPES.index(n)] for n, c in zip(kb.labels.names, kb.labels.colors, strict=True)
    )
    labels = None
    for i, head in enumerate(("classifier", "classifier_1", "classifier_2", "classifier_3")):
        logits = distances(reference.dmlnet_deeplab(state, normalised(), head))
        own = reference.enlarged(logits, SIZE).argmax(1)
        labels = own if labels is None else torch.where(own == 15 + i, 15 + i, labels)
    assert {16, 17, 18} < set(labels.unique().tolist()) and (labels < 16).any()
    found = kb.assess(kb.forward(tiny.image(size=SIZE)), SIZE).labels
    assert (found == labels[0].numpy()).mean() > 0.998  # but where two are equal up to rounding


def test_the_score_of_rpl_is_the_smoothed_energy_of_its_residual_logits_at_the_size_of_the_image(tmp_path):
    """Smoothed as in the release, 7 pixels wide; the energy itself is the score ``rpl``."""
    path = tmp_path / "rpl.pth"
    state = rpl_file(path)
    kb = import_network(f"rpl:{path}")
    assert kb.labels == CITYSCAPES and kb.scorer == "rpl:smooth=7"
    frozen, changed = reference.rpl_network(state, normalised())
    output = kb.forward(tiny.image(size=SIZE))
    assessed, plain = kb.assess(output, SIZE), kb.assess(output, SIZE, ("rpl",))
    energy = -changed.exp().sum(1).log()[0].numpy()
    smooth = gaussian_filter(energy, 1.0, mode="mirror", radius=3)
    np.testing.assert_allclose(assessed.scores[kb.scorer], smooth, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(plain.scores["rpl"], energy, rtol=1e-4, atol=1e-3)
    assert np.abs(energy - smooth).max() > 0.05
    assert (assessed.labels == frozen.argmax(1)[0].numpy()).mean() > 0.998
    assert np.abs(energy + frozen.logsumexp(1)[0].numpy()).max() > 0.1


@pytest.mark.parametrize("name", ROWS)
def test_it_is_stored_and_loads_as_it_was(name, tmp_path):
    kb = import_network(ROWS[name](tmp_path))
    kb.save(tmp_path / "kb")
    again, image = load(tmp_path / "kb"), tiny.image(size=SIZE)
    assert again.fingerprint() == kb.fingerprint() and again.labels == kb.labels and again.scorer == kb.scorer
    first, second = (k.assess(k.forward(image), SIZE) for k in (kb, again))
    assert np.array_equal(first.labels, second.labels)
    assert np.array_equal(first.scores[kb.scorer], second.scores[kb.scorer])


@pytest.mark.parametrize("wrapped", [
    lambda state: state,
    lambda state: {"state_dict": {f"module.{n}": t for n, t in state.items()}, "epoch": 3},
    lambda state: {"model": {f"module.branch1.{n}": t for n, t in state.items()}, "optimizer": {}},
    lambda state: {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")},
])  # fmt: skip
def test_however_the_tensors_are_wrapped_the_network_is_the_same(wrapped, tmp_path):
    state = rpl_file(tmp_path / "rpl.pth")
    torch.save(wrapped(state), tmp_path / "other.pth")
    first, second = (import_network(f"rpl:{tmp_path / name}.pth") for name in ("rpl", "other"))
    assert torch.equal(first.forward(tiny.image()).residual, second.forward(tiny.image()).residual)


@pytest.mark.parametrize(("count", "left_out"), [
    (13, None), (19, ()), (17, ("train", "motorcycle")), (16, ("train", "motorcycle", "bicycle")),
])  # fmt: skip
def test_the_classes_of_a_pspnet_follow_from_their_number(count, left_out, tmp_path):
    psp_files(tmp_path, count)
    names = import_network(f"dmlnet:{tmp_path}").labels.names
    assert names == PSP_CLASSES[count].names and len(names) == count
    assert left_out is None or names == tuple(n for n in CITYSCAPES.names if n not in left_out)


def test_other_classes_are_named_all_of_them_those_that_were_learned_last(tmp_path):
    deeplab_file(tmp_path / "own.pth", 3, learned=1)
    spec = f"dmlnet:{tmp_path / 'own.pth'}"
    kb = import_network(spec, LabelSpace.of(("road", "sky", "tree", "cow")))
    assert kb.base_classes == ("road", "sky", "tree") and kb.learned_classes == ("cow",)
    with pytest.raises(OwsegError, match="the network has 4 classes, not 3; give the names of all"):
        import_network(spec, LabelSpace.of(("road", "sky", "tree")))
    with pytest.raises(OwsegError, match=r"own.pth has 3 classes, not one of 19, 16, whose names are known"):
        import_network(spec)
    assert set(DEEPLAB_CLASSES) == {19, 16}


def test_a_published_network_of_any_other_kind(tmp_path):
    config = SegformerConfig(**tiny.CONFIGS["segformer"], decoder_hidden_size=24, id2label={0: "road", 1: "sky"})
    SegformerForSemanticSegmentation(config).save_pretrained(tmp_path)
    assert import_network(f"hf:{tmp_path}").labels.names == ("road", "sky")
    other = LabelSpace.of(("ground", "air"))
    assert import_network(f"hf:{tmp_path}", other).labels == other
    with pytest.raises(OwsegError, match="the network has 2 classes, not 1"):
        import_network(f"hf:{tmp_path}", LabelSpace.of(("ground",)))


@pytest.mark.parametrize("spec", ["street", "dmlnet:", "rpl", "other:file.pth"])
def test_what_names_no_network(spec):
    with pytest.raises(
        OwsegError, match="names no network to import; give KIND:PLACE, where KIND is one of dmlnet, rpl"
    ):
        import_network(spec)


class Code:
    """Unpickled, it would make a folder."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


def test_a_file_that_asks_for_code_is_not_opened(tmp_path):
    torch.save({"model": {"mod1.conv1.weight": torch.zeros(1)}, "more": Code(tmp_path / "made")}, tmp_path / "bad.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Code(tmp_path / "made"), protocol=2))
    for name in ("bad", "old"):
        with pytest.raises(OwsegError, match=rf"{name}.pth asks for code \(.*mkdir\) and was not opened"):
            import_network(f"rpl:{tmp_path / name}.pth")
    assert not (tmp_path / "made").exists()


def broken(folder, change):
    """Store RPL's file with another state, and return its name for ``import_network``."""
    state = rpl_file(folder / "rpl.pth")
    change(state)
    torch.save({"model": {f"branch1.{name}": tensor for name, tensor in state.items()}}, folder / "rpl.pth")
    return f"rpl:{folder / 'rpl.pth'}"


@pytest.mark.parametrize(("name", "value", "why"), [
    ("mod4.block2.convs.conv1.weight", None, "mod4.block2.convs.conv1.weight is missing"),
    ("final.6.weight", None, "final.6.weight is missing"),
    ("aspp.img_conv.1.running_var", None, "aspp.img_conv.1.running_var is missing"),
    ("residual_block.atten_aspp_final.weight", None, "residual_block.atten_aspp_final.weight is missing"),
    ("residual_block.proj_head.proj.0.bias", None, "residual_block.proj_head.proj.0.bias is missing"),
    ("mod8.conv.weight", torch.zeros(1), "mod8.conv.weight is left over"),
    ("aspp.features.4.0.weight", torch.zeros(1), "aspp.features.4.0.weight is left over"),
    ("bot_aspp.weight", torch.zeros(4, 16, 1, 1), "bot_aspp.weight is 4x16x1x1, not 4x20x1x1"),
    ("bot_aspp.weight", torch.zeros(()), "bot_aspp.weight is one number, not 4x20x1x1"),
    ("final.6.weight", torch.zeros(()), "final.6.weight is missing"),
    ("residual_block.more.weight", torch.zeros(1), "residual_block.more.weight is left over"),
])  # fmt: skip
def test_a_tensor_that_is_missing_left_over_or_of_another_shape_is_named(name, value, why, tmp_path):
    def change(state):
        state.pop(name, None)
        if value is not None:
            state[name] = value

    with pytest.raises(
        OwsegError, match=re.escape(f"rpl.pth does not hold the weights of a DeepLabV3+ of RPL ({why}).")
    ):
        import_network(broken(tmp_path, change))


@pytest.mark.parametrize(("part", "name", "value", "why"), [
    ("encoder", "layer3.1.bn2.weight", None, "layer3.1.bn2.weight is missing"),
    ("encoder", "fc.weight", torch.zeros(2, 2), "fc.weight is left over"),
    ("decoder", "ppm.2.1.weight", None, "ppm.2.1.weight is missing"),
    ("decoder", "ppm.4.1.weight", torch.zeros(1), "ppm.4.1.weight is left over"),
])  # fmt: skip
def test_of_two_files_the_one_that_does_not_fit_is_named(part, name, value, why, tmp_path):
    psp_files(tmp_path)
    path = tmp_path / f"{part}_epoch_20.pth"
    state = {n: t for n, t in torch.load(path).items() if n != name}
    torch.save(state | ({} if value is None else {name: value}), path)
    with pytest.raises(OwsegError, match=re.escape(f"{path} does not hold the weights of a PSPNet of DMLNet ({why})")):
        import_network(f"dmlnet:{tmp_path}")


def test_a_head_without_one_of_its_tensors(tmp_path):
    path = tmp_path / "latest.pth"
    state = deeplab_file(path, 16, learned=2)
    del state["classifier_2.aspp.convs.4.1.weight"]
    torch.save({"model_state": state}, path)
    with pytest.raises(OwsegError, match=r"\(classifier_2.aspp.convs.4.1.weight is missing\)"):
        import_network(f"dmlnet:{path}")


def test_a_head_that_does_not_follow_on_the_one_before_it(tmp_path):
    path = tmp_path / "latest.pth"
    state = deeplab_file(path, 16, learned=2)
    torch.save({n: t for n, t in state.items() if not n.startswith("classifier_1.")}, path)
    with pytest.raises(OwsegError, match=r"\(classifier_2.*is left over\)"):
        import_network(f"dmlnet:{path}")
    moved = {n.replace("classifier_2.", "classifier_1."): t for n, t in torch.load(path).items()}
    torch.save(moved, path)
    with pytest.raises(OwsegError, match="has a head classifier_1 of 18 classes, which is not one more than before"):
        import_network(f"dmlnet:{path}")


def test_files_that_are_of_another_network_or_no_file_of_tensors(tmp_path):
    rpl_file(tmp_path / "rpl.pth"), deeplab_file(tmp_path / "dml.pth")
    for spec, why in (
        (f"dmlnet:{tmp_path / 'rpl.pth'}", r"DeepLabV3\+ of DMLNet \(backbone.conv1.weight is missing"),
        (f"rpl:{tmp_path / 'dml.pth'}", r"DeepLabV3\+ of RPL \(mod1.conv1.weight is missing"),
        (f"rpl:{tmp_path / 'none.pth'}", "none.pth cannot be read .no such file"),
        (f"rpl:{tmp_path}", "cannot be read"),
    ):
        with pytest.raises(OwsegError, match=why):
            import_network(spec)
    values = {"list": [1, 2], "empty": {}, "numbers": {"a": 1}, "nested": {"model": {"a": {"b": torch.zeros(1)}}}}
    for name, value in values.items():
        torch.save(value, tmp_path / f"{name}.pth")
        with pytest.raises(OwsegError, match=f"{name}.pth holds no tensors by name"):
            import_network(f"rpl:{tmp_path / name}.pth")
    whole = (tmp_path / "rpl.pth").read_bytes()
    for content in (b"", b"no tensors", whole[: len(whole) // 2], b"\x80\x02."):
        (tmp_path / "cut.pth").write_bytes(content)
        with pytest.raises(OwsegError, match=r"cut.pth (is no checkpoint of torch|holds more than tensors)"):
            import_network(f"rpl:{tmp_path / 'cut.pth'}")


def test_a_folder_in_which_it_is_not_clear_which_two_files_are_meant(tmp_path):
    psp_files(tmp_path)
    (tmp_path / "encoder_epoch_10.pth").touch()
    with pytest.raises(OwsegError, match=r"has 2 files encoder_\* and 1 decoder_\*; give the two that belong together"):
        import_network(f"dmlnet:{tmp_path}")
