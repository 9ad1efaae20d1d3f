"""Matching rules, FROC, intervals, paired tests, model against model."""
