"""SMPP and nothing else: the protocol without I/O, and the shells that give it a socket and a clock."""
