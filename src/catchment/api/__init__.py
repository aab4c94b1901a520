"""Your port: SQL, status and the tail of events, behind a bearer token."""
