"""`python -m catchment` is `catchment`."""

from catchment.cli import main

main()
