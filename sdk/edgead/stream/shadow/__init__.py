"""Has a second bundle judge the frames of a line in a process of its own, for comparison alone."""
