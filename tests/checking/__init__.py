"""Small histories and exhaustive searches for testing the checkers."""
