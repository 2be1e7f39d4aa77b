"""Where the service keeps things: two databases, a bucket, a spool. The lowest layer."""
