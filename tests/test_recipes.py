"""The recipes of the tables, at a small scale."""

import sys

import pytest

from recipes import stream


def test_table_4_on_synthetic_scenes(capsys, monkeypatch):
    argv = ["stream", "synthetic", "--draws", "1", "--most", "10", "--steps", "24"]
    monkeypatch.setattr(sys, "argv", argv)
    stream.main()
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][2:]
    figures = {(row[0].strip(), row[1].strip()): [float(v) for v in row[2:]] for row in rows}
    assert set(figures) == {(n, s) for n in ("FT", "PLM", "PLM latest", "NPM", "probe") for s in ("5", "1")}
    for old, novel, harmonic in figures.values():
        assert harmonic == pytest.approx(2 * old * novel / max(old + novel, 1e-9), abs=2e-3)
    assert figures["FT", "5"][0] < 0.5 * figures["probe", "5"][0]  # it forgets
    assert figures["probe", "5"][2] > figures["NPM", "5"][2]
