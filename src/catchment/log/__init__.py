"""The durable log between edge and core. `log` is the contract; docs/log.md has the bytes and the crash argument."""
