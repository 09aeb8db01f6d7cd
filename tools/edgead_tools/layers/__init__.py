"""Holds network parts that several methods share."""
