"""Fuzzers, each a program: `./dev fuzz T=60 [inbound|text]` runs them long, `./dev test` for a moment."""
