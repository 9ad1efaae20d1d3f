"""Opening and reading images: lazily, in their true place, or with a reason why not."""
