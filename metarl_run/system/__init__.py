"""The operating system: atomic writes, locks, signals, memory and threads, crash reports."""
