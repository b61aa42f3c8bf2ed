"""The campaign engine: loops over all people, each of them one job that one worker has for all."""
