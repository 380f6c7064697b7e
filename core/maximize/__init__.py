"""Activation maximization: parameterize, objective, transforms, regularize, optimize."""
