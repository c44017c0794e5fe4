"""All benchmarks, one after the other: ``python -m benchmarks [--small]``.

With ``--small`` each runs on inputs so small that the times mean nothing: a check that all of them work.
"""

from __future__ import annotations

import argparse

from benchmarks import (
    components,
    decision,
    discover,
    engine,
    export,
    growth,
    learners,
    maps,
    metrics,
    residual,
    review,
    scorers,
    serve,
    throughput,
    training_input,
)

SMALL = {
    scorers: ["--size", "64x128", "--repeats", "1", "--classes", "10"],
    learners: ["--kb", "synthetic", "--size", "96x128", "--repeats", "1", "--learners", "NPM"],
    decision: ["--kb", "synthetic", "--size", "96x128", "--repeats", "1"],
    engine: ["--kb", "synthetic", "--images", "2", "--workers", "1", "--rounds", "1", "--memory", "2", "--frames", "0",
             "--names", ""],
    export: ["--kb", "synthetic", "--size", "48x64", "--repeats", "1", "--cores", "1", "--kinds", "ONNX Runtime"],
    residual: ["--size", "64x96", "--view", "64x96", "--repeats", "1"],
    metrics: ["--megapixels", "1"],
    components: ["--components", "300", "--sample", "3"],
    maps: ["--maps", "2"],
    discover: ["--images", "5", "--regions", "4"],
    growth: ["--names", "50", "100"],
    review: ["--images", "80", "--regions", "10"],
    serve: ["--kb", "synthetic", "--count", "2", "--clients", "2", "--seconds", "0.5", "--hostile", "0", "--no-kill"],
    throughput: ["--networks", "synthetic", "--size", "64x96", "--batches", "1,2", "--repeats", "1"],
    training_input: ["--size", "64x128", "--images", "8", "--repeats", "1"],
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="check that all of them work, in about a minute")
    small = parser.parse_args().small
    for module, arguments in SMALL.items():
        print(f"\n{module.__name__}", flush=True)
        module.main(arguments if small else [])


if __name__ == "__main__":
    main()
