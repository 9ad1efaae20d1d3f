"""Inference: the tiled engine, and the worker process that torch lives in."""
