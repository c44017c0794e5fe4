"""All benchmarks, one after the other: ``python -m benchmarks``."""

from benchmarks import learners, metrics, scorers

scorers.main()
learners.main()
metrics.main()
