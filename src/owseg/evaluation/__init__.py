"""Measuring on labelled images: in memory, one class after another, or from stored maps."""
