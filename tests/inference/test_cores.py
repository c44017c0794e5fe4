"""Cores are those that a process may use, whatever the machine has."""

import os

import pytest

from owseg.inference.cores import available_cores


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_without_a_quota_it_is_the_affinity(tmp_path):
    assert available_cores(tmp_path) == 16
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert available_cores(tmp_path) == 16


@pytest.mark.parametrize(("quota", "cores"), [("200000 100000", 2), ("250000 100000", 3), ("50000 100000", 1)])
def test_a_quota_of_a_container_counts(tmp_path, quota, cores):
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert available_cores(tmp_path) == cores


def test_so_does_one_of_the_first_version(tmp_path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("300000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert available_cores(tmp_path) == 3
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert available_cores(tmp_path) == 16


def test_fewer_may_be_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert available_cores(tmp_path) == 4
