"""Evaluation on labelled images: in memory, after each class learned, or from stored maps."""
