"""A benchmark: models x scorers x data sets, from a recipe to tables and plots."""
