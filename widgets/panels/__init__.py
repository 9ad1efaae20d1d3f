"""One panel for each station of the loop."""
