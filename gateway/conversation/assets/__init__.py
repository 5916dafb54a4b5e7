"""What messages name: files and skill sets."""
