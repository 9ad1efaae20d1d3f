"""Formats in which findings, candidates and outlines are exchanged: one file for each, read and written."""
