-- Who may do what, and what was done. Times are milliseconds since 1970-01-01 UTC; secrets are kept as
-- hashes only, except for the keys that sign tokens.

-- A number is never given twice: tokens name it. `skeleton` is the name as the eye takes it: two names that look alike have the same.
CREATE TABLE account (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT    NOT NULL UNIQUE,
    skeleton    TEXT    NOT NULL UNIQUE,
    kind        TEXT    NOT NULL CHECK (kind IN ('person', 'robot')),
    role        TEXT    NOT NULL CHECK (role IN ('member', 'auditor', 'admin')),
    password    TEXT,
    password_set_at INTEGER,
    is_disabled INTEGER NOT NULL DEFAULT 0 CHECK (is_disabled IN (0, 1)),
    description TEXT    NOT NULL DEFAULT '',
    issuer      TEXT,
    subject     TEXT,
    created_at  INTEGER NOT NULL,
    created_by  TEXT    NOT NULL,
    UNIQUE (issuer, subject)
);

CREATE TABLE account_group (
    id          INTEGER PRIMARY KEY,
    name        TEXT    NOT NULL UNIQUE,
    skeleton    TEXT    NOT NULL UNIQUE,
    description TEXT    NOT NULL DEFAULT '',
    created_at  INTEGER NOT NULL,
    created_by  TEXT    NOT NULL
);

CREATE TABLE membership (
    account_group INTEGER NOT NULL REFERENCES account_group (id) ON DELETE CASCADE,
    account       INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    PRIMARY KEY (account_group, account)
) WITHOUT ROWID;
CREATE INDEX membership_by_account ON membership (account);

-- The first part of repository names. One that nobody owns is the administrators'.
CREATE TABLE namespace (
    id            INTEGER PRIMARY KEY,
    name          TEXT    NOT NULL UNIQUE,
    owner_account INTEGER REFERENCES account (id) ON DELETE SET NULL,
    owner_group   INTEGER REFERENCES account_group (id) ON DELETE SET NULL,
    visibility    TEXT    NOT NULL CHECK (visibility IN ('private', 'public')),
    created_at    INTEGER NOT NULL,
    created_by    TEXT    NOT NULL,
    CHECK (owner_account IS NULL OR owner_group IS NULL)
);
CREATE INDEX namespace_by_account ON namespace (owner_account);
CREATE INDEX namespace_by_group ON namespace (owner_group);

-- To an account, to a group, or, where both are NULL, to everyone who has signed in. `actions` is a
-- list with commas: pull,push,delete,admin.
CREATE TABLE access_grant (
    id            INTEGER PRIMARY KEY,
    account       INTEGER REFERENCES account (id) ON DELETE CASCADE,
    account_group INTEGER REFERENCES account_group (id) ON DELETE CASCADE,
    pattern       TEXT    NOT NULL,
    actions       TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    created_by    TEXT    NOT NULL,
    CHECK (account IS NULL OR account_group IS NULL)
);
CREATE INDEX access_grant_by_account ON access_grant (account);
CREATE INDEX access_grant_by_group ON access_grant (account_group);

-- 'access': made by its owner or an administrator; 'refresh': what docker keeps instead of a password;
-- 'exchange': given for a token of another issuer, with rights of its own.
-- `parent` is the token that a token was made with: revoked, it takes along what was made with it.
-- `scopes` NULL is all that the account may do; else JSON, a list of {"pattern", "actions"}.
CREATE TABLE token (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    account        INTEGER NOT NULL REFERENCES account (id) ON DELETE CASCADE,
    kind           TEXT    NOT NULL CHECK (kind IN ('access', 'refresh', 'exchange')),
    name           TEXT    NOT NULL,
    secret         TEXT    NOT NULL UNIQUE,
    scopes         TEXT,
    created_at     INTEGER NOT NULL,
    created_by     TEXT    NOT NULL,
    expires_at     INTEGER NOT NULL,
    last_used_at   INTEGER,
    last_used_from TEXT,
    revoked_at     INTEGER,
    parent         INTEGER
);
CREATE INDEX token_by_account ON token (account);
CREATE INDEX token_by_parent ON token (parent) WHERE parent IS NOT NULL;
CREATE INDEX token_by_expiry ON token (expires_at);

-- The keys that sign bearer tokens: the newest signs, all verify until `retires_at`.
CREATE TABLE signing_key (
    id          TEXT    NOT NULL PRIMARY KEY,
    private     TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    retires_at  INTEGER NOT NULL
) WITHOUT ROWID;

-- The one link by which the first administrator comes in.
CREATE TABLE claim (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    secret      TEXT    NOT NULL,
    expires_at  INTEGER NOT NULL
);

