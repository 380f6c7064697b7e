"""The same question asked of every model, and whether a map is true to its model."""
