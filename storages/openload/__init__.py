"""Video hosts with openload's API: Streamtape, pstream and their relatives."""
