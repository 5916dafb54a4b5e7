"""Turns survive: real processes, a real Postgres and a real Redis are killed, frozen, cut off and
restarted while teams answer, and then the rows, the upstream's log and the readers' transcripts are
compared with what must hold. A test that could not inject its fault fails."""
