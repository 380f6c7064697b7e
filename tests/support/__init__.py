"""Helpers of the tests: tiny models, oracles, a transformer run step by step, a server."""
