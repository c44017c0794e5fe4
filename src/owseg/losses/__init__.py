"""Losses: of a segmentation network (``segmentation``) and of a residual pattern (``outlier``)."""
