"""What the collector costs, measured against fixed-latency servers on this machine.

`python -m bench` prints a table: each row a measurement, its bound, and the floor or baseline that
was measured beside it in the same run.
"""
