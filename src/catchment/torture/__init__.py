"""`catchment torture`: the whole program under fire, and the count of what it lost.

A run starts a server of its own, drives it with clients that send again until they are answered, does to it whatever
goes wrong in the field, heals everything and compares what was acknowledged with what SQL finds (docs/torture.md).

The room lies above the supervisor, and nothing below knows of it: the product has no hook for a fault. What cannot be
done from outside - another clock, a slow or failing disk - is done by `part`, which changes its own process before
it runs the program as it is.
"""
