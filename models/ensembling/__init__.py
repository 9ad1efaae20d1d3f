"""Ensembles: averages of models, test-time symmetries, and weights searched on validation data."""
