"""Diffusion models: recipes of them, and what they compute. A library of its own, usable without a graph."""
