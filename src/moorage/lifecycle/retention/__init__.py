"""Retention: rules by which tags that are of no more use leave, through the trash.

A rule names tags by a pattern, in the repositories of another, and says which of them stay: the newest so
many, what was pushed, what was pulled within a time. What must hold:

- A tag is removed only if a rule that is in effect names it and no rule that names it keeps it.
- A pin, a rule of immutability, a subject that is there, a moment that lies in the future: each keeps a tag,
  whatever the rules say.
- An age only ever keeps. What is older than it is not removed for that, but for no rule's keeping it.
- A signature's tag stays as long as what it signs, and goes with it.

`deciding` is the rule's meaning, without I/O; `planning` what it comes to in a repository, and the bytes;
`running` does it, and looks again at each tag in the transaction that removes it.
"""
