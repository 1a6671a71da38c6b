"""Schedules, noise, samplers and guidance."""
