"""Captions for pictures: words by BLIP, tags by the WD14 taggers. Importing it imports no library."""
