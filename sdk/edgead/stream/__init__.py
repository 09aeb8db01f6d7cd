"""Runs a line: a source gives frames, the detector judges them, sinks receive the results."""
