"""Jobs: work that outlives the process that was asked for it.

    queued -> running -> done
                      -> queued      it failed and is tried again, its worker stopped or died
                      -> failed      for good, or as often as it may be tried
    queued | running  -> cancelled

A job is queued in the transaction of the change that asks for it. A worker takes it, with a word of its
own in `holder`, and renews that while the job runs; who has lost it can neither report nor end it. So a
job runs at least once, twice when its worker dies in the middle of it: a handler does again what may
have been done already, or goes on from where it was. Of a `key` one is queued or running at a time.

Whether a worker is dead is not asked of the clock, which may jump by years: another worker has to see
its renewals stay out for as long as a lease lasts, by its own monotonic time; or, alone with the lock of
the folder's workers, knows at once that no other is alive.
"""
