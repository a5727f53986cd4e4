"""Small programs for developers of this repository."""
