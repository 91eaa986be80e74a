"""Changes to who may do what: each with its rules, in one transaction with its row in the audit."""
