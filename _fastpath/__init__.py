"""Octets and batches, compiled. Imports nothing of ours; raises only the faults of faults.py."""
