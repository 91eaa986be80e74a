-- Times are milliseconds since 1970-01-01 UTC. Digests are text, "sha256:<hex>" unless said otherwise.

CREATE TABLE repository (
    id          INTEGER PRIMARY KEY,
    name        TEXT    NOT NULL UNIQUE,
    created_at  INTEGER NOT NULL
);

-- One row per content, whatever number of repositories hold it. A live row has its file:
-- blobs/sha256/ab/<hex>.<generation>
CREATE TABLE blob (
    digest      TEXT    NOT NULL PRIMARY KEY,
    sha512      TEXT    UNIQUE,
    size        INTEGER NOT NULL,
    generation  INTEGER NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('live', 'deleting', 'damaged')),
    created_at  INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX blob_without_sha512 ON blob (digest) WHERE sha512 IS NULL AND state = 'live';

-- How much is live, kept in step by whoever changes `blob`: counting a million rows takes too long.
CREATE TABLE blob_total (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    blobs       INTEGER NOT NULL,
    bytes       INTEGER NOT NULL
);
INSERT INTO blob_total (id, blobs, bytes) VALUES (1, 0, 0);

-- Which repository may serve which blob. `origin` is how it first came; `arrival` how its bytes came
-- since a manifest last named it, which is what a push reports as travelled.
CREATE TABLE repository_blob (
    repository  INTEGER NOT NULL REFERENCES repository (id),
    digest      TEXT    NOT NULL REFERENCES blob (digest),
    origin      TEXT    NOT NULL CHECK (origin IN ('uploaded', 'mounted', 'mirrored')),
    arrival     TEXT    CHECK (arrival IN ('uploaded', 'mounted')),
    linked_at   INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
) WITHOUT ROWID;
CREATE INDEX repository_blob_by_digest ON repository_blob (digest);

-- What a client was told it need not send: kept until then, referenced or not.
CREATE TABLE lease (
    repository  INTEGER NOT NULL REFERENCES repository (id),
    digest      TEXT    NOT NULL,
    until       INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
) WITHOUT ROWID;
CREATE INDEX lease_by_until ON lease (until);

-- The bytes as received, never rewritten. `algorithm` is that of the digest it was last pushed by.
CREATE TABLE manifest (
    id            INTEGER PRIMARY KEY,
    repository    INTEGER NOT NULL REFERENCES repository (id),
    digest        TEXT    NOT NULL,
    sha512        TEXT    NOT NULL,
    algorithm     TEXT    NOT NULL CHECK (algorithm IN ('sha256', 'sha512')),
    media_type    TEXT    NOT NULL,
    artifact_type TEXT,
    subject       TEXT,
    depth         INTEGER NOT NULL,
    size          INTEGER NOT NULL,
    annotations   TEXT    NOT NULL,
    payload       BLOB    NOT NULL,
    pushed_at     INTEGER NOT NULL,
    pushed_by     TEXT    NOT NULL,
    UNIQUE (repository, digest),
    UNIQUE (repository, sha512)
);
CREATE INDEX manifest_by_subject ON manifest (repository, subject, id) WHERE subject IS NOT NULL;

-- The edges, written with the manifest; nothing parses storage again to learn them. By its id, as tags
-- are: rows that follow each other stand on one page, rows by digest each on another.
CREATE TABLE manifest_reference (
    manifest    INTEGER NOT NULL REFERENCES manifest (id),
    repository  INTEGER NOT NULL REFERENCES repository (id),
    target      TEXT    NOT NULL,
    kind        TEXT    NOT NULL CHECK (kind IN ('config', 'layer', 'manifest')),
    PRIMARY KEY (manifest, target, kind)
) WITHOUT ROWID;
CREATE INDEX manifest_reference_by_target ON manifest_reference (repository, target);

-- `algorithm` is that of the digest the tag was pushed by, which a pull by tag answers with.
CREATE TABLE tag (
    repository  INTEGER NOT NULL REFERENCES repository (id),
    name        TEXT    NOT NULL,
    manifest    INTEGER NOT NULL REFERENCES manifest (id),
    algorithm   TEXT    NOT NULL CHECK (algorithm IN ('sha256', 'sha512')),
    moved_at    INTEGER NOT NULL,
    moved_by    TEXT    NOT NULL,
    PRIMARY KEY (repository, name)
) WITHOUT ROWID;
CREATE INDEX tag_by_manifest ON tag (manifest);

-- Append-only: who moved which tag from where to where. NULL is "nowhere".
CREATE TABLE tag_event (
    id          INTEGER PRIMARY KEY,
    repository  INTEGER NOT NULL REFERENCES repository (id),
    name        TEXT    NOT NULL,
    from_digest TEXT,
    to_digest   TEXT,
    at          INTEGER NOT NULL,
    by          TEXT    NOT NULL
);

-- A blob on its way in. Its repository need not exist yet, so it is named. `digest_so_far` is the
-- sha256 of the first `received` bytes, NULL when they were not hashed from the start in one request.
CREATE TABLE upload (
    id            TEXT    NOT NULL PRIMARY KEY,
    repository    TEXT    NOT NULL,
    received      INTEGER NOT NULL,
    digest_so_far TEXT,
    started_by    TEXT    NOT NULL,
    started_at    INTEGER NOT NULL,
    touched_at    INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX upload_by_touched ON upload (touched_at);
CREATE INDEX upload_by_starter ON upload (started_by);
