"""The vault database's history."""
