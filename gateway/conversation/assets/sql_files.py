"""The statements of files. Only two of them read contents: a list never does.

`$1` is everywhere the user. Index: file_of_owner.
"""

TEXT = """convert_from(CASE WHEN substr(file.content, 1, 3) = '\\xefbbbf'::bytea
        THEN substr(file.content, 4) ELSE file.content END, 'UTF8')"""
"""The text of a row of `file`. The bytes are kept as they came; a byte order mark, with which some
editors begin a file, is no part of its text."""

_COLUMNS = "id, filename, purpose, bytes, created_at"
_LIVE = "owner = $1 AND deleted_at IS NULL"

# $2 id, $3 filename, $4 purpose, $5 content, $6 files and $7 bytes that a user may keep. No row if
# there is no room. Uploads of one moment don't see each other: they may pass the limit together.
INSERT = f"""
    INSERT INTO file (owner, id, filename, purpose, bytes, content)
    SELECT $1, $2::uuid, $3, $4, length($5::bytea), $5::bytea
    FROM (SELECT count(*) AS files, coalesce(sum(bytes), 0) AS bytes FROM file WHERE {_LIVE}) kept
    WHERE kept.files < $6 AND kept.bytes + length($5::bytea) <= $7
    RETURNING {_COLUMNS}
"""

# $2 the last id of the page before, $3 rows, $4 purpose or null. Ids rise with time.
_PAGE = f"""
    SELECT {_COLUMNS} FROM file
    WHERE {_LIVE} AND id {{beyond}} $2 AND ($4::text IS NULL OR purpose = $4)
    ORDER BY id {{order}} LIMIT $3
"""
OLDEST_FIRST = _PAGE.format(beyond=">", order="ASC")
NEWEST_FIRST = _PAGE.format(beyond="<", order="DESC")

# $2 id.
ONE = f"SELECT {_COLUMNS} FROM file WHERE {_LIVE} AND id = $2"
CONTENT = f"SELECT filename, content FROM file WHERE {_LIVE} AND id = $2"

# $2 id. Messages name files for ever, so the row stays; nothing of what the user gave does.
DELETE = f"""
    UPDATE file SET deleted_at = now(), owner = '', filename = '', purpose = '', bytes = 0,
        content = ''
    WHERE {_LIVE} AND id = $2 RETURNING id
"""

# $2 ids.
LENGTHS = f"""
    SELECT id, length({TEXT}) AS characters FROM file WHERE {_LIVE} AND id = ANY($2::uuid[])
"""
