"""Tests of maps and models: removal, curves, randomization, pointing."""
