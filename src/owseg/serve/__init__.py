"""Serving over HTTP: what every server of owseg shares."""
