"""All benchmarks, one after the other: ``python -m benchmarks``."""

from benchmarks import components, discover, learners, maps, metrics, residual, review, scorers

scorers.main()
learners.main()
residual.main()
metrics.main()
components.main([])
maps.main([])
discover.main()
review.main()
