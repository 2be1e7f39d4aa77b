"""What people run against the service: a command line and a library that hold the keys."""
