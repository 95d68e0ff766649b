"""Benchmarks: ``python -m benchmarks``; what is measured and how is in ``benchmarks/README.md``."""
