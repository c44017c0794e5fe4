import subprocess
import sys


def test_public_names_stay_what_they_are():
    script = "import owseg\nfor _ in range(2):\n    assert callable(owseg.evaluate) and callable(owseg.learn)"
    subprocess.run([sys.executable, "-c", script], check=True)
