"""The hardware as data: which pin serves which purpose."""
