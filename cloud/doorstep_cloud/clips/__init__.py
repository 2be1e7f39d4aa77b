"""Sealed clips: what a manifest says of them, and where their halves are kept."""
