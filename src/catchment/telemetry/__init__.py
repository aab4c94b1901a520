"""How Catchment is watched: figures for Prometheus, lines for a log collector, spans for OpenTelemetry.

It lies below everything else, so that every room may be watched; it knows the settings, and no room.
"""
