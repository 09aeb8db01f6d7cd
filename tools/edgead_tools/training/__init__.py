"""Trains: the loop, its process settings, and progress reporting."""
