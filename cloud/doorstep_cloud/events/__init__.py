"""What happened at a door: events, their list, and who is told at once."""
