"""Detection: targets, losses, and peaks made into candidates, in 2D and 3D."""
