"""`TargetRanks`: per user, how many candidates scored higher than the target and how many scored the same.

Takes scores of the whole catalogue, hands on one row per user and protocol. Both protocols are counted from the same
scores. Counting needs no sorting and cannot favour the target.
"""
