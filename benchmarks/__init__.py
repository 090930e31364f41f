"""Scripts that measure. Each is run as ``python -m benchmarks.<name>`` and writes results/."""
