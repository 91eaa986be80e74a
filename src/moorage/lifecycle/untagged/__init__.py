"""Manifests that nothing leads to leave by themselves, some time after they were last of use.

Nothing: no tag, no index, no subject that is served. Whatever unties a manifest writes it down in `untagged`,
by triggers, so what there is to do is found without a look at what is of use.
"""
