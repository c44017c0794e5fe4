"""Serving over HTTP: who may ask, and how much may be sent."""
