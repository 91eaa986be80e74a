"""Removing a whole repository: what each room holds of it goes at once."""
