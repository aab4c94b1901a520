"""Catchment: a self-hosted event collector that speaks the Moesif, Batch.com and Moloco tracking APIs."""

__version__ = "0.1.0"
