"""Models in torch and MONAI: networks, inference, training, and the bundles that ship."""
