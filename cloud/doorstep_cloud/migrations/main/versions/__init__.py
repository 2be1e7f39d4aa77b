"""The main database's steps, each after the one it names."""
