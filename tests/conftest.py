"""Lists the fixture files, nothing else."""

pytest_plugins = ["tests.fixtures.chance", "tests.fixtures.postgres"]
