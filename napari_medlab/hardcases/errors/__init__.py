"""Errors of a run as a table: found, filtered, put in order, judged."""
