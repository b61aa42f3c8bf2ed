"""The message engine: from a claimed chunk to the window, and from outcomes back to the store."""
