"""Predictions for image files: maps to store and to view, annotations to correct."""
