"""What the gateway costs, as ratios to a bare relay measured in the same run: `python -m benchmarks`."""
