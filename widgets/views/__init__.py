"""Linked planes and curves."""
