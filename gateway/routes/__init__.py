"""The doors. They parse, make one call and answer; nothing here decides."""
