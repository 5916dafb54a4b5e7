"""All turns of a process."""
