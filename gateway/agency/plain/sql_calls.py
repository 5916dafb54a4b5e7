"""The statements of plain calls."""

BEGIN = """
    INSERT INTO plain_call (id, key_id, "user", end_user, model, provider, streamed, started_at)
    SELECT $1, k.id, k."user", $3, $4, $5, $6, now() FROM api_key k
    WHERE k.id = $2 AND k.revoked_at IS NULL
    RETURNING id
"""

END = """
    UPDATE plain_call SET status = $2, error = $3, input_tokens = $4, cached_tokens = $5,
        output_tokens = $6, counted = $7, finished_at = $8
    WHERE id = $1 AND finished_at IS NULL
"""
