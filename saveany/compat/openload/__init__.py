"""The API of openload, in three dialects: Streamtape, openload and pstream."""
