"""What agents say and are told: envelopes, the decoder that reads them, prompts."""
