"""Representation: what each layer of the models represents, over a set of pictures."""
