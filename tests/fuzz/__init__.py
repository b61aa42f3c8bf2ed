"""Fuzzers: targets.py says of what, run.py how; `./dev fuzz` runs them long, `./dev test` for a moment."""
