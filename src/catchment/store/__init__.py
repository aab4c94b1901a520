"""Where events are kept and asked for: one SQL dialect, embedded or on a server. `store` is the contract."""
