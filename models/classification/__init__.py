"""Classification of candidates on cubes: networks with branches, and the fusion with the score of a detector."""
