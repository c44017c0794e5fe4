"""What is imported with the data room."""

import subprocess
import sys


def test_no_torch_is_loaded():
    script = (
        "import sys, owseg.data, owseg.data.check, owseg.data.shots, owseg.data.outliers, owseg.data.unlabeled\n"
        "import owseg.data.void_class, owseg.data.masks, owseg.data.render\n"
        "owseg.data.open_dataset('synthetic', 'val')[0]\nprint('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out == "False\n"
