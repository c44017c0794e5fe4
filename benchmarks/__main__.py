"""All benchmarks, one after the other: ``python -m benchmarks``."""

from benchmarks import metrics, scorers

scorers.main()
metrics.main()
