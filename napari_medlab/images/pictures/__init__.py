"""Pictures of errors and of cases for lists: crops and thumbnails."""
