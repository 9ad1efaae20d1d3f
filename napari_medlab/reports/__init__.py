"""Self-contained reports that can be mailed and kept."""
