"""All benchmarks, one after the other: ``python -m benchmarks``."""

from benchmarks import discover, learners, metrics, scorers

scorers.main()
learners.main()
metrics.main()
discover.main()
