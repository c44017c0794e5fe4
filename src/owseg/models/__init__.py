"""Networks: backbones, light decoders, linear and prototype classifiers, and the engine that runs them."""
