"""Tests of the project, their helpers and the benchmarks."""
