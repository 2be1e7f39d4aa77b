"""What is common to all of HTTP: problems, limits, headers, health, the page at the root."""
