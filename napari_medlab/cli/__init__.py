"""The command line: what the panels do, headless, for scripts and clusters."""
