"""What doorbells send: taken from the broker, checked, kept, then acknowledged."""