-- People who were sent to a provider to sign in, until they come back. `state` and `browser` are hashes.
CREATE TABLE sign_in (
    state       TEXT    NOT NULL PRIMARY KEY,
    browser     TEXT    NOT NULL,
    nonce       TEXT    NOT NULL,
    verifier    TEXT    NOT NULL,
    address     TEXT    NOT NULL,
    expires_at  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX sign_in_by_address ON sign_in (address);
CREATE INDEX sign_in_by_expiry ON sign_in (expires_at);

-- When a repository of this name was last deleted: a token from before says nothing of a later one.
CREATE TABLE repository_deletion (
    name        TEXT    NOT NULL PRIMARY KEY,
    at          INTEGER NOT NULL
) WITHOUT ROWID;

-- Append-only, whatever program writes.
CREATE TABLE audit (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    at          INTEGER NOT NULL,
    actor       TEXT    NOT NULL,
    token       INTEGER,
    address     TEXT    NOT NULL,
    action      TEXT    NOT NULL,
    target      TEXT    NOT NULL,
    outcome     TEXT    NOT NULL CHECK (outcome IN ('allowed', 'denied')),
    detail      TEXT    NOT NULL DEFAULT ''
);
CREATE INDEX audit_by_actor ON audit (actor, id);
CREATE INDEX audit_by_target ON audit (target, id);
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
    BEGIN SELECT RAISE (ABORT, 'the audit is append-only'); END;
CREATE TRIGGER audit_is_never_replaced BEFORE INSERT ON audit WHEN NEW.id > 0
    BEGIN SELECT RAISE (ABORT, 'the audit is append-only'); END;
CREATE TRIGGER audit_is_never_cut BEFORE DELETE ON audit
    BEGIN SELECT RAISE (ABORT, 'the audit is append-only'); END;

-- One row, read with every request: what was decided under another version is decided anew.
CREATE TABLE access_state (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    version     INTEGER NOT NULL,
    accounts    INTEGER NOT NULL
);
INSERT INTO access_state (id, version, accounts) VALUES (1, 1, 0);

CREATE TRIGGER account_added AFTER INSERT ON account
    BEGIN UPDATE access_state SET version = version + 1, accounts = accounts + 1 WHERE id = 1; END;
CREATE TRIGGER account_removed AFTER DELETE ON account
    BEGIN UPDATE access_state SET version = version + 1, accounts = accounts - 1 WHERE id = 1; END;
CREATE TRIGGER account_changed AFTER UPDATE ON account
    BEGIN UPDATE access_state SET version = version + 1 WHERE id = 1; END;
CREATE TRIGGER account_group_removed AFTER DELETE ON account_group
    BEGIN UPDATE access_state SET version = version + 1 WHERE id = 1; END;
CREATE TRIGGER membership_added AFTER INSERT ON membership
    BEGIN UPDATE access_state SET version = version + 1 WHERE id = 1; END;
CREATE TRIGGER membership_removed AFTER DELETE ON membership
    BEGIN UPDATE access_state SET version = version + 1 WHERE id = 1; END;
CREATE TRIGGER namespace_added AFTER INSERT ON namespace
    BEGIN UPDATE access_state SET version = version + 1 WHERE id = 1; END;
CREATE TRIGGER namespace_removed AFTER DELETE ON namespace
    BEGIN UPDATE access_state SET version = version + 1 WHERE id = 1; END;
CREATE TRIGGER namespace_changed AFTER UPDATE ON namespace
    BEGIN UPDATE access_state SET version = version + 1 WHERE id = 1; END;
CREATE TRIGGER access_grant_added AFTER INSERT ON access_grant
    BEGIN UPDATE access_state SET version = version + 1 WHERE id = 1; END;
CREATE TRIGGER access_grant_removed AFTER DELETE ON access_grant
    BEGIN UPDATE access_state SET version = version + 1 WHERE id = 1; END;
CREATE TRIGGER access_grant_changed AFTER UPDATE ON access_grant
    BEGIN UPDATE access_state SET version = version + 1 WHERE id = 1; END;
CREATE TRIGGER token_removed AFTER DELETE ON token
    BEGIN UPDATE access_state SET version = version + 1 WHERE id = 1; END;
CREATE TRIGGER token_changed AFTER UPDATE OF account, scopes, expires_at, revoked_at ON token
    BEGIN UPDATE access_state SET version = version + 1 WHERE id = 1; END;
CREATE TRIGGER signing_key_added AFTER INSERT ON signing_key
    BEGIN UPDATE access_state SET version = version + 1 WHERE id = 1; END;
CREATE TRIGGER signing_key_removed AFTER DELETE ON signing_key
    BEGIN UPDATE access_state SET version = version + 1 WHERE id = 1; END;
CREATE TRIGGER repository_deleted AFTER INSERT ON repository_deletion
    BEGIN UPDATE access_state SET version = version + 1 WHERE id = 1; END;
CREATE TRIGGER repository_deleted_again AFTER UPDATE ON repository_deletion
    BEGIN UPDATE access_state SET version = version + 1 WHERE id = 1; END;
