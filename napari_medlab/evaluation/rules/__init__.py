"""Matching rules, one file for each: which candidate belongs to which finding."""
