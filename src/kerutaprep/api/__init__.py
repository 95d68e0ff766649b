"""keruta-api: requests, documents, and bodies that become files."""
