"""Doorbells: how one is enrolled, what it was enrolled with, whether it is heard from."""
