-- Keyway's schema, data format 1. The plugin runs this where its schema is missing and its role may create it; an
-- administrator may run it instead (plugins/postgres/README.md). Everything lives in one schema, here named keyway.

CREATE SCHEMA IF NOT EXISTS keyway;

-- One row each: data_format, incarnation, mark.
CREATE TABLE keyway.meta (
    name  text PRIMARY KEY,
    value bigint NOT NULL
);

-- Versions of records and numbers of keyspaces: none is given out twice.
CREATE SEQUENCE keyway.numbers AS bigint;

-- A keyspace is its number. Names are bytes: any UTF-8, in the order of its bytes.
CREATE TABLE keyway.spaces (
    id   bigint NOT NULL UNIQUE,
    name bytea PRIMARY KEY
);

-- Numbers without a name: of keyspaces that were dropped, and of those that a restore is filling. From `due` on their
-- records are nobody's and may be removed.
CREATE TABLE keyway.orphans (
    id  bigint PRIMARY KEY,
    due timestamptz NOT NULL
);

-- PostgreSQL compares bytea as unsigned bytes, which is the order of keys. Values are ciphertext, so that nothing is
-- gained by compressing them.
CREATE TABLE keyway.records (
    space         bigint NOT NULL,
    version       bigint NOT NULL,
    expires_at_ms bigint,
    key           bytea NOT NULL,
    value         bytea NOT NULL,
    PRIMARY KEY (space, key)
);
ALTER TABLE keyway.records ALTER COLUMN value SET STORAGE EXTERNAL;
CREATE INDEX records_expiring ON keyway.records (expires_at_ms) WHERE expires_at_ms IS NOT NULL;

-- The time of the transaction under way, in milliseconds since 1970.
CREATE FUNCTION keyway.moment() RETURNS bigint
    LANGUAGE sql STABLE
    RETURN floor(extract(epoch FROM now()) * 1000)::bigint;

-- The smallest key behind every key with this prefix; none where it is all 0xff.
CREATE FUNCTION keyway.successor(prefix bytea) RETURNS bytea
    LANGUAGE plpgsql IMMUTABLE
AS $body$
BEGIN
    FOR nth IN REVERSE length(prefix) - 1 .. 0 LOOP
        IF get_byte(prefix, nth) < 255 THEN
            RETURN set_byte(substring(prefix FOR nth + 1), nth, get_byte(prefix, nth) + 1);
        END IF;
    END LOOP;
    RETURN NULL;
END
$body$;

-- One page of a scan with a delimiter: of each common prefix the first key alone, for the keys below it are jumped over
-- and not read. One item more than the page has room for comes, so that its reader knows whether there is more; what
-- lies beyond `max_bytes` comes without its value.
CREATE FUNCTION keyway.walk(
    of_name bytea, lower_bound bytea, upper_bound bytea, prefix_bytes integer, delimiter bytea, is_reverse boolean,
    max_items integer, max_bytes bigint, keys_only boolean
) RETURNS TABLE (key bytea, version bigint, expires_at_ms bigint, value_bytes integer, value bytea)
    LANGUAGE plpgsql STABLE
AS $body$
#variable_conflict use_column
DECLARE
    in_space bigint;
    at       bytea;
    present  record;
    fold     integer;
    seen     bigint := 0;
