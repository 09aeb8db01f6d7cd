"""SAM-LAD: the objects of a picture are matched with those of good pictures."""
