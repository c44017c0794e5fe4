"""Figures of scores and of maps, each streamed picture by picture and mergeable; one file an idea."""
