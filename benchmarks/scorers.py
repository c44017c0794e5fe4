"""EDS and closed map of a full-size image: O(K) identities against distances to every prototype.

    python -m benchmarks.scorers [--threads 1] [--device cpu]

K = 19, 1024 x 2048, float32. The direct form computes ``||f - m_t||^2`` over all D = K channels for each
of the K prototypes, then sums and takes the argmin. The identities are also set against the memory of the device, whose
bandwidth is that of a copy of the embedding, in turn with them: in the time of one reading of the embedding and one
writing of both maps nothing could be faster. Peak memory is that of a fresh process each on the CPU, less what the
embedding and the libraries take.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from benchmarks._memory import peak_memory
from benchmarks.residual import in_turn
from owseg.models.devices import choose_device, device_title
from owseg.openset import closed_map
from owseg.scorers.eds import distance_sum

SCALE = 3.0


def by_identity(embedding: Tensor) -> tuple[Tensor, Tensor]:
    """Distance sum and closed map at O(K) per pixel."""
    return distance_sum(embedding, SCALE), closed_map(embedding)


def by_distances(embedding: Tensor) -> tuple[Tensor, Tensor]:
    """The same at O(K^2) per pixel: every distance to every prototype, over all channels."""
    prototypes = SCALE * torch.eye(embedding.shape[1], device=embedding.device)
    distances = torch.stack([(embedding - m.view(1, -1, 1, 1)).square().sum(1) for m in prototypes], 1)
    return distances.sum(1), distances.argmin(1)


FORMS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {
    "identity": by_identity,
    "distances": by_distances,
}


def embedding_of(classes: int, size: tuple[int, int]) -> Tensor:
    # In place, so that making it does not raise the peak that is measured.
    return torch.randn(1, classes, *size, generator=torch.Generator().manual_seed(0)).mul_(2)


def copy(embedding: Tensor) -> Callable[[], None]:
    """Return what copies the embedding into memory that is there already."""
    other = torch.empty_like(embedding)

    def run() -> None:
        other.copy_(embedding)

    return run


def waiting(call: Callable[[], object], device: torch.device) -> Callable[[], None]:
    """Return what calls it and waits until the device has done it."""

    def run() -> None:
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


def peak_mib(form: str, classes: int, threads: int, size: str) -> float:
    """Peak memory of one form in a fresh process, on top of the embedding."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.scorers",
        "--threads",
        str(threads),
        "--size",
        size,
        "--peak",
        form,
        str(classes),
    ]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def print_peak(form: str, classes: int, size: tuple[int, int]) -> None:
    embedding = embedding_of(classes, size)
    FORMS[form](embedding[..., :8, :8])
    before = peak_memory()
    FORMS[form](embedding)
    print(json.dumps((peak_memory() - before) / 2**20))


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--size", default="1024x2048", help="height x width")
    parser.add_argument("--device", default="cpu", help="of the times; peak memory is that of the CPU")
    parser.add_argument("--classes", type=int, nargs="*", default=[10, 19, 38], help="K whose peak memory is measured")
    parser.add_argument("--peak", nargs=2, metavar=("FORM", "K"), help="print one process's peak memory and stop")
    args = parser.parse_args(arguments)
    height, width = map(int, args.size.split("x"))
    torch.set_num_threads(args.threads)
    if args.peak:
        print_peak(args.peak[0], int(args.peak[1]), (height, width))
        return
    # Before anything large is made here: a child on Linux starts from its parent's high-water mark.
    print("peak memory on top of the embedding, MiB")
    for classes in args.classes:
        own = height * width * 4 * classes / 2**20
        peaks = "   ".join(f"{form} {peak_mib(form, classes, args.threads, args.size):.0f}" for form in FORMS)
        print(f"  K = {classes}: embedding {own:.0f}   {peaks}")
    device = choose_device(args.device)
    embedding = embedding_of(19, (height, width)).to(device)
    (s, closed), (s_direct, closed_direct) = by_identity(embedding), by_distances(embedding)
    torch.testing.assert_close(s, s_direct, rtol=1e-4, atol=1e-2)
    same = (closed == closed_direct).float().mean().item()
    calls = (*(partial(form, embedding) for form in FORMS.values()), copy(embedding))
    fast, slow, copied = in_turn(args.repeats, *(waiting(call, device) for call in calls))
    print(f"EDS + closed map, K = 19, {height} x {width}, {device_title(device)}, threads: {args.threads}, medians")
    print(f"  distances {slow:.4f} s   identity {fast:.4f} s   {slow / fast:.1f} times as fast")
    read, written = embedding.nbytes, s.nbytes + closed.nbytes
    bandwidth = 2 * read / copied
    least = (read + written) / bandwidth
    print(f"  a copy moves {bandwidth / 1e9:.1f} GB/s; at that, reading the embedding and writing both maps takes")
    print(f"  {least:.4f} s, {least / fast:.2f} of the time of the identity: {(read + written) / fast / 1e9:.1f} GB/s")
    error = ((s - s_direct) / s_direct).abs().max()
    print(f"  largest relative difference of S {error:.1e}; closed maps agree on {same:.5%}")


if __name__ == "__main__":
    main()
