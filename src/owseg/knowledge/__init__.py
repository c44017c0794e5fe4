"""The knowledge base: a value (``base``), how it is loaded, stored, calibrated, and the shipped ones."""
