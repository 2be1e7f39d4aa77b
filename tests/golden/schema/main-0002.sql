CREATE INDEX ix_claim_household ON claim (household);

CREATE INDEX ix_clip_deleted_at_ms ON clip (deleted_at_ms);

CREATE INDEX ix_clip_device_seq ON clip (device, seq);

CREATE INDEX ix_clip_event_device_event ON clip_event (device, event);

CREATE INDEX ix_clip_household_started_at_ms_id ON clip (household, started_at_ms, id);

CREATE INDEX ix_device_household ON device (household);

CREATE INDEX ix_event_household_at_ms_id ON event (household, at_ms, id);

CREATE UNIQUE INDEX ix_event_household_place ON event (household, place);

CREATE INDEX ix_session_household_member ON session (household, member);

CREATE INDEX ix_sign_in_challenge_expires_at_ms ON sign_in_challenge (expires_at_ms);

CREATE INDEX ix_token_household_member ON token (household, member);

CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE claim (
	id BLOB NOT NULL,
	household TEXT NOT NULL,
	created_at_ms INTEGER NOT NULL,
	expires_at_ms INTEGER NOT NULL,
	CONSTRAINT pk_claim PRIMARY KEY (id),
	CONSTRAINT ck_claim_id_length CHECK (length(id) = 16),
	CONSTRAINT fk_claim_household FOREIGN KEY(household) REFERENCES household (id)
);

CREATE TABLE clip (
	id TEXT NOT NULL,
	device TEXT NOT NULL,
	household TEXT NOT NULL,
	kind TEXT NOT NULL,
	manifest BLOB NOT NULL,
	manifest_sha256 BLOB NOT NULL,
	seq INTEGER NOT NULL,
	epoch INTEGER NOT NULL,
	started_at_ms INTEGER NOT NULL,
	ended_at_ms INTEGER NOT NULL,
	pre_roll_ms INTEGER NOT NULL,
	part INTEGER NOT NULL,
	is_last BOOLEAN NOT NULL,
	is_truncated BOOLEAN NOT NULL,
	clock_synced BOOLEAN NOT NULL,
	announced_at_ms INTEGER NOT NULL,
	stored_at_ms INTEGER,
	deleted_at_ms INTEGER, deletion_receipt BLOB, objects_deleted_at_ms INTEGER,
	CONSTRAINT pk_clip PRIMARY KEY (id),
	CONSTRAINT ck_clip_kind_known CHECK (kind in ('ring', 'motion')),
	CONSTRAINT ck_clip_hash_length CHECK (length(manifest_sha256) = 32)
);

CREATE TABLE clip_event (
	clip TEXT NOT NULL,
	event TEXT NOT NULL,
	device TEXT NOT NULL,
	CONSTRAINT pk_clip_event PRIMARY KEY (clip, event)
);

CREATE TABLE clip_object (
	clip TEXT NOT NULL,
	object TEXT NOT NULL,
	length INTEGER NOT NULL,
	sha256 BLOB NOT NULL,
	envelope_length INTEGER NOT NULL,
	envelope_sha256 BLOB NOT NULL,
	stored_at_ms INTEGER,
	receipt BLOB,
	CONSTRAINT pk_clip_object PRIMARY KEY (clip, object),
	CONSTRAINT ck_clip_object_object_known CHECK (object in ('file', 'thumb', 'details')),
	CONSTRAINT ck_clip_object_stored_has_receipt CHECK ((stored_at_ms is null) = (receipt is null)),
	CONSTRAINT ck_clip_object_hash_length CHECK (length(sha256) = 32),
	CONSTRAINT fk_clip_object_clip FOREIGN KEY(clip) REFERENCES clip (id)
);

CREATE TABLE consent_policy (
	household TEXT NOT NULL,
	version INTEGER NOT NULL,
	body_sha256 BLOB NOT NULL,
	signed BLOB NOT NULL,
	received_at_ms INTEGER NOT NULL,
	CONSTRAINT pk_consent_policy PRIMARY KEY (household, version),
	CONSTRAINT ck_consent_policy_version_from_one CHECK (version >= 1),
	CONSTRAINT ck_consent_policy_hash_length CHECK (length(body_sha256) = 32),
	CONSTRAINT fk_consent_policy_household FOREIGN KEY(household) REFERENCES household (id),
	CONSTRAINT uq_consent_policy_body_sha256 UNIQUE (body_sha256)
);

