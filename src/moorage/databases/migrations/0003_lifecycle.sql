-- The life of an image: history, trash, rules, garbage, jobs. Times are milliseconds since 1970-01-01 UTC.

-- A deleted repository gives its name free and keeps all it has under one that no client can say, until
-- `purge_at`; `deleted_name` is the one it had.
ALTER TABLE repository ADD COLUMN deleted_name TEXT;
ALTER TABLE repository ADD COLUMN deleted_at INTEGER;
ALTER TABLE repository ADD COLUMN deleted_by TEXT;
ALTER TABLE repository ADD COLUMN purge_at INTEGER;
CREATE INDEX repository_by_purge ON repository (purge_at) WHERE purge_at IS NOT NULL;

-- A name that a repository had before, by which it can still be pulled until then.
CREATE TABLE repository_alias (
    name        TEXT    NOT NULL PRIMARY KEY,
    repository  INTEGER NOT NULL REFERENCES repository (id),
    until       INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX repository_alias_by_repository ON repository_alias (repository);

-- One act that put manifests into the trash: `digest` is of the one that was to go, the others went with it.
CREATE TABLE deletion (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    repository  INTEGER NOT NULL REFERENCES repository (id),
    digest      TEXT    NOT NULL,
    reason      TEXT    NOT NULL CHECK (reason IN ('asked', 'retention', 'untagged', 'evicted')),
    deleted_at  INTEGER NOT NULL,
    deleted_by  TEXT    NOT NULL,
    purge_at    INTEGER NOT NULL
);
CREATE INDEX deletion_by_purge ON deletion (purge_at);
CREATE INDEX deletion_by_repository ON deletion (repository, id);

-- The manifests of a deletion. One that is here is not served. It keeps its edges, and they what they lead to.
CREATE TABLE trash (
    manifest    INTEGER PRIMARY KEY REFERENCES manifest (id),
    deletion    INTEGER NOT NULL REFERENCES deletion (id)
);
CREATE INDEX trash_by_deletion ON trash (deletion);

-- The tags that went with a deletion, and what each pointed to: its first manifest, or a signature of one.
CREATE TABLE deleted_tag (
    deletion    INTEGER NOT NULL REFERENCES deletion (id),
    name        TEXT    NOT NULL,
    digest      TEXT    NOT NULL,
    algorithm   TEXT    NOT NULL CHECK (algorithm IN ('sha256', 'sha512')),
    PRIMARY KEY (deletion, name)
) WITHOUT ROWID;

-- The history beside its tag: one page for both what is asked of it and what a push writes. Append-only.
-- `number` counts the events of one tag from 1.
ALTER TABLE tag_event RENAME TO old_tag_event;
CREATE TABLE tag_event (
    repository  INTEGER NOT NULL REFERENCES repository (id),
    name        TEXT    NOT NULL,
    number      INTEGER NOT NULL,
    from_digest TEXT,
    to_digest   TEXT,
    at          INTEGER NOT NULL,
    by          TEXT    NOT NULL,
    PRIMARY KEY (repository, name, number)
) WITHOUT ROWID;
INSERT INTO tag_event (repository, name, number, from_digest, to_digest, at, by)
    SELECT repository, name, row_number() OVER (PARTITION BY repository, name ORDER BY id),
        from_digest, to_digest, at, by
    FROM old_tag_event;
DROP TABLE old_tag_event;

-- Sorts a repository's tags as versions: see oci/versions.py, whose function this is.
ALTER TABLE tag ADD COLUMN version_key TEXT NOT NULL DEFAULT '';
UPDATE tag SET version_key = moorage_version_key(name);
CREATE INDEX tag_by_version ON tag (repository, version_key, name);

-- A tag that no rule of retention may take.
CREATE TABLE tag_pin (
    repository  INTEGER NOT NULL REFERENCES repository (id),
    name        TEXT    NOT NULL,
    pinned_at   INTEGER NOT NULL,
    pinned_by   TEXT    NOT NULL,
    PRIMARY KEY (repository, name)
) WITHOUT ROWID;

-- Pulls by a tag's name or a manifest's sha256 digest, written down now and then.
CREATE TABLE pull (
    repository  INTEGER NOT NULL REFERENCES repository (id),
    reference   TEXT    NOT NULL,
    pulls       INTEGER NOT NULL,
    last_at     INTEGER NOT NULL,
    PRIMARY KEY (repository, reference)
) WITHOUT ROWID;
CREATE INDEX pull_by_time ON pull (repository, last_at, reference) WHERE instr(reference, ':') = 0;

-- Tags that stay where they are. `scope` is a pattern of repositories, as in a grant; `pattern` is of tags:
-- a glob, or after "re:" an expression.
CREATE TABLE immutability_rule (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    scope       TEXT    NOT NULL,
    pattern     TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    created_by  TEXT    NOT NULL,
    UNIQUE (scope, pattern)
);
-- Those that may concern any namespace; the others are found by theirs.
CREATE INDEX immutability_rule_wide ON immutability_rule (id)
    WHERE instr(scope, '*') > 0 AND (instr(scope, '/') = 0 OR instr(scope, '*') < instr(scope, '/'));

-- Which tags that match `pattern` are kept; the others go to the trash. NULL: says nothing of it. Until
-- `in_effect_from` it keeps what it keeps, and takes nothing.
CREATE TABLE retention_rule (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    scope         TEXT    NOT NULL,
    pattern       TEXT    NOT NULL,
    keep_newest   INTEGER,
    newest_by     TEXT    NOT NULL DEFAULT 'time' CHECK (newest_by IN ('time', 'version')),
    keep_pushed_ms INTEGER,
    keep_pulled_ms INTEGER,
    in_effect_from INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    created_by    TEXT    NOT NULL,
    CHECK (coalesce(keep_newest, keep_pushed_ms, keep_pulled_ms) IS NOT NULL)
);

-- From when on pulls are known of: one before is nowhere written.
CREATE TABLE pull_counting (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    since       INTEGER NOT NULL
);
INSERT INTO pull_counting (id, since) VALUES (1, unixepoch() * 1000);

-- Manifests that no tag points to, and since when: whatever makes, moves, deletes or restores them, what is
-- untagged is found without a look at the rest. An index's children are here until someone looks. It names
-- rows that may be gone.
CREATE TABLE untagged (
    manifest    INTEGER PRIMARY KEY,
    since       INTEGER NOT NULL
);
CREATE INDEX untagged_by_time ON untagged (since);
INSERT INTO untagged (manifest, since) SELECT id, unixepoch() * 1000 FROM manifest
    WHERE NOT EXISTS (SELECT 1 FROM tag WHERE manifest = manifest.id);
CREATE TRIGGER tag_is_made AFTER INSERT ON tag
    BEGIN DELETE FROM untagged WHERE manifest = NEW.manifest; END;
CREATE TRIGGER tag_is_moved AFTER UPDATE OF manifest ON tag WHEN OLD.manifest <> NEW.manifest BEGIN
    DELETE FROM untagged WHERE manifest = NEW.manifest;
    INSERT OR REPLACE INTO untagged SELECT OLD.manifest, unixepoch() * 1000
        WHERE NOT EXISTS (SELECT 1 FROM tag WHERE manifest = OLD.manifest);
END;
CREATE TRIGGER tag_is_deleted AFTER DELETE ON tag
    BEGIN INSERT OR REPLACE INTO untagged SELECT OLD.manifest, unixepoch() * 1000
        WHERE NOT EXISTS (SELECT 1 FROM tag WHERE manifest = OLD.manifest); END;
CREATE TRIGGER manifest_leaves_trash AFTER DELETE ON trash
    BEGIN INSERT OR REPLACE INTO untagged SELECT id, unixepoch() * 1000 FROM manifest
        WHERE id = OLD.manifest AND NOT EXISTS (SELECT 1 FROM tag WHERE manifest = OLD.manifest); END;
CREATE TRIGGER manifest_is_gone AFTER DELETE ON manifest
    BEGIN DELETE FROM untagged WHERE manifest = OLD.id; END;

-- By what is pointed at, then by where from: whether anything anywhere needs a blob is one look. `repository` is
-- its manifest's and checked there: a check of its own would look through all edges whenever a repository goes.
ALTER TABLE manifest_reference RENAME TO old_manifest_reference;
CREATE TABLE manifest_reference (
    manifest    INTEGER NOT NULL REFERENCES manifest (id),
    repository  INTEGER NOT NULL,
    target      TEXT    NOT NULL,
    kind        TEXT    NOT NULL CHECK (kind IN ('config', 'layer', 'manifest')),
    PRIMARY KEY (manifest, target, kind)
) WITHOUT ROWID;
INSERT INTO manifest_reference SELECT manifest, repository, target, kind FROM old_manifest_reference;
DROP TABLE old_manifest_reference;
CREATE INDEX manifest_reference_by_target ON manifest_reference (target, repository);

-- What is not live awaits its removal.
CREATE INDEX blob_not_live ON blob (state, digest) WHERE state <> 'live';

-- `retired_generation`: no file of this generation or a lower one is ever made anew, so that a late removal
-- hits nothing. `disk_bytes` is `bytes` in whole blocks of 4 KiB.
ALTER TABLE blob_total ADD COLUMN disk_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE blob_total ADD COLUMN retired_generation INTEGER NOT NULL DEFAULT 0;

-- A lease that is over is the question whether what it kept is garbage. What nothing refers to and nothing
-- leases from before there were such questions is asked about in a day.
INSERT INTO lease (repository, digest, until)
    SELECT l.repository, l.digest, unixepoch() * 1000 + 86400000 FROM repository_blob l
    WHERE NOT EXISTS (SELECT 1 FROM manifest_reference WHERE target = l.digest AND repository = l.repository)
    ON CONFLICT (repository, digest) DO NOTHING;
UPDATE blob SET state = 'deleting' WHERE state <> 'deleting'
    AND NOT EXISTS (SELECT 1 FROM repository_blob WHERE digest = blob.digest)
    AND NOT EXISTS (SELECT 1 FROM manifest_reference WHERE target = blob.digest);
UPDATE blob_total SET
    blobs = (SELECT count(*) FROM blob WHERE state = 'live'),
    bytes = (SELECT coalesce(sum(size), 0) FROM blob WHERE state = 'live'),
    disk_bytes = (SELECT coalesce(sum((size + 4095) / 4096 * 4096), 0) FROM blob WHERE state = 'live');

-- Who has a password as another registry hashed it, until they first sign in.
CREATE INDEX account_by_bcrypt ON account (id) WHERE password LIKE '$2%';

-- While one of these is not over, nothing is taken from the disk: a backup is being made.
CREATE TABLE garbage_pause (
    holder      TEXT    NOT NULL PRIMARY KEY,
    until       INTEGER NOT NULL
) WITHOUT ROWID;

-- One row. `sequence` is also written to a file beside the database: a database that was put back knows a lower
-- one. `mistrusted` says why no garbage is collected until an operator has looked. `report` is what the last
-- check found, as JSON; a check that was begun when nothing was mistrusted yet does not count as a look.
-- `clock` is what time it was when the machine had been up for `uptime` in its `boot`: no jump of the clock
-- hastens an end. Since an uptime of `ahead_since` the machine's clock has been so much ahead of it.
CREATE TABLE store_state (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    sequence    INTEGER NOT NULL,
    mistrusted  TEXT,
    mistrusted_at INTEGER,
    checked_at  INTEGER,
    report      TEXT,
    clock       INTEGER NOT NULL DEFAULT 0,
    uptime      INTEGER NOT NULL DEFAULT 0,
    boot        TEXT    NOT NULL DEFAULT '',
    ahead       INTEGER NOT NULL DEFAULT 0,
    ahead_since INTEGER NOT NULL DEFAULT 0
);
INSERT INTO store_state (id, sequence) VALUES (1, 0);

-- A file among the blobs that no row names, and when a check first found it so: none is put aside before a day.
CREATE TABLE stray_file (
    name        TEXT    NOT NULL PRIMARY KEY,
    found_at    INTEGER NOT NULL
) WITHOUT ROWID;

-- How far the reading of everything has come: blobs by digest, then manifests by row. Urgent: someone waits.
CREATE TABLE scrub (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    started_at    INTEGER,
    finished_at   INTEGER,
    blob_after    TEXT    NOT NULL DEFAULT '',
    manifest_after INTEGER NOT NULL DEFAULT 0,
    blobs         INTEGER NOT NULL DEFAULT 0,
    bytes         INTEGER NOT NULL DEFAULT 0,
    manifests     INTEGER NOT NULL DEFAULT 0,
    damaged       INTEGER NOT NULL DEFAULT 0,
    is_urgent     INTEGER NOT NULL DEFAULT 0 CHECK (is_urgent IN (0, 1))
);
INSERT INTO scrub (id) VALUES (1);

-- Work that outlives the process that was asked for it. Of a `key` one is queued or running at a time. Whoever
-- holds `holder` may say how far it is; when `leased_until` is over, another takes it.
CREATE TABLE job (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    kind         TEXT    NOT NULL,
    key          TEXT    NOT NULL,
    arguments    TEXT    NOT NULL,
    state        TEXT    NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled')),
    not_before   INTEGER NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    attempts_max INTEGER NOT NULL,
    holder       TEXT,
    leased_until INTEGER,
    is_cancelling INTEGER NOT NULL DEFAULT 0 CHECK (is_cancelling IN (0, 1)),
    progress     TEXT,
    result       TEXT,
    error        TEXT,
    created_at   INTEGER NOT NULL,
    created_by   TEXT    NOT NULL,
    started_at   INTEGER,
    finished_at  INTEGER
);
CREATE UNIQUE INDEX job_under_way ON job (key) WHERE state IN ('queued', 'running');
CREATE INDEX job_by_state ON job (state, not_before);
CREATE INDEX job_by_end ON job (finished_at) WHERE finished_at IS NOT NULL;

-- When each schedule last asked for its job.
CREATE TABLE job_schedule (
    kind        TEXT    NOT NULL PRIMARY KEY,
    last_at     INTEGER NOT NULL
) WITHOUT ROWID;

-- Rows of the audit are never cut, so their numbers are not given twice: without AUTOINCREMENT each push writes a
-- page less. Without indexes two more: whoever looks for one actor or target reads the audit, a million rows in less
-- than a second.
ALTER TABLE audit RENAME TO old_audit;
CREATE TABLE audit (
    id          INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    actor       TEXT    NOT NULL,
    token       INTEGER,
    address     TEXT    NOT NULL,
    action      TEXT    NOT NULL,
    target      TEXT    NOT NULL,
    outcome     TEXT    NOT NULL CHECK (outcome IN ('allowed', 'denied')),
    detail      TEXT    NOT NULL DEFAULT ''
);
INSERT INTO audit (id, at, actor, token, address, action, target, outcome, detail)
    SELECT id, at, actor, token, address, action, target, outcome, detail FROM old_audit;
DROP TABLE old_audit;
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
    BEGIN SELECT RAISE (ABORT, 'the audit is append-only'); END;
CREATE TRIGGER audit_is_never_replaced BEFORE INSERT ON audit WHEN NEW.id > 0
    BEGIN SELECT RAISE (ABORT, 'the audit is append-only'); END;
CREATE TRIGGER audit_is_never_cut BEFORE DELETE ON audit
    BEGIN SELECT RAISE (ABORT, 'the audit is append-only'); END;
