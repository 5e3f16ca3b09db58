"""Tiny complete models of every family that a recipe names, and the whole way that each of them goes."""