CREATE TABLE device (
	id TEXT NOT NULL,
	household TEXT NOT NULL,
	claim BLOB NOT NULL,
	tls_key BLOB NOT NULL,
	manifest_key BLOB NOT NULL,
	age_recipient TEXT NOT NULL,
	mac BLOB NOT NULL,
	certificate TEXT NOT NULL,
	enrolled_at_ms INTEGER NOT NULL,
	CONSTRAINT pk_device PRIMARY KEY (id),
	CONSTRAINT ck_device_id_length CHECK (length(id) = 29),
	CONSTRAINT ck_device_mac_length CHECK (length(mac) = 32),
	CONSTRAINT ck_device_manifest_key_length CHECK (length(manifest_key) = 32),
	CONSTRAINT fk_device_claim FOREIGN KEY(claim) REFERENCES claim (id),
	CONSTRAINT fk_device_household FOREIGN KEY(household) REFERENCES household (id),
	CONSTRAINT uq_device_claim UNIQUE (claim),
	CONSTRAINT uq_device_manifest_key UNIQUE (manifest_key)
);

CREATE TABLE device_command (
	device TEXT NOT NULL,
	counter INTEGER NOT NULL,
	household TEXT NOT NULL,
	name TEXT NOT NULL,
	signed BLOB NOT NULL,
	received_at_ms INTEGER NOT NULL,
	expires_at_ms INTEGER NOT NULL,
	answered_at_ms INTEGER,
	is_done BOOLEAN,
	reason TEXT,
	CONSTRAINT pk_device_command PRIMARY KEY (device, counter),
	CONSTRAINT ck_device_command_counter_from_one CHECK (counter >= 1),
	CONSTRAINT ck_device_command_name_known CHECK (name in ('delete')),
	CONSTRAINT ck_device_command_answered_or_not CHECK ((answered_at_ms is null) = (is_done is null)),
	CONSTRAINT fk_device_command_device FOREIGN KEY(device) REFERENCES device (id)
);

CREATE TABLE event (
	device TEXT NOT NULL,
	id TEXT NOT NULL,
	household TEXT NOT NULL,
	kind TEXT NOT NULL,
	alert TEXT NOT NULL,
	at_ms INTEGER NOT NULL,
	clock_synced BOOLEAN NOT NULL,
	received_at_ms INTEGER NOT NULL,
	place INTEGER NOT NULL,
	CONSTRAINT pk_event PRIMARY KEY (device, id),
	CONSTRAINT ck_event_alert_known CHECK (alert in ('now', 'digest', 'none')),
	CONSTRAINT ck_event_kind_known CHECK (kind in ('ring', 'motion'))
);

CREATE TABLE household (
	id TEXT NOT NULL,
	root BLOB NOT NULL,
	created_at_ms INTEGER NOT NULL,
	CONSTRAINT pk_household PRIMARY KEY (id),
	CONSTRAINT ck_household_id_length CHECK (length(id) = 26),
	CONSTRAINT ck_household_root_length CHECK (length(root) = 32),
	CONSTRAINT uq_household_root UNIQUE (root)
);

CREATE TABLE household_settings (
	household TEXT NOT NULL,
	retention_days INTEGER NOT NULL,
	changed_at_ms INTEGER NOT NULL,
	CONSTRAINT pk_household_settings PRIMARY KEY (household),
	CONSTRAINT ck_household_settings_days_bounded CHECK (retention_days between 1 and 60),
	CONSTRAINT fk_household_settings_household FOREIGN KEY(household) REFERENCES household (id)
);

