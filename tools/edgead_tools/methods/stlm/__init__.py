"""STLM: two streams that agree on good parts and differ on defects."""
