"""HTTP in: authenticate, decode by dialect, append to the log, and answer once it is durable."""