BEGIN
    SELECT s.id INTO in_space FROM keyway.spaces s WHERE s.name = of_name;
    at := CASE WHEN is_reverse THEN upper_bound ELSE lower_bound END;
    FOR item IN 0..max_items LOOP
        -- A bound that is not there is no part of a statement: otherwise it would be none of the index's.
        IF is_reverse AND at IS NULL THEN
            SELECT r.key, r.version, r.expires_at_ms, length(r.value) AS bytes,
                CASE WHEN NOT keys_only AND (item = 0 OR seen + length(r.key) + length(r.value) <= max_bytes)
                    THEN r.value END AS value
            INTO present FROM keyway.records r
            WHERE r.space = in_space AND r.key >= lower_bound
                AND (r.expires_at_ms IS NULL OR r.expires_at_ms > keyway.moment())
            ORDER BY r.space DESC, r.key DESC LIMIT 1;
        ELSIF is_reverse THEN
            SELECT r.key, r.version, r.expires_at_ms, length(r.value) AS bytes,
                CASE WHEN NOT keys_only AND (item = 0 OR seen + length(r.key) + length(r.value) <= max_bytes)
                    THEN r.value END AS value
            INTO present FROM keyway.records r
            WHERE r.space = in_space AND r.key >= lower_bound AND r.key < at
                AND (r.expires_at_ms IS NULL OR r.expires_at_ms > keyway.moment())
            ORDER BY r.space DESC, r.key DESC LIMIT 1;
        ELSIF upper_bound IS NULL THEN
            SELECT r.key, r.version, r.expires_at_ms, length(r.value) AS bytes,
                CASE WHEN NOT keys_only AND (item = 0 OR seen + length(r.key) + length(r.value) <= max_bytes)
                    THEN r.value END AS value
            INTO present FROM keyway.records r
            WHERE r.space = in_space AND r.key >= at
                AND (r.expires_at_ms IS NULL OR r.expires_at_ms > keyway.moment())
            ORDER BY r.space, r.key LIMIT 1;
        ELSE
            SELECT r.key, r.version, r.expires_at_ms, length(r.value) AS bytes,
                CASE WHEN NOT keys_only AND (item = 0 OR seen + length(r.key) + length(r.value) <= max_bytes)
                    THEN r.value END AS value
            INTO present FROM keyway.records r
            WHERE r.space = in_space AND r.key >= at AND r.key < upper_bound
                AND (r.expires_at_ms IS NULL OR r.expires_at_ms > keyway.moment())
            ORDER BY r.space, r.key LIMIT 1;
        END IF;
        IF present.key IS NULL THEN
            RETURN;
        END IF;
        fold := position(delimiter IN substring(present.key FROM prefix_bytes + 1));
        IF fold > 0 THEN
            at := substring(present.key FOR prefix_bytes + fold - 1 + length(delimiter));
            seen := seen + length(at);
            at := CASE WHEN is_reverse THEN at ELSE keyway.successor(at) END;
        ELSE
            at := CASE WHEN is_reverse THEN present.key ELSE present.key || '\x00'::bytea END;
            seen := seen + length(present.key) + CASE WHEN keys_only THEN 0 ELSE present.bytes END;
        END IF;
        key := present.key;
        version := present.version;
        expires_at_ms := present.expires_at_ms;
        value_bytes := present.bytes;
        value := present.value;
        RETURN NEXT;
        IF at IS NULL OR (item > 0 AND seen > max_bytes) THEN
            RETURN;
        END IF;
    END LOOP;
END
$body$;

-- Does a batch, in the order of its arrays, which is that of the keys, so that two batches never wait for each other in
-- a circle. Kinds: 1 put, 2 delete, 3 check. Conditions: 0 any, 1 absent, 2 the version.
--
-- Answers a row for each: code 0 done, 1 the key exists, 2 the key has another version or none. An atomic batch of which
-- a condition fails changes nothing, and that row is the last. What a condition has looked at is locked until the end of
-- the transaction, an absent key by a row that is taken away again. With a patience it fails rather than wait longer.
CREATE FUNCTION keyway.apply(
    is_atomic boolean, patience_ms integer, kinds smallint[], of_names bytea[], of_keys bytea[], of_values bytea[], expiries bigint[],
    conditions smallint[], of_versions bigint[]
) RETURNS TABLE (nth integer, code smallint, new_version bigint, existed boolean)
    LANGUAGE plpgsql VOLATILE
AS $body$
#variable_conflict use_column
DECLARE
    op        record;
    present   record;
    in_name   bytea;
    in_space  bigint;
    is_live   boolean;
    placed    bytea[] := '{}';
