-- Other registries, whose content is fetched when it is asked for and kept. Times are milliseconds since 1970-01-01 UTC.

-- Those that were made by the API or the command line; others stand in the settings. `name` is the first
-- part of the names that their repositories have here. `settings` is JSON: see mirrors/upstreams.py. The
-- secrets are kept as they are, for they have to be shown to the upstream: whoever has this file has them.
CREATE TABLE upstream (
    name        TEXT    NOT NULL PRIMARY KEY,
    settings    TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    created_by  TEXT    NOT NULL
) WITHOUT ROWID;

-- An upstream that is not asked at all, until someone connects it again.
CREATE TABLE upstream_disconnection (
    name        TEXT    NOT NULL PRIMARY KEY,
    at          INTEGER NOT NULL,
    by          TEXT    NOT NULL
) WITHOUT ROWID;

-- What all processes know of the line to one address of an upstream. `retry_at`: when an open line is next
-- tried. The quota is what the upstream last said of its own limits.
CREATE TABLE upstream_line (
    upstream    TEXT    NOT NULL,
    address     TEXT    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('closed', 'open', 'half-open')),
    failures    INTEGER NOT NULL DEFAULT 0,
    opened_at   INTEGER,
    retry_at    INTEGER,
    last_error  TEXT,
    failed_at   INTEGER,
    answered_at INTEGER,
    quota_limit INTEGER,
    quota_left  INTEGER,
    quota_at    INTEGER,
    PRIMARY KEY (upstream, address)
) WITHOUT ROWID;

-- One row: each process reads the tables above again when it has changed.
CREATE TABLE upstream_version (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    version     INTEGER NOT NULL
);
INSERT INTO upstream_version (id, version) VALUES (1, 1);
CREATE TRIGGER upstream_added AFTER INSERT ON upstream
    BEGIN UPDATE upstream_version SET version = version + 1 WHERE id = 1; END;
CREATE TRIGGER upstream_changed AFTER UPDATE ON upstream
    BEGIN UPDATE upstream_version SET version = version + 1 WHERE id = 1; END;
CREATE TRIGGER upstream_removed AFTER DELETE ON upstream
    BEGIN UPDATE upstream_version SET version = version + 1 WHERE id = 1; END;
CREATE TRIGGER upstream_disconnected AFTER INSERT ON upstream_disconnection
    BEGIN UPDATE upstream_version SET version = version + 1 WHERE id = 1; END;
CREATE TRIGGER upstream_connected AFTER DELETE ON upstream_disconnection
    BEGIN UPDATE upstream_version SET version = version + 1 WHERE id = 1; END;
CREATE TRIGGER upstream_line_added AFTER INSERT ON upstream_line
    BEGIN UPDATE upstream_version SET version = version + 1 WHERE id = 1; END;
CREATE TRIGGER upstream_line_changed AFTER UPDATE OF state, retry_at ON upstream_line
    BEGIN UPDATE upstream_version SET version = version + 1 WHERE id = 1; END;

-- A repository whose content is an upstream's: clients only pull from it. One without a row here is local.
CREATE TABLE mirrored_repository (
    repository  INTEGER PRIMARY KEY REFERENCES repository (id) ON DELETE CASCADE,
    upstream    TEXT    NOT NULL
);
CREATE INDEX mirrored_repository_by_upstream ON mirrored_repository (upstream, repository);

-- When an upstream last said what a tag of it names. `asking_until`: some process asks it just now.
-- `gone_at`: since when the upstream has said that it has no such tag, which is served all the same.
CREATE TABLE mirrored_tag (
    repository  INTEGER NOT NULL REFERENCES repository (id) ON DELETE CASCADE,
    name        TEXT    NOT NULL,
    checked_at  INTEGER NOT NULL,
    asking_until INTEGER NOT NULL DEFAULT 0,
    gone_at     INTEGER,
    PRIMARY KEY (repository, name)
) WITHOUT ROWID;

-- Digests that an upstream itself, none of its alternatives, has shown for a tag.
CREATE TABLE mirrored_digest (
    repository  INTEGER NOT NULL REFERENCES repository (id) ON DELETE CASCADE,
    name        TEXT    NOT NULL,
    digest      TEXT    NOT NULL,
    shown_at    INTEGER NOT NULL,
    PRIMARY KEY (repository, name, digest)
) WITHOUT ROWID;

-- When an upstream was last asked for the referrers of a manifest.
CREATE TABLE mirrored_subject (
    repository  INTEGER NOT NULL REFERENCES repository (id) ON DELETE CASCADE,
    digest      TEXT    NOT NULL,
    checked_at  INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
) WITHOUT ROWID;

-- What was saved and what was fetched, by UTC day ("2026-11-27"); '' is the sum of all days that there were.
-- `upstream` is '' for what pushes skipped.
CREATE TABLE saving (
    day         TEXT    NOT NULL,
    upstream    TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    amount      INTEGER NOT NULL,
    PRIMARY KEY (day, upstream, kind)
) WITHOUT ROWID;
