CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE clip_envelope (
	clip TEXT NOT NULL,
	object TEXT NOT NULL,
	envelope BLOB NOT NULL,
	written_at_ms INTEGER NOT NULL,
	CONSTRAINT pk_clip_envelope PRIMARY KEY (clip, object)
);

CREATE TABLE keyring (
	statement_sha256 BLOB NOT NULL,
	holder TEXT NOT NULL,
	household TEXT NOT NULL,
	file BLOB NOT NULL,
	written_at_ms INTEGER NOT NULL,
	CONSTRAINT pk_keyring PRIMARY KEY (statement_sha256, holder),
	CONSTRAINT ck_keyring_hash_length CHECK (length(statement_sha256) = 32)
);
