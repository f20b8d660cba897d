"""A run as a thing that lasts: an append-only log of events, a worker that writes it, commands that steer it."""
