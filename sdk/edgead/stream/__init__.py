"""The corridor on the line: a source gives frames, the detector judges them, sinks take the results away."""
