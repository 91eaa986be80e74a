"""Whether rows and files belong together, compared both ways; and every row's other half.

    walk      shard by shard: rows, then files; what does not fit is a suspicion, others go on meanwhile
    re-check  each suspicion against the rows and the file of now
    act       a live row without its file is withdrawn, so that a push brings it back
              a file without a row is noted, and put aside by a later check, a day after
    report    kept in `store_state`

No lock is held, and nothing of a store that is mistrusted is moved.
"""
