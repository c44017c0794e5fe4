"""Tools to work on owseg with."""
