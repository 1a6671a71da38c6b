"""From JSON to results: reading, checking, planning, running and caching workflows; without torch."""
