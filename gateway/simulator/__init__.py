"""An SMSC for tests, demos and benchmarks, with its own ledger and a seed."""
