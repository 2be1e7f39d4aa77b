"""Households: who belongs to one, how they sign in, what they have signed."""
