"""Small programs for whoever works on this repository."""
