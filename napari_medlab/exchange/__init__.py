"""What a project takes in from others and hands out to others, in whatever format they use."""
