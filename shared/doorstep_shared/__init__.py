"""What all ends must agree on: pure, with no socket, file, clock or randomness of its own."""
