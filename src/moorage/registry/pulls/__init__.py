"""Pulls: how often and when last a tag or a manifest was asked for.

Counted in memory by each worker and written down now and then: a pull waits for no write. What a worker
that is killed had not written is lost, at most a few seconds of counting.
"""
