"""Lists the fixture files, nothing else."""

pytest_plugins = ["tests.fixtures.postgres"]
