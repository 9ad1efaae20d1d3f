"""What both faces do with models: run one on a project, retrain it, compare and publish."""
