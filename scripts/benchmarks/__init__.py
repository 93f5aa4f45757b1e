"""The workloads of `scripts/benchmark`, a file each: `cases(tiny)` says what is measured side by side."""
