"""Predictions for images on disk: maps, images to look at, annotations to correct."""
