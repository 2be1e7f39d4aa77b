"""Decisions: values in, values out; no clock, file or socket of their own."""
