"""Training: recipes, data, augmentation, and the run itself."""
