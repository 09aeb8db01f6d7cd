"""Reads what many stations say of themselves: their metrics, and the states they leave at a broker."""
