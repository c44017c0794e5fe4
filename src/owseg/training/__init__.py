"""Training: a segmentation network, a residual pattern, an autoencoder."""
