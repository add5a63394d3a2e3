"""Stand-ins for libraries that are retired: their names and types over sonant's own parts."""
