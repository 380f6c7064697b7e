"""A picture and one to four looks at it: model × method × parameters, for the same class."""
