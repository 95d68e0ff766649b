"""``keruta-agent check``: what a run would meet, looked at without writing."""
