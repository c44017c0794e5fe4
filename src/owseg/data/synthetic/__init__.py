"""Made-up street scenes with exact ground truth: nothing is stored, each is drawn when it is asked for."""