CREATE TABLE invite (
	code_sha256 BLOB NOT NULL,
	created_at_ms INTEGER NOT NULL,
	expires_at_ms INTEGER NOT NULL,
	household TEXT,
	CONSTRAINT pk_invite PRIMARY KEY (code_sha256),
	CONSTRAINT ck_invite_hash_length CHECK (length(code_sha256) = 32),
	CONSTRAINT fk_invite_household FOREIGN KEY(household) REFERENCES household (id)
);

CREATE TABLE job (
	name TEXT NOT NULL,
	passed_at_ms INTEGER NOT NULL,
	CONSTRAINT pk_job PRIMARY KEY (name)
);

CREATE TABLE member (
	household TEXT NOT NULL,
	id TEXT NOT NULL,
	role TEXT NOT NULL,
	sign_key BLOB NOT NULL,
	sign_key_id BLOB NOT NULL,
	CONSTRAINT pk_member PRIMARY KEY (household, id),
	CONSTRAINT ck_member_role_known CHECK (role in ('owner', 'viewer')),
	CONSTRAINT ck_member_key_length CHECK (length(sign_key) = 32),
	CONSTRAINT fk_member_household FOREIGN KEY(household) REFERENCES household (id),
	CONSTRAINT uq_member_sign_key_id UNIQUE (sign_key_id)
);

CREATE TABLE presence (
	device TEXT NOT NULL,
	boot TEXT NOT NULL,
	connections INTEGER NOT NULL,
	is_connected BOOLEAN NOT NULL,
	earlier_boots TEXT NOT NULL,
	last_heard_at_ms INTEGER NOT NULL,
	agent TEXT,
	health TEXT,
	health_at_ms INTEGER,
	CONSTRAINT pk_presence PRIMARY KEY (device),
	CONSTRAINT fk_presence_device FOREIGN KEY(device) REFERENCES device (id)
);

CREATE TABLE session (
	id INTEGER NOT NULL,
	code_sha256 BLOB NOT NULL,
	household TEXT NOT NULL,
	member TEXT NOT NULL,
	signed_at_ms INTEGER NOT NULL,
	created_at_ms INTEGER NOT NULL,
	expires_at_ms INTEGER NOT NULL,
	CONSTRAINT pk_session PRIMARY KEY (id),
	CONSTRAINT fk_session_household_member FOREIGN KEY(household, member) REFERENCES member (household, id) ON DELETE CASCADE,
	CONSTRAINT uq_session_code_sha256 UNIQUE (code_sha256)
);

CREATE TABLE sign_in_challenge (
	nonce BLOB NOT NULL,
	expires_at_ms INTEGER NOT NULL,
	CONSTRAINT pk_sign_in_challenge PRIMARY KEY (nonce)
);

CREATE TABLE statement (
	household TEXT NOT NULL,
	seq INTEGER NOT NULL,
	body_sha256 BLOB NOT NULL,
	signed BLOB NOT NULL,
	epoch INTEGER NOT NULL,
	epoch_recipient TEXT NOT NULL,
	has_keyring BOOLEAN NOT NULL,
	received_at_ms INTEGER NOT NULL,
	CONSTRAINT pk_statement PRIMARY KEY (household, seq),
	CONSTRAINT ck_statement_hash_length CHECK (length(body_sha256) = 32),
	CONSTRAINT ck_statement_seq_from_zero CHECK (seq >= 0),
	CONSTRAINT fk_statement_household FOREIGN KEY(household) REFERENCES household (id),
	CONSTRAINT uq_statement_body_sha256 UNIQUE (body_sha256)
);

CREATE TABLE token (
	id TEXT NOT NULL,
	code_sha256 BLOB NOT NULL,
	household TEXT NOT NULL,
	member TEXT NOT NULL,
	name TEXT NOT NULL,
	scopes TEXT NOT NULL,
	created_at_ms INTEGER NOT NULL,
	expires_at_ms INTEGER NOT NULL,
	CONSTRAINT pk_token PRIMARY KEY (id),
	CONSTRAINT ck_token_name_length CHECK (length(name) between 1 and 64),
	CONSTRAINT fk_token_household_member FOREIGN KEY(household, member) REFERENCES member (household, id) ON DELETE CASCADE,
	CONSTRAINT uq_token_code_sha256 UNIQUE (code_sha256)
);
