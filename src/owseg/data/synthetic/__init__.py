"""Synthetic street scenes with exact ground truth: nothing is stored, each is drawn from its seed."""
