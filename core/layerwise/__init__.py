"""What each layer of a network represents, over a set of pictures."""
