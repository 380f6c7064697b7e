"""One pass over a batch of pictures, and the tensors recorded in it."""
