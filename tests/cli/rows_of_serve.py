"""The rows of test_wiring.py for ``owseg serve``."""

from dataclasses import asdict

from owseg.cli._compute import Compute
from owseg.serve.settings import Limits

COMPUTE = {"device": "cpu", "batch": 4, "workers": 3, "precision": "bf16"}
SERVE = [
    ("serve K", "serve.run:serve", {"kb": "K", "host": "127.0.0.1", "port": 8000, "token": None,
     "limits": Limits(), "load": {**asdict(Compute()), "task": "unknown"}}),
    ("serve K --host H --port 5 --token T --task obstacles --max-wait 20 --max-queue 7 --max-bytes 2 --max-pixels 3.5 "
     "--timeout 4", "serve.run:serve", {"host": "H", "port": 5, "token": "T",
     "limits": Limits(2 << 20, 3_500_000, 7, 0.02, 4.0), "load": {**asdict(Compute()), "task": "obstacles"}}),
    ("serve K --device cpu --batch 4 --workers 3 --precision bf16", "serve.run:serve",
     {"load": {**COMPUTE, "task": "unknown"}}),
]  # fmt: skip
