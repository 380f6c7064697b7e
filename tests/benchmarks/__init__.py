"""How fast, how large: `python -m tests.benchmarks`."""
