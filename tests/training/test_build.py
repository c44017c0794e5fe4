import json

import pytest
from PIL import Image

from owseg.errors import OwsegError
from owseg.training.build import build_knowledge_base
from owseg.training.config import TrainConfig
from tests.support import tiny


def test_a_class_called_void_is_left_out_or_renamed(tmp_path):
    (tmp_path / "images").mkdir()
    Image.fromarray(tiny.image().transpose(1, 2, 0)).save(tmp_path / "images" / "a.png")
    (tmp_path / "classes.json").write_text(json.dumps(["road", "void", "sky"]))
    config, run = TrainConfig(epochs=1, batch=1, crop=(32, 32)), tmp_path / "run"
    with pytest.raises(OwsegError, match=r"no class can have the name 'void', .* leave it out"):
        build_knowledge_base(f"folder:{tmp_path}", tiny.backbone(), (), config, run)
    with pytest.raises(OwsegError, match="a has no mask"):  # without it, it comes as far as training
        build_knowledge_base(f"folder:{tmp_path}", tiny.backbone(), ("void",), config, run)
