"""What crosses the border between server and clients: how it is encoded, counted and summed."""
