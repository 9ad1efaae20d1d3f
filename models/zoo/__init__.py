"""The bundles that ship, and the scripts that made them."""
