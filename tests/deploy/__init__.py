"""What deploy/ has for a server, tried as far as a machine without that server can."""
