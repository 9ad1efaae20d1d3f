"""Small pictures of images for lists and pages: crops around places, thumbnails, and the tones of both."""
