"""Activation maximisation: parameterise, objective, transforms, regularise, optimise."""
