"""What the doorbell needs from the world, in its own words."""
