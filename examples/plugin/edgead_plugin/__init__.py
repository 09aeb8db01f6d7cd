"""A sink and a source that another package adds to edgead."""
