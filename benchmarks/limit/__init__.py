"""The limit: what one core can send and another can answer, in C, with nothing else to do."""
