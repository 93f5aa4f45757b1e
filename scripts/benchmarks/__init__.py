"""Workloads of `scripts/benchmark`, one per file: `cases(tiny)` yields what is measured side by side."""
