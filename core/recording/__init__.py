"""One pass over a batch of pictures, and everything that can be read off it."""
