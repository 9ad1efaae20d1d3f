"""Where a model fails: the slices of the data in which it is worse, and which errors are alike."""
