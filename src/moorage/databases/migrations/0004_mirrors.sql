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

-- When an upstream was last asked for the referrers of a manifest. `along_at`: when all that signs or describes
-- it had come along; NULL: not yet.
CREATE TABLE mirrored_subject (
    repository  INTEGER NOT NULL REFERENCES repository (id) ON DELETE CASCADE,
    digest      TEXT    NOT NULL,
    checked_at  INTEGER NOT NULL,
    along_at    INTEGER,
    PRIMARY KEY (repository, digest)
) WITHOUT ROWID;

-- The bytes of the blobs that the repositories of an upstream serve, each once: kept in step by triggers, for a
-- budget is looked at often.
CREATE TABLE mirrored_total (
    upstream    TEXT    NOT NULL PRIMARY KEY,
    bytes       INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER mirrored_blob_is_linked AFTER INSERT ON repository_blob
    WHEN EXISTS (SELECT 1 FROM mirrored_repository WHERE repository = NEW.repository) BEGIN
    INSERT INTO mirrored_total (upstream, bytes)
        SELECT m.upstream, b.size FROM mirrored_repository m JOIN blob b ON b.digest = NEW.digest
        WHERE m.repository = NEW.repository AND NOT EXISTS (
            SELECT 1 FROM repository_blob l JOIN mirrored_repository o ON o.repository = l.repository
            WHERE l.digest = NEW.digest AND l.repository <> NEW.repository AND o.upstream = m.upstream
        ) ON CONFLICT (upstream) DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER mirrored_blob_is_unlinked AFTER DELETE ON repository_blob
    WHEN EXISTS (SELECT 1 FROM mirrored_repository WHERE repository = OLD.repository) BEGIN
    UPDATE mirrored_total SET bytes = bytes - (SELECT size FROM blob WHERE digest = OLD.digest)
        WHERE upstream = (
            SELECT m.upstream FROM mirrored_repository m WHERE m.repository = OLD.repository AND NOT EXISTS (
                SELECT 1 FROM repository_blob l JOIN mirrored_repository o ON o.repository = l.repository
                WHERE l.digest = OLD.digest AND o.upstream = m.upstream
            )
        );
END;
-- A blob may have come before the first manifest says whose the repository is.
CREATE TRIGGER repository_is_mirrored AFTER INSERT ON mirrored_repository BEGIN
    INSERT INTO mirrored_total (upstream, bytes)
        SELECT NEW.upstream, coalesce(sum(b.size), 0) FROM repository_blob n JOIN blob b ON b.digest = n.digest
        WHERE n.repository = NEW.repository AND NOT EXISTS (
            SELECT 1 FROM repository_blob l JOIN mirrored_repository o ON o.repository = l.repository
            WHERE l.digest = n.digest AND l.repository <> NEW.repository AND o.upstream = NEW.upstream
        ) ON CONFLICT (upstream) DO UPDATE SET bytes = bytes + excluded.bytes;
END;

-- Its images become local ones, or the repository is gone.
CREATE TRIGGER repository_is_mirrored_no_more AFTER DELETE ON mirrored_repository BEGIN
    UPDATE mirrored_total SET bytes = bytes - (
        SELECT coalesce(sum(b.size), 0) FROM repository_blob n JOIN blob b ON b.digest = n.digest
        WHERE n.repository = OLD.repository AND NOT EXISTS (
            SELECT 1 FROM repository_blob l JOIN mirrored_repository o ON o.repository = l.repository
            WHERE l.digest = n.digest AND o.upstream = OLD.upstream
        )
    ) WHERE upstream = OLD.upstream;
END;

-- When last was pulled what has left since: what a rehearsal has to know. By a tag's name, or by a digest;
-- `is_whole`: not only as a part of an image that left.
CREATE TABLE mirrored_pull (
    repository  INTEGER NOT NULL REFERENCES repository (id) ON DELETE CASCADE,
    reference   TEXT    NOT NULL,
    last_at     INTEGER NOT NULL,
    is_whole    INTEGER NOT NULL CHECK (is_whole IN (0, 1)),
    PRIMARY KEY (repository, reference)
) WITHOUT ROWID;
CREATE TRIGGER mirrored_manifest_is_deleted AFTER INSERT ON deletion
    WHEN EXISTS (SELECT 1 FROM mirrored_repository WHERE repository = NEW.repository) BEGIN
    INSERT INTO mirrored_pull (repository, reference, last_at, is_whole)
        SELECT repository, reference, last_at, 1 FROM pull
        WHERE repository = NEW.repository AND reference = NEW.digest
        ON CONFLICT (repository, reference) DO UPDATE SET last_at = excluded.last_at, is_whole = 1;
END;
CREATE TRIGGER mirrored_pull_is_forgotten AFTER DELETE ON pull
    WHEN EXISTS (SELECT 1 FROM mirrored_repository WHERE repository = OLD.repository) BEGIN
    INSERT INTO mirrored_pull (repository, reference, last_at, is_whole)
        VALUES (OLD.repository, OLD.reference, OLD.last_at, instr(OLD.reference, ':') = 0)
        ON CONFLICT (repository, reference) DO UPDATE SET last_at = excluded.last_at,
            is_whole = max(is_whole, excluded.is_whole);
END;

-- What was saved and what was fetched, by UTC day ("2026-11-27"); '' is the sum of all days that there were.
-- `upstream` is '' for what pushes skipped.
CREATE TABLE saving (
    day         TEXT    NOT NULL,
    upstream    TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    amount      INTEGER NOT NULL,
    PRIMARY KEY (day, upstream, kind)
) WITHOUT ROWID;
