"""One to four columns (model, method, parameters) for the same picture and class."""
