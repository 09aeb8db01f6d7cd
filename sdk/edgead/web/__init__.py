"""Implements the live page of the line: what is seen, how it is judged and how the line is doing, in a browser."""
