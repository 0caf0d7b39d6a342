"""`rigi bench faults`: errors made on purpose, and what the SDK says about them.

A case injects one error, in a worker process; it is caught if the process lives and the expected status comes back, and named if the text
has all that the case demands. After each case the device is reset and has to compute something right.
"""
