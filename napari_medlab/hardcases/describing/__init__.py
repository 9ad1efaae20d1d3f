"""What findings and candidates look like, in numbers and words: size, contrast, place, vessels, edges."""
