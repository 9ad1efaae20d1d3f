"""Three models of one's own."""
