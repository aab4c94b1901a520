"""One pure file, or package, per vendor: bytes to frozen records and back. No clock, disk, network or logging in here.

To add a vendor: write its file after `dialect.Dialect`, name it in `wiring.dialects`, and add its cases to
`tests/dialects/`.
"""