BEGIN
    IF patience_ms > 0 THEN
        PERFORM set_config('lock_timeout', patience_ms::text, true);
    END IF;
    -- Before the number of any keyspace is looked up: it stays that keyspace's to the end.
    LOCK TABLE keyway.records IN ROW EXCLUSIVE MODE;
    FOR op IN
        SELECT n::integer - 1 AS n, kind, name, key, value, expiry, condition, version
        FROM unnest(kinds, of_names, of_keys, of_values, expiries, conditions, of_versions) WITH ORDINALITY
            AS ops (kind, name, key, value, expiry, condition, version, n)
    LOOP
        nth := op.n;
        code := 0;
        new_version := NULL;
        IF in_name IS DISTINCT FROM op.name THEN
            in_name := op.name;
            SELECT s.id INTO in_space FROM keyway.spaces s WHERE s.name = in_name;
        END IF;
        LOOP
            SELECT r.version, r.expires_at_ms INTO present FROM keyway.records r
            WHERE r.space = in_space AND r.key = op.key FOR UPDATE;
            is_live := present.version IS NOT NULL
                AND (present.expires_at_ms IS NULL OR present.expires_at_ms > keyway.moment());
            existed := is_live;
            IF op.condition = 1 AND is_live THEN
                code := 1;
            ELSIF op.condition = 2 AND (NOT is_live OR present.version <> op.version) THEN
                code := 2;
            END IF;
            EXIT WHEN code <> 0;
            IF present.version IS NOT NULL THEN
                IF op.kind = 1 THEN
                    new_version := nextval('keyway.numbers');
                    UPDATE keyway.records r SET version = new_version, expires_at_ms = op.expiry, value = op.value
                    WHERE r.space = in_space AND r.key = op.key;
                ELSIF op.kind = 2 THEN
                    DELETE FROM keyway.records r WHERE r.space = in_space AND r.key = op.key;
                END IF;
                EXIT;
            END IF;
            -- Absent, unless somebody whom the look above has waited for has put another row there. A delete that asks nothing
            -- has nothing to do, nor has a check that stands for itself.
            CONTINUE WHEN EXISTS (SELECT FROM keyway.records r WHERE r.space = in_space AND r.key = op.key);
            EXIT WHEN op.kind <> 1 AND (op.condition <> 1 OR NOT is_atomic);
            IF in_space IS NULL THEN
                INSERT INTO keyway.spaces AS s (id, name) VALUES (nextval('keyway.numbers'), in_name)
                ON CONFLICT (name) DO NOTHING RETURNING s.id INTO in_space;
                IF in_space IS NULL THEN
                    SELECT s.id INTO in_space FROM keyway.spaces s WHERE s.name = in_name;
                    CONTINUE;
                END IF;
                placed := placed || in_name;
            END IF;
            new_version := nextval('keyway.numbers');
            INSERT INTO keyway.records AS r (space, key, version, expires_at_ms, value)
            VALUES (in_space, op.key, new_version, op.expiry, coalesce(op.value, ''))
            ON CONFLICT (space, key) DO NOTHING RETURNING r.version INTO new_version;
            CONTINUE WHEN new_version IS NULL;
            IF op.kind = 1 THEN
                placed := array_remove(placed, in_name);
            ELSE
                DELETE FROM keyway.records r WHERE r.space = in_space AND r.key = op.key;
                new_version := NULL;
            END IF;
            EXIT;
        END LOOP;
        IF code <> 0 AND is_atomic THEN
            -- Caught below, which undoes what came before it and leaves no line in the server's log.
            RAISE EXCEPTION USING ERRCODE = 'KW001', MESSAGE = 'a condition failed';
        END IF;
        RETURN NEXT;
    END LOOP;
    -- Keyspaces that were made only to hold an absent key still.
    DELETE FROM keyway.spaces s WHERE s.name = ANY (placed);
EXCEPTION WHEN SQLSTATE 'KW001' THEN
    RETURN NEXT;
END
$body$;

-- Takes a keyspace its name; its records are orphans from then on. Whoever writes has looked its number up before, or finds none.
CREATE FUNCTION keyway.drop_space(of_name bytea) RETURNS boolean
    LANGUAGE plpgsql VOLATILE
AS $body$
BEGIN
    LOCK TABLE keyway.records IN SHARE MODE;
    WITH gone AS (DELETE FROM keyway.spaces s WHERE s.name = of_name RETURNING s.id)
    INSERT INTO keyway.orphans (id, due) SELECT g.id, now() FROM gone g;
    RETURN FOUND;
END
$body$;

-- Gives the keyspaces that a restore has filled their names, in place of all that have one. Answers 0 done, 1 the store
-- has records and must not, 2 the restore was given up meanwhile.
CREATE FUNCTION keyway.publish(ids bigint[], of_names bytea[], into_empty boolean) RETURNS smallint
    LANGUAGE plpgsql VOLATILE
AS $body$
BEGIN
    -- In the order in which writers take them.
    LOCK TABLE keyway.records IN SHARE MODE;
    LOCK TABLE keyway.spaces IN SHARE ROW EXCLUSIVE MODE;
    IF into_empty AND NOT keyway.is_empty() THEN
        RETURN 1;
    END IF;
    -- Records of one that is due may be gone already.
    PERFORM FROM keyway.orphans o WHERE o.id = ANY (ids) FOR UPDATE;
    IF (SELECT count(*) FROM keyway.orphans o WHERE o.id = ANY (ids) AND o.due > clock_timestamp()) <> cardinality(ids) THEN
        RETURN 2;
    END IF;
    WITH gone AS (DELETE FROM keyway.spaces s RETURNING s.id)
    INSERT INTO keyway.orphans (id, due) SELECT g.id, now() FROM gone g;
    DELETE FROM keyway.orphans o WHERE o.id = ANY (ids);
    INSERT INTO keyway.spaces (id, name) SELECT u.id, u.name FROM unnest(ids, of_names) AS u (id, name);
    RETURN 0;
END
$body$;

-- Whether no keyspace has a record that has not expired.
CREATE FUNCTION keyway.is_empty() RETURNS boolean
    LANGUAGE sql STABLE
    RETURN NOT EXISTS (
        SELECT FROM keyway.spaces s JOIN keyway.records r ON r.space = s.id
        WHERE r.expires_at_ms IS NULL OR r.expires_at_ms > keyway.moment()
    );

INSERT INTO keyway.meta (name, value) VALUES
    ('data_format', 1),
    ('incarnation', ('x' || substr(replace(gen_random_uuid()::text, '-', ''), 17, 16))::bit(64)::bigint),
    ('mark', 0);
